//! PAX records: `LENGTH KEY=VALUE` and a line feed, the length that of the whole record.
//!
//! They say of the entry after them, or of all that follow, what a header has no room for. A value
//! is any bytes, also line feeds and NULs; an empty one takes back what was said before.

use super::invalid;
use super::limits::within;
use crate::vfs::Result;
use crate::vfs::error::Context;
use std::collections::BTreeMap;

/// The records of one extended header, or of several, the later ones over the earlier.
#[derive(Debug, Default)]
pub struct Records {
    map: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `GNU.sparse.offset` and `GNU.sparse.numbytes` in turn: the only keys that come repeatedly.
    pieces: Vec<u64>,
    bytes: u64,
}

impl Records {
    /// Adds the records in `text`, if all together are `most` bytes at most.
    pub fn add(&mut self, mut text: &[u8], most: u64) -> Result<()> {
        while !text.is_empty() {
            let (key, value, rest) = split(text)?;
            self.put(key, value)?;
            text = rest;
        }
        within("pax_bytes", self.bytes, most)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let turn = match key {
            b"GNU.sparse.offset" => 0,
            b"GNU.sparse.numbytes" => 1,
            _ => {
                self.bytes += (key.len() + value.len()) as u64;
                if let Some(old) = self.map.insert(key.to_vec(), value.to_vec()) {
                    self.bytes -= (key.len() + old.len()) as u64;
                }
                return Ok(());
            }
        };
        if self.pieces.len() % 2 != turn {
            return Err(invalid("offsets and lengths of a sparse file out of step"));
        }
        self.bytes += size_of::<u64>() as u64;
        self.pieces.push(decimal(value).context(|| shown_key(key))?);
        Ok(())
    }
}

/// The first record of `text`, and what follows it.
fn split(text: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let bad = || invalid("a PAX record that is none");
    let space = text.iter().position(|b| *b == b' ').ok_or_else(bad)?;
    let (len, _) = text.split_at_checked(space).ok_or_else(bad)?;
    let len = usize::try_from(decimal(len)?).map_err(|_| bad())?;
    let (record, rest) = text.split_at_checked(len).ok_or_else(bad)?;
    let body = record.get(space + 1..).and_then(|b| b.strip_suffix(b"\n"));
    let body = body.ok_or_else(bad)?;
    let equals = body.iter().position(|b| *b == b'=').ok_or_else(bad)?;
    match body.split_at_checked(equals) {
        Some((key, [_, value @ ..])) if !key.is_empty() => Ok((key, value, rest)),
        _ => Err(bad()),
    }
}

/// What is said of one entry: by its own records, else by the global ones.
pub struct Said<'a> {
    /// Its own.
    pub own: &'a Records,
    /// Those of all.
    pub global: &'a Records,
}

impl<'a> Said<'a> {
    /// The value of a record.
    pub fn get(&self, key: &str) -> Option<&'a [u8]> {
        let key = key.as_bytes();
        let value = self.own.map.get(key).or_else(|| self.global.map.get(key))?;
        Some(&**value).filter(|v| !v.is_empty())
    }

    /// The value of a record that is a number.
    pub fn number<T: TryFrom<u64>>(&self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let n = decimal(value).context(|| key)?;
        let fitting = T::try_from(n).map_err(|_| invalid(format!("{key} {n} is out of range")))?;
        Ok(Some(fitting))
    }

    /// The value of a record that is a time: seconds, and nanoseconds after them.
    pub fn time(&self, key: &str) -> Result<Option<(i64, u32)>> {
        self.get(key)
            .map(|v| parse_time(v).context(|| key))
            .transpose()
    }

    /// What comes behind `prefix` in the keys that begin so, with their values. An empty value is
    /// one: an attribute may be empty.
    pub fn below(&self, prefix: &'static str) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let of = move |records: &'a Records| {
            records
                .map
                .range(prefix.as_bytes().to_vec()..)
                .map_while(move |(k, v)| Some((k.strip_prefix(prefix.as_bytes())?, &**v)))
        };
        of(self.global).chain(of(self.own))
    }

    /// Offset and length of each piece of data, as format 0.0 of sparse files has them.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, u64)> {
        let (pairs, _) = self.own.pieces.as_chunks::<2>();
        pairs.iter().map(|[offset, len]| (*offset, *len))
    }
}

/// Errors where a global record says what only one entry can have.
pub fn check_global(records: &Records) -> Result<()> {
    const ONE: [&[u8]; 3] = [b"path", b"linkpath", b"size"];
    let only_one = |k: &&Vec<u8>| ONE.contains(&k.as_slice()) || k.starts_with(b"GNU.sparse.");
    let found = records.map.keys().find(only_one);
    match found {
        Some(key) => Err(invalid(format!("{} for all entries", shown_key(key)))),
        None if !records.pieces.is_empty() => Err(invalid("a sparse map for all entries")),
        None => Ok(()),
    }
}

fn shown_key(key: &[u8]) -> String {
    format!("PAX record {}", super::shown(key))
}

/// Decimal digits and nothing else.
pub fn decimal(text: &[u8]) -> Result<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| digits)
        .and_then(|t| t.parse().ok())
        .ok_or_else(|| invalid(format!("{} is no number", super::shown(text))))
}

