//! Sorting what may be larger than memory: sorted runs, merged.

use super::Room;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

/// What is read of a run, or written, at once.
const CHUNK: usize = 64 << 10;

/// What is sorted: by `first`, then by `key`. The rest comes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What is compared first.
    pub first: u64,
    /// What is compared where that is the same.
    pub key: &'a [u8],
    /// What comes along.
    pub rest: [u32; 3],
}

/// The first bytes of a key, as a number that compares as they do: so most keys need not be looked at.
pub fn beginning(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let len = key.len().min(first.len());
    first[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(first)
}

/// Sorts items, as often as one likes.
#[derive(Debug)]
pub struct Sorter {
    room: Room,
    /// Most bytes of a run.
    most: usize,
    /// The items that are in memory.
    held: Vec<Held>,
    /// Their keys.
    keys: Vec<u8>,
    runs: Option<Runs>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    first: u64,
    start: u32,
    len: u32,
    rest: [u32; 3],
}

/// Sorted runs, one behind the other.
#[derive(Debug)]
struct Runs {
    file: File,
    /// Where each ends.
    ends: Vec<u64>,
}

impl Sorter {
    /// Nothing yet; the room is shared by `parts` of equal size.
    pub fn new(room: &Room, parts: usize) -> Sorter {
        Sorter {
            room: room.clone(),
            most: room.part(parts),
            held: Vec::new(),
            keys: Vec::new(),
            runs: None,
        }
    }

    /// Adds an item: `write` appends its key, of which `first` makes what is compared first.
    pub fn push(
        &mut self,
        first: impl FnOnce(&[u8]) -> u64,
        rest: [u32; 3],
        write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let size = self.held.len() * size_of::<Held>() + self.keys.len();
        // in memory, too, keys are found by numbers of 32 bits
        if size > self.most || self.keys.len() > (u32::MAX / 2) as usize {
            self.put_out()?;
        }
        let start = self.keys.len();
        write(&mut self.keys)?;
        let number = |n: usize| u32::try_from(n).map_err(|_| Error::new(Errno::EFBIG));
        let mut held = Held {
            first: 0,
            start: number(start)?,
            len: number(self.keys.len() - start)?,
            rest,
        };
        held.first = first(key(&self.keys, &held));
        self.held.push(held);
        Ok(())
    }

    /// Gives all items to `each`, in order, and has none afterwards.
    pub fn drain(&mut self, mut each: impl FnMut(Item<'_>) -> Result<()>) -> Result<()> {
        if self.runs.is_some() {
            self.put_out()?;
        }
        let done = match self.runs.take() {
            Some(runs) => runs.merge(&self.room, self.most, &mut each),
            None => {
                self.sort();
                self.items().try_for_each(each)
            }
        };
        self.held.clear();
        self.keys.clear();
        done
    }

    fn sort(&mut self) {
        let keys = &self.keys;
        self.held.sort_unstable_by(|a, b| {
            let by_first = a.first.cmp(&b.first);
            by_first.then_with(|| key(keys, a).cmp(key(keys, b)))
        });
    }

    fn items(&self) -> impl Iterator<Item = Item<'_>> {
        self.held.iter().map(|held| Item {
            first: held.first,
            key: key(&self.keys, held),
            rest: held.rest,
        })
    }

    /// Writes what is in memory as one run.
    fn put_out(&mut self) -> Result<()> {
        self.sort();
        if self.runs.is_none() {
            let file = self.room.file()?.ok_or(Errno::EFBIG)?;
            let ends = Vec::new();
            self.runs = Some(Runs { file, ends });
        }
        if let Some(mut runs) = self.runs.take() {
            let written = runs.add(self.items());
            self.runs = Some(runs);
            written.context(|| self.room.what())?;
        }
        self.held.clear();
        self.keys.clear();
        Ok(())
    }
}

fn key<'k>(keys: &'k [u8], held: &Held) -> &'k [u8] {
    let start = held.start as usize;
    keys.get(start..start + held.len as usize)
        .unwrap_or_default()
}

impl Runs {
    fn add<'a>(&mut self, items: impl Iterator<Item = Item<'a>>) -> Result<()> {
        let mut at = self.ends.last().copied().unwrap_or_default();
        let mut out = Vec::with_capacity(CHUNK);
        for item in items {
            out.extend_from_slice(&item.first.to_ne_bytes());
            for number in item.rest {
                out.extend_from_slice(&number.to_ne_bytes());
            }
            out.extend_from_slice(&(item.key.len() as u32).to_ne_bytes());
            out.extend_from_slice(item.key);
            if out.len() >= CHUNK {
                self.file.write_all_at(&out, at)?;
                at += out.len() as u64;
                out.clear();
            }
        }
        self.file.write_all_at(&out, at)?;
        self.ends.push(at + out.len() as u64);
        Ok(())
    }
}

/// A part of a file, read from its beginning.
struct Part<'r> {
    file: &'r File,
    at: u64,
    end: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min((self.end - self.at) as usize);
        let read = self.file.read_at(&mut to[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// An item of a run, and where the run goes on. The order is that of the items.
struct Head<'r> {
    first: u64,
    key: Vec<u8>,
    rest: [u32; 3],
    from: BufReader<Part<'r>>,
}

impl Head<'_> {
    /// The next item of the run; false if there is none.
    fn next(&mut self) -> Result<bool> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.first = u64::from_ne_bytes(self.take()?);
        for i in 0..self.rest.len() {
            self.rest[i] = u32::from_ne_bytes(self.take()?);
        }
        let len = u32::from_ne_bytes(self.take()?);
        self.key.resize(len as usize, 0);
        self.from.read_exact(&mut self.key)?;
        Ok(true)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_first = self.first.cmp(&other.first);
        by_first.then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

impl Runs {
    /// All items, in order.
    fn merge(
        &self,
        room: &Room,
        most: usize,
        each: &mut impl FnMut(Item<'_>) -> Result<()>,
    ) -> Result<()> {
        let buffer = (most / self.ends.len().max(1)).clamp(512, CHUNK);
        let mut heads = BinaryHeap::with_capacity(self.ends.len());
        let mut at = 0;
        for end in self.ends.iter().copied() {
            let file = &self.file;
            let mut head = Head {
                first: 0,
                key: Vec::new(),
                rest: [0; 3],
                from: BufReader::with_capacity(buffer, Part { file, at, end }),
            };
            at = end;
            if head.next().context(|| room.what())? {
                heads.push(Reverse(head));
            }
        }
        while let Some(mut head) = heads.peek_mut() {
            each(Item {
                first: head.0.first,
                key: &head.0.key,
                rest: head.0.rest,
            })?;
            if !head.0.next().context(|| room.what())? {
                PeekMut::pop(head);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_sorted_as_what_fits() {
        let dir = tempfile::tempdir().unwrap();
        for room in [Room::limited(100_000, dir.path()), Room::unlimited()] {
            let mut sorter = Sorter::new(&room, 8);
            for count in [0u32, 1, 5, 5000] {
                let mut want = Vec::new();
                for i in 0..count {
                    let key = i.wrapping_mul(2_654_435_761).to_string().into_bytes();
                    let first = u64::from(i % 7);
                    want.push((first, key.clone(), [i, 1, 2]));
                    let write = |keys: &mut Vec<u8>| {
                        keys.extend_from_slice(&key);
                        Ok(())
                    };
                    sorter.push(|_| first, [i, 1, 2], write).unwrap();
                }
                want.sort();
                let mut got = Vec::new();
                sorter
                    .drain(|item| {
                        got.push((item.first, item.key.to_vec(), item.rest));
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(got, want);
            }
        }
    }
}
