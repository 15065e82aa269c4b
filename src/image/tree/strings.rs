//! Byte strings, each kept once. A tree of a million files has as many names, and a box for each
//! would take more than the name.

use crate::vfs::{Error, Result};
use hashbrown::HashTable;
use nix::errno::Errno;
use std::hash::{BuildHasher, RandomState};

/// A string, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(u32);

impl Text {
    /// The string without a byte, which is always there.
    pub const EMPTY: Text = Text(0);

    /// The number: the first string has 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Strings, end to end.
#[derive(Clone, Debug)]
pub struct Strings {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
    numbers: HashTable<u32>,
    hasher: RandomState,
}

impl Default for Strings {
    fn default() -> Strings {
        let hasher = RandomState::new();
        let mut numbers = HashTable::new();
        let nothing: &[u8] = b"";
        numbers.insert_unique(hasher.hash_one(nothing), 0, |_| 0);
        Strings {
            bytes: Vec::new(),
            ends: vec![0],
            numbers,
            hasher,
        }
    }
}

impl Strings {
    /// The number of a string, which is kept if it is not there yet.
    pub fn intern(&mut self, string: &[u8]) -> Result<Text> {
        if let Some(text) = self.find(string) {
            return Ok(text);
        }
        let end = u32::try_from(self.bytes.len() + string.len())
            .map_err(|_| Error::because(Errno::EFBIG, "over 4 GiB of names"))?;
        // every string but the first takes a byte, so there are no more than 2^32
        let number = self.ends.len() as u32;
        self.bytes.extend_from_slice(string);
        self.ends.push(end);
        let Strings {
            bytes,
            ends,
            numbers,
            hasher,
        } = self;
        let hash = |number: &u32| hasher.hash_one(slice(bytes, ends, *number));
        numbers.insert_unique(hash(&number), number, hash);
        Ok(Text(number))
    }

    /// The number of a string, if it is there.
    pub fn find(&self, string: &[u8]) -> Option<Text> {
        let hash = self.hasher.hash_one(string);
        self.numbers
            .find(hash, |n| slice(&self.bytes, &self.ends, *n) == string)
            .map(|number| Text(*number))
    }

    /// The string.
    pub fn get(&self, text: Text) -> &[u8] {
        slice(&self.bytes, &self.ends, text.0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }
}

fn slice<'a>(bytes: &'a [u8], ends: &[u32], number: u32) -> &'a [u8] {
    let end = |number: usize| ends.get(number).map_or(0, |end| *end as usize);
    let start = (number as usize).checked_sub(1).map_or(0, end);
    bytes.get(start..end(number as usize)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_string_is_there_once() {
        let mut strings = Strings::default();
        let all: Vec<Vec<u8>> = (0..3000u32)
            .map(|i| i.to_string().into_bytes())
            .chain([Vec::new(), vec![0xff, 0, b'/']])
            .collect();
        let first: Vec<Text> = all.iter().map(|s| strings.intern(s).unwrap()).collect();
        let again: Vec<Text> = all.iter().map(|s| strings.intern(s).unwrap()).collect();
        assert_eq!(first, again);
        assert_eq!(strings.count(), all.len()); // the empty one is among them
        for (string, text) in all.iter().zip(first) {
            assert_eq!(strings.get(text), string);
            assert_eq!(strings.find(string), Some(text));
        }
        assert_eq!(strings.find(b""), Some(Text::EMPTY));
        assert_eq!(strings.find(b"another"), None);
    }
}
