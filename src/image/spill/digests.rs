//! Digests in order, each once.

use super::{Room, Sorter, Spool, beginning};
use crate::image::digest::Digest;
use crate::vfs::Result;

/// Bytes of a digest.
const SIZE: usize = 32;
/// A list that is done is smaller than one that is being sorted: there are many at once.
const DONE: usize = 64;

/// Digests as they come, some of them more than once.
#[derive(Debug)]
pub struct DigestSorter {
    room: Room,
    sorter: Sorter,
}

impl DigestSorter {
    /// None yet.
    pub fn new(room: &Room) -> DigestSorter {
        DigestSorter {
            room: room.clone(),
            sorter: Sorter::new(room, 1),
        }
    }

    /// Adds one.
    pub fn add(&mut self, digest: Digest) -> Result<()> {
        self.sorter.push(beginning, [0; 3], |key| {
            key.extend_from_slice(digest.as_bytes());
            Ok(())
        })
    }

    /// Ends the list.
    pub fn finish(mut self) -> Result<Digests> {
        let mut spool = Spool::new(&self.room, DONE);
        let mut last = Vec::with_capacity(SIZE);
        self.sorter.drain(|item| {
            if last == item.key {
                return Ok(());
            }
            last.clear();
            last.extend_from_slice(item.key);
            spool.write(item.key)
        })?;
        Ok(Digests { spool })
    }
}

/// Digests in order, each once.
#[derive(Debug)]
pub struct Digests {
    spool: Spool,
}

impl Digests {
    /// These, in memory.
    pub fn of(digests: impl IntoIterator<Item = Digest>) -> Result<Digests> {
        let mut sorter = DigestSorter::new(&Room::unlimited());
        digests.into_iter().try_for_each(|d| sorter.add(d))?;
        sorter.finish()
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.spool.len() / SIZE as u64
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.spool.is_empty()
    }

    /// Gives all of them to `each`, in order.
    pub fn each(&self, mut each: impl FnMut(Digest) -> Result<()>) -> Result<()> {
        // a list is put out whole digests at a time, and read so
        self.spool.read(|piece| {
            let (digests, _) = piece.as_chunks::<SIZE>();
            digests
                .iter()
                .try_for_each(|d| each(Digest::from_bytes(*d)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_comes_once_and_in_order_wherever_they_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let limited = Room::limited(100_000, dir.path());
        for room in [limited, Room::unlimited()] {
            let mut sorter = DigestSorter::new(&room);
            let mut want = BTreeSet::new();
            for i in 0..20_000u32 {
                let digest = Digest::of(&(i % 15_000).to_le_bytes());
                sorter.add(digest).unwrap();
                want.insert(digest);
            }
            let digests = sorter.finish().unwrap();
            assert_eq!(digests.len(), want.len() as u64);
            for _ in 0..2 {
                let mut got = Vec::new();
                digests
                    .each(|d| {
                        got.push(d);
                        Ok(())
                    })
                    .unwrap();
                assert!(got.iter().eq(&want));
            }
        }
    }

    #[test]
    fn none_is_none() {
        let none = Digests::of([]).unwrap();
        assert!(none.is_empty());
        none.each(|d| panic!("{d}")).unwrap();
    }
}
