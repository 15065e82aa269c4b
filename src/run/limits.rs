//! Limits: of a container, by its control group, and of each of its processes.

use crate::vfs::{Error, Result};
use nix::errno::Errno;
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use serde::{Deserialize, Serialize};

/// What a container may use; `None`: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Processor time in thousandths of one processor.
    pub cpus: Option<u32>,
    /// Number of processes.
    pub pids: Option<i64>,
}

impl Limits {
    /// True if there are none.
    pub fn is_none(&self) -> bool {
        *self == Limits::default()
    }
}

/// A limit of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// As in `ulimit`: `nofile`, `nproc`, ...
    pub name: String,
    /// What counts.
    pub soft: u64,
    /// How far the process may raise it.
    pub hard: u64,
}

fn bad(what: &str, text: &str, want: &str) -> Error {
    Error::because(Errno::EINVAL, format!("{what} {text:?}: {want}"))
}

/// A size as docker writes it: `512m`, `1.5g`, `1048576`.
pub fn size(text: &str) -> Result<i64> {
    size_by(1024.0, text)
}

/// The same, by units of which docker counts a thousand: that of a log.
pub fn decimal_size(text: &str) -> Result<i64> {
    size_by(1000.0, text)
}

fn size_by(thousand: f64, text: &str) -> Result<i64> {
    let want = "a number is expected, with b, k, m or g behind it";
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = lower.split_at(digits.unwrap_or(lower.len()));
    let unit = unit.trim_end_matches("ib").trim_end_matches('b');
    let unit: f64 = match unit {
        "" => 1.0,
        "k" => thousand,
        "m" => thousand.powi(2),
        "g" => thousand.powi(3),
        "t" => thousand.powi(4),
        _ => return Err(bad("size", text, want)),
    };
    let number: f64 = number.parse().map_err(|_| bad("size", text, want))?;
    let bytes = number * unit;
    if !(1.0..9e18).contains(&bytes) {
        return Err(bad("size", text, want));
    }
    Ok(bytes as i64)
}

/// A number of processors: `1.5`, in thousandths.
pub fn cpus(text: &str) -> Result<u32> {
    let number: f64 = text.parse().unwrap_or(f64::NAN);
    if !(0.01..=100_000.0).contains(&number) {
        let want = "a number of processors is expected, 0.01 or more, as in 1.5";
        return Err(bad("cpus", text, want));
    }
    Ok((number * 1000.0).round() as u32)
}

/// `nofile=1024` or `nofile=1024:2048`.
pub fn ulimit(text: &str) -> Result<Ulimit> {
    let want = "NAME=SOFT[:HARD] is expected, as in nofile=1024:2048";
    let (name, values) = text
        .split_once('=')
        .ok_or_else(|| bad("ulimit", text, want))?;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        digits => digits.parse().map_err(|_| bad("ulimit", text, want)),
    };
    let ulimit = Ulimit {
        name: name.to_ascii_lowercase(),
        soft: number(soft)?,
        hard: number(hard)?,
    };
    if ulimit.soft > ulimit.hard {
        return Err(bad("ulimit", text, "the first number is the smaller one"));
    }
    ulimit.rlimit()?;
    Ok(ulimit)
}

impl Ulimit {
    /// For the runtime.
    pub fn rlimit(&self) -> Result<PosixRlimit> {
        let kind: PosixRlimitType = format!("RLIMIT_{}", self.name.to_ascii_uppercase())
            .parse()
            .map_err(|_| bad("ulimit", &self.name, "there is no such limit"))?;
        PosixRlimitBuilder::default()
            .typ(kind)
            .soft(self.soft)
            .hard(self.hard)
            .build()
            .map_err(|e| bad("ulimit", &self.name, &e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (text, bytes) in [
            ("1", 1),
            ("42b", 42),
            ("2k", 2048),
            ("1.5K", 1536),
            ("512m", 512 << 20),
            ("512MB", 512 << 20),
            ("3GiB", 3 << 30),
            ("2t", 2 << 40),
        ] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "0",
            "1x",
            "1.2.3m",
            "nan",
            "inf",
            "1e3",
            "99999999t",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn processors_and_ulimits() {
        assert_eq!(cpus("1.5").unwrap(), 1500);
        for text in ["0", "-1", "x", "nan", ""] {
            assert!(cpus(text).is_err(), "{text}");
        }
        let both = ulimit("nofile=10:20").unwrap();
        assert_eq!((both.soft, both.hard), (10, 20));
        assert_eq!(ulimit("core=unlimited").unwrap().hard, u64::MAX);
        for text in ["nofile", "nofile=", "nofile=x", "nofile=2:1", "what=1"] {
            assert!(ulimit(text).is_err(), "{text}");
        }
    }
}
