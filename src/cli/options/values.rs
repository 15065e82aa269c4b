//! Values of options, from bytes to checked types.

use super::split::find_unescaped;
use crate::overlay::IdRange;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The value of an option; `None` when it was given as a bare word.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a>(pub Option<&'a [u8]>);

type Parsed<T> = Result<T, String>;

impl Value<'_> {
    fn required(&self) -> Parsed<&[u8]> {
        self.0.ok_or_else(|| "needs a value".to_owned())
    }

    /// A bare word.
    pub fn word(&self) -> Parsed<()> {
        match self.0 {
            None => Ok(()),
            Some(_) => Err("takes no value".to_owned()),
        }
    }

    /// Text; the backslashes of escapes are gone.
    pub fn text(&self) -> Parsed<String> {
        let bytes = unescape(self.required()?);
        match String::from_utf8(bytes) {
            Ok(text) if text.contains('\0') => Err("contains a NUL byte".to_owned()),
            Ok(text) => Ok(text),
            Err(_) => Err("is not UTF-8".to_owned()),
        }
    }

    /// A whole number of any unsigned type, in decimal.
    pub fn number<T: FromStr>(&self) -> Parsed<T> {
        number(self.required()?)
    }

    /// `1`, `on`, `true`, `yes` and their opposites; the bare word switches on.
    pub fn switch(&self) -> Parsed<bool> {
        match self.0 {
            None | Some(b"1" | b"on" | b"true" | b"yes") => Ok(true),
            Some(b"0" | b"off" | b"false" | b"no") => Ok(false),
            Some(_) => Err("is neither on (1) nor off (0)".to_owned()),
        }
    }

    /// One of some words.
    pub fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Parsed<T> {
        let value = self.required()?;
        words
            .iter()
            .find(|(word, _)| word.as_bytes() == value)
            .map(|(_, t)| *t)
            .ok_or_else(|| {
                let words: Vec<&str> = words.iter().map(|(w, _)| *w).collect();
                format!("is none of {}", words.join(", "))
            })
    }

    /// Seconds, with or without a fraction.
    pub fn seconds(&self) -> Parsed<Duration> {
        let bad = || "is no number of seconds".to_owned();
        let text = std::str::from_utf8(self.required()?).map_err(|_| bad())?;
        let seconds: f64 = text.parse().map_err(|_| bad())?;
        Duration::try_from_secs_f64(seconds).map_err(|_| bad())
    }

    /// One path.
    pub fn path(&self) -> Parsed<PathBuf> {
        path(self.required()?)
    }

    /// Paths between colons; empty ones come out empty.
    pub fn paths(&self) -> Parsed<Vec<PathBuf>> {
        let mut rest = self.required()?;
        let mut out = Vec::new();
        while let Some(end) = find_unescaped(rest, b':') {
            out.push(path_or_empty(&rest[..end])?);
            rest = &rest[end + 1..];
        }
        out.push(path_or_empty(rest)?);
        Ok(out)
    }

    /// `DISK:SHOWN:COUNT` any number of times, between colons. Empty fields are skipped: podman
    /// puts a colon before each triple.
    pub fn id_map(&self) -> Parsed<Vec<IdRange>> {
        let fields = self
            .required()?
            .split(|b| *b == b':')
            .filter(|f| !f.is_empty())
            .map(number::<u32>)
            .collect::<Parsed<Vec<u32>>>()?;
        let (triples, []) = fields.as_chunks::<3>() else {
            return Err("is not made of DISK:SHOWN:COUNT triples".to_owned());
        };
        triples.iter().map(id_range).collect()
    }
}

fn id_range(&[disk, shown, len]: &[u32; 3]) -> Parsed<IdRange> {
    let last = len.checked_sub(1).ok_or("has a range of no ids")?;
    if disk.checked_add(last).is_none() || shown.checked_add(last).is_none() {
        return Err(format!(
            "{disk}:{shown}:{len} goes beyond the last id, {}",
            u32::MAX
        ));
    }
    Ok(IdRange { disk, shown, len })
}

fn number<T: FromStr>(text: &[u8]) -> Parsed<T> {
    // `parse` alone would take a plus sign
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| format!("{:?} is no number that fits", String::from_utf8_lossy(text)))
}

fn path(raw: &[u8]) -> Parsed<PathBuf> {
    let path = path_or_empty(raw)?;
    if path.as_os_str().is_empty() {
        return Err("needs a path".to_owned());
    }
    Ok(path)
}

fn path_or_empty(raw: &[u8]) -> Parsed<PathBuf> {
    let bytes = unescape(raw);
    if bytes.contains(&0) {
        return Err("contains a NUL byte".to_owned());
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// A backslash makes the byte after it an ordinary one, as in overlayfs's own options. At the
/// end it stands for itself.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => out.push(*bytes.next().unwrap_or(byte)),
            _ => out.push(*byte),
        }
    }
    out
}

/// A path as it must be written in `lowerdir=`, `upperdir=` and `workdir=`.
pub fn escape_path(path: &Path) -> OsString {
    let mut out = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'\\' | b':' | b',' | b'"') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value(Some(text.as_bytes()))
    }

    #[test]
    fn paths_end_at_colons() {
        let cases: &[(&str, &[&str])] = &[
            ("/a", &["/a"]),
            ("/a:/b", &["/a", "/b"]),
            (r"/a\:b:/c", &["/a:b", "/c"]),
            (r"/a\\:/c", &[r"/a\", "/c"]),
            (r"/a\\\:b", &[r"/a\:b"]),
            (r"/a\,b", &["/a,b"]),
            (r"/a\", &[r"/a\"]),
            (":/a:", &["", "/a", ""]),
        ];
        for (text, want) in cases {
            let want: Vec<PathBuf> = want.iter().map(PathBuf::from).collect();
            assert_eq!(value(text).paths().unwrap(), want, "{text}");
        }
        assert!(value("/a\0").paths().is_err());
    }

    #[test]
    fn id_maps() {
        let range = |disk, shown, len| IdRange { disk, shown, len };
        let cases: &[(&str, &[IdRange])] = &[
            ("0:100000:65536", &[range(0, 100_000, 65536)]),
            (":0:100000:65536", &[range(0, 100_000, 65536)]),
            (":0:5:1::1:9:2:", &[range(0, 5, 1), range(1, 9, 2)]),
            ("0:0:4294967295", &[range(0, 0, u32::MAX)]),
            ("", &[]),
            (":::", &[]),
        ];
        for (text, want) in cases {
            assert_eq!(value(text).id_map().unwrap(), *want, "{text}");
        }
        for bad in [
            "0",
            "0:1",
            "0:1:2:3",
            "a:b:c",
            "0:0:0",
            "+1:2:3",
            "1:0:4294967296",
            "2:0:4294967295",
            "0:-1:1",
        ] {
            assert!(value(bad).id_map().is_err(), "{bad}");
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(value("0").seconds(), Ok(Duration::ZERO));
        assert_eq!(value("1.5").seconds(), Ok(Duration::from_millis(1500)));
        for bad in ["", "-1", "nan", "inf", "1e300", "1s"] {
            assert!(value(bad).seconds().is_err(), "{bad}");
        }
    }
}
