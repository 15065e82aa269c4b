//! Byte strings, each kept once. A tree of a million files has as many names, and a box for each
//! would take more than the name.

use super::super::spill::{Bytes, Pages, Records};
use super::hashes::Hashes;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::hash::{BuildHasher, RandomState};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A string, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(u32);

impl Text {
    /// The string without a byte, which is always there.
    pub const EMPTY: Text = Text(0);

    /// The string with this number: the first has 0.
    pub fn numbered(number: u32) -> Text {
        Text(number)
    }

    /// The number.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// Where a string is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Extent {
    start: u32,
    len: u32,
}

/// Strings, end to end.
#[derive(Debug)]
pub struct Strings {
    bytes: Bytes,
    extents: Records<Extent>,
    numbers: Hashes,
    /// Not one that could be foreseen: names are what a tar says, and may be chosen to collide.
    hasher: RandomState,
}

impl Strings {
    /// None but the empty one.
    pub fn new(pages: &Pages) -> Result<Strings> {
        let mut strings = Strings {
            bytes: Bytes::new(pages),
            extents: Records::new(pages),
            numbers: Hashes::new(pages),
            hasher: RandomState::new(),
        };
        strings.intern(b"")?;
        Ok(strings)
    }

    /// The number of a string, which is kept if it is not there yet.
    pub fn intern(&mut self, string: &[u8]) -> Result<Text> {
        let hash = self.hasher.hash_one(string);
        if let Some(text) = self.find_hashed(string, hash)? {
            return Ok(text);
        }
        let start = self.bytes.len();
        let too_many = || Error::because(Errno::EFBIG, "over 4 GiB of names");
        u32::try_from(start + string.len() as u64).map_err(|_| too_many())?;
        self.bytes.append(string)?;
        let number = self.extents.push(&Extent {
            start: start as u32,
            len: string.len() as u32,
        })?;
        self.numbers.insert(hash, number)?;
        Ok(Text(number))
    }

    /// The number of a string, if it is there.
    pub fn find(&self, string: &[u8]) -> Result<Option<Text>> {
        self.find_hashed(string, self.hasher.hash_one(string))
    }

    fn find_hashed(&self, string: &[u8], hash: u64) -> Result<Option<Text>> {
        let is = |number| {
            let extent = self.extents.get(number)?;
            Ok(extent.len as usize == string.len()
                && self.bytes.are(extent.start.into(), string)?)
        };
        Ok(self.numbers.find(hash, is)?.map(Text))
    }

    /// Appends the string to `to`.
    pub fn read(&self, text: Text, to: &mut Vec<u8>) -> Result<()> {
        let extent = self.extents.get(text.0)?;
        self.bytes
            .read(extent.start.into(), extent.len as usize, to)
    }

    /// The string.
    pub fn get(&self, text: Text) -> Result<Vec<u8>> {
        let mut string = Vec::new();
        self.read(text, &mut string)?;
        Ok(string)
    }

    /// Its length.
    pub fn length(&self, text: Text) -> Result<u32> {
        Ok(self.extents.get(text.0)?.len)
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.extents.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::spill::Room;
    use super::*;

    #[test]
    fn each_string_is_there_once() {
        let dir = tempfile::tempdir().unwrap();
        for room in [Room::limited(20_000, dir.path()), Room::unlimited()] {
            let mut strings = Strings::new(&Pages::new(room)).unwrap();
            let all: Vec<Vec<u8>> = (0..3000u32)
                .map(|i| i.to_string().into_bytes())
                .chain([Vec::new(), vec![0xff, 0, b'/'], vec![b'x'; 9000]])
                .collect();
            let first: Vec<Text> = all.iter().map(|s| strings.intern(s).unwrap()).collect();
            let again: Vec<Text> = all.iter().map(|s| strings.intern(s).unwrap()).collect();
            assert_eq!(first, again);
            assert_eq!(strings.count() as usize, all.len()); // the empty one is among them
            for (string, text) in all.iter().zip(first) {
                assert_eq!(strings.get(text).unwrap(), *string);
                assert_eq!(strings.length(text).unwrap() as usize, string.len());
                assert_eq!(strings.find(string).unwrap(), Some(text));
            }
            assert_eq!(strings.find(b"").unwrap(), Some(Text::EMPTY));
            assert_eq!(strings.find(b"another").unwrap(), None);
        }
    }
}