/// `SECONDS[.FRACTION]`, perhaps negative. What is finer than a nanosecond is rounded down, as GNU
/// tar does.
fn parse_time(text: &[u8]) -> Result<(i64, u32)> {
    let bad = || invalid(format!("{} is no time", super::shown(text)));
    let (negative, number) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut halves = number.splitn(2, |b| *b == b'.');
    let whole = i128::from(decimal(halves.next().unwrap_or_default()).map_err(|_| bad())?);
    let fraction = halves.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(bad());
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanos = digits.fold(0, |n, b| n * 10 + i128::from(b - b'0'));
    let finer = fraction.iter().skip(9).any(|b| *b != b'0');
    let total = whole * NANOS + nanos;
    let total = if negative {
        -total - i128::from(finer)
    } else {
        total
    };
    let sec = i64::try_from(total.div_euclid(NANOS)).map_err(|_| bad())?;
    // less than a second
    Ok((sec, total.rem_euclid(NANOS) as u32))
}

const NANOS: i128 = 1_000_000_000;

/// A time as a record has it, with no more digits than it needs.
pub fn time(sec: i64, nsec: u32) -> String {
    let total = i128::from(sec) * NANOS + i128::from(nsec);
    let sign = if total < 0 { "-" } else { "" };
    let (whole, nanos) = (total.abs() / NANOS, total.abs() % NANOS);
    if nanos == 0 {
        return format!("{sign}{whole}");
    }
    let digits = format!("{nanos:09}");
    format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// Appends a record.
pub fn append(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // the length counts its own digits
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while len != rest + digits(len) {
        len = rest + digits(len);
    }
    to.extend_from_slice(format!("{len} ").as_bytes());
    to.extend_from_slice(key);
    to.push(b'=');
    to.extend_from_slice(value);
    to.push(b'\n');
}

fn digits(n: usize) -> usize {
    n.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &[u8]) -> Result<Records> {
        let mut records = Records::default();
        records.add(text, 1000)?;
        Ok(records)
    }

    #[test]
    fn own_records_come_before_global_ones() {
        let own = records(b"8 uid=1\n7 gid=\n").unwrap();
        let global = records(b"8 uid=2\n8 gid=3\n11 mtime=4\n").unwrap();
        let said = Said {
            own: &own,
            global: &global,
        };
        assert_eq!(said.get("uid"), Some(&b"1"[..]));
        assert_eq!(said.get("gid"), None);
        assert_eq!(said.time("mtime").unwrap(), Some((4, 0)));
        assert_eq!(said.number::<u32>("uid").unwrap(), Some(1));
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        for len in [0, 1, 88, 89, 90, 91, 92, 93, 94, 95, 989, 990, 991] {
            let mut text = Vec::new();
            append(&mut text, b"key", &vec![b'\n'; len]);
            append(&mut text, b"next", b"x=\0");
            let (key, value, rest) = split(&text).unwrap();
            assert_eq!((key, value.len()), (&b"key"[..], len));
            assert_eq!(split(rest).unwrap(), (&b"next"[..], &b"x=\0"[..], &b""[..]));
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            &b"x"[..],
            b"5 a=b\n",
            b"7 a=b\n",
            b"6 a=bc",
            b"6 abc\n",
            b"5 =b\n",
            b"+6 a=b\n",
            b" 6 a=b\n",
            b"0 a=b\n",
            b"99999999999999999999 a=b\n",
            b"6 a=b\n\0",
            b"22 GNU.sparse.offset=x\n",
            b"24 GNU.sparse.numbytes=1\n",
        ] {
            assert!(records(bad).is_err(), "{:?}", bad.escape_ascii());
        }
        assert!(Records::default().add(b"6 a=b\n", 1).is_err());
    }

    #[test]
    fn times_go_both_ways() {
        for (text, sec, nsec) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("-9223372036854775808", i64::MIN, 0),
            ("-9223372036854775807.9", i64::MIN, 100_000_000),
            ("9223372036854775807.999999999", i64::MAX, 999_999_999),
        ] {
            assert_eq!(parse_time(text.as_bytes()).unwrap(), (sec, nsec), "{text}");
            assert_eq!(time(sec, nsec), text);
        }
        assert_eq!(parse_time(b"1.").unwrap(), (1, 0));
        assert_eq!(parse_time(b"1.0000000019").unwrap(), (1, 1));
        assert_eq!(parse_time(b"-1.0000000010").unwrap(), (-2, 999_999_999));
        assert_eq!(parse_time(b"-1.0000000011").unwrap(), (-2, 999_999_998));
        for bad in [
            &b""[..],
            b"-",
            b".5",
            b"--1",
            b"1.x",
            b"1e3",
            b"9223372036854775808",
        ] {
            assert!(parse_time(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_record_names_all_entries() {
        for bad in [
            &b"10 path=a\n"[..],
            b"10 size=1\n",
            b"22 GNU.sparse.size=10\n",
        ] {
            assert!(check_global(&records(bad).unwrap()).is_err());
        }
        assert!(check_global(&records(b"8 uid=1\n").unwrap()).is_ok());
    }
}
