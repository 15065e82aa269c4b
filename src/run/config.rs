//! What is asked of a container: the options of `vellum run`, checked, as they are kept for its next
//! start.

use super::limits::{Limits, Ulimit};
use super::record::LogOptions;
use super::volume::Volume;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is asked of a container. Where something is `None`, or empty, the image decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// What the runtime knows it by: 64 random hexadecimal digits.
    pub id: String,
    /// What comes behind the image: the command, or arguments of the entry point.
    pub command: Vec<String>,
    /// In the place of the image's entry point; empty: none.
    pub entrypoint: Option<String>,
    /// `NAME=VALUE`, added to the image's.
    pub env: Vec<String>,
    /// `USER[:GROUP]`, by names or numbers.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// With standard input.
    pub interactive: bool,
    /// Lines and columns of the terminal of who starts it.
    #[serde(skip)]
    pub size: Option<(u16, u16)>,
    /// Removed when it ends.
    pub remove: bool,
    /// The root file system cannot be written to.
    pub read_only: bool,
    /// With all that its maker may do.
    pub privileged: bool,
    /// With an init process.
    pub init: bool,
    /// Which network it sees.
    pub network: Network,
    /// What is mounted in it.
    pub volumes: Vec<Volume>,
    /// Capabilities beyond docker's default.
    pub cap_add: Vec<String>,
    /// Capabilities that it does not get.
    pub cap_drop: Vec<String>,
    /// What it may use.
    pub limits: Limits,
    /// What each of its processes may use.
    pub ulimits: Vec<Ulimit>,
    /// Labels, added to the image's.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
    /// The kernel reads and writes files of the root file system itself.
    pub passthrough: bool,
    /// How else the root file system is mounted.
    pub storage: StorageOptions,
    /// How what it writes is kept.
    pub log: LogOptions,
    /// The runtime that was asked for.
    pub runtime: Option<String>,
}

/// How the root file system of a container is mounted, in docker's `--storage-opt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StorageOptions {
    /// The kernel gathers writes. Then what is written to a file that is still open is lost when the process
    /// that serves the root dies, and the first `stat` of each file that was closed asks that process: containers
    /// read many files, and write large amounts to volumes.
    pub writeback: bool,
}

impl StorageOptions {
    /// Each `--storage-opt`.
    pub fn parse(options: &[String], passthrough: bool) -> Result<StorageOptions> {
        let mut parsed = StorageOptions::default();
        for option in options {
            let bad = |why: &str| {
                let why = format!("--storage-opt {option:?}: {why}");
                Error::because(Errno::EINVAL, why)
            };
            parsed.writeback = match option.split_once('=').unwrap_or((option, "1")) {
                ("writeback", "0") => false,
                ("writeback", "1") if passthrough => {
                    return Err(bad(
                        "with --io passthrough the kernel gathers writes anyway",
                    ));
                }
                ("writeback", "1") => true,
                ("writeback", _) => return Err(bad("0 or 1 is expected")),
                (name, _) => return Err(bad(&format!("{name:?} is not supported: 'writeback'"))),
            };
        }
        Ok(parsed)
    }
}

/// Which network a container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// One of its own, with a loopback device.
    #[default]
    None,
    /// The host's.
    Host,
}

/// A new ID.
pub fn new_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    let n = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    if n != bytes.len() {
        return Err(Error::because(Errno::EIO, "no random bytes"));
    }
    Ok(bytes.iter().fold(String::new(), |mut id, byte| {
        // writing to a String does not fail
        write!(id, "{byte:02x}").ok();
        id
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_options_are_honoured_or_refused() {
        let parse = |options: &[&str], passthrough| {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            StorageOptions::parse(&options, passthrough).map(|o| o.writeback)
        };
        assert!(!parse(&[], false).unwrap());
        assert!(parse(&["writeback=1"], false).unwrap());
        assert!(parse(&["writeback"], false).unwrap());
        assert!(!parse(&["writeback=1", "writeback=0"], false).unwrap());
        assert!(!parse(&["writeback=0"], true).unwrap());
        for (options, passthrough) in [
            (&["writeback=1"][..], true),
            (&["writeback=yes"], false),
            (&["size=10G"], false),
            (&[""], false),
        ] {
            assert!(parse(options, passthrough).is_err(), "{options:?}");
        }
    }
}
