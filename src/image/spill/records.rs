//! Records of one size, and bytes, in pages.

use super::pages::{PAGE, Pages};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What can be a record: any bytes of its size are one. A new one is all zeros.
pub trait Record: FromBytes + IntoBytes + Immutable + Copy {}

impl<T: FromBytes + IntoBytes + Immutable + Copy> Record for T {}

/// A list of pages.
#[derive(Debug)]
struct List {
    pages: Pages,
    number: u32,
}

impl List {
    fn new(pages: &Pages) -> List {
        List {
            number: pages.list(),
            pages: pages.clone(),
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        self.pages.drop_list(self.number);
    }
}

/// Records by number.
#[derive(Debug)]
pub struct Records<T> {
    list: List,
    len: u32,
    of: PhantomData<T>,
}

impl<T: Record> Records<T> {
    const PER_PAGE: usize = PAGE / size_of::<T>();

    /// None.
    pub fn new(pages: &Pages) -> Records<T> {
        Records::zeroed(pages, 0)
    }

    /// So many, all zeros. They take nothing before they are written.
    pub fn zeroed(pages: &Pages, len: u32) -> Records<T> {
        Records {
            list: List::new(pages),
            len,
            of: PhantomData,
        }
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds one. Returns its number; the highest number is never given.
    pub fn push(&mut self, record: &T) -> Result<u32> {
        let number = self.len;
        if number >= u32::MAX - 1 {
            return Err(Error::because(Errno::EFBIG, "too many files"));
        }
        self.len += 1;
        self.set(number, record)?;
        Ok(number)
    }

    /// The record of that number; EINVAL if there is none.
    #[inline]
    pub fn get(&self, number: u32) -> Result<T> {
        let (page, at) = self.place(number)?;
        let read = |page: &[u8; PAGE]| {
            page.get(at..at + size_of::<T>())
                .and_then(|bytes| T::read_from_bytes(bytes).ok())
        };
        let record = self.list.pages.read(self.list.number, page, read)?;
        record.ok_or(Error::new(Errno::EINVAL))
    }

    /// Reads the records from that number on, up to the end of a page, in place of what is in `to`.
    /// Returns the number of the one behind them.
    pub fn some(&self, number: u32, to: &mut Vec<T>) -> Result<u32> {
        let (page, at) = self.place(number)?;
        to.clear();
        let left = (self.len - number) as usize;
        self.list.pages.read(self.list.number, page, |page| {
            let records = page.get(at..).unwrap_or_default();
            let records = records.chunks_exact(size_of::<T>());
            to.extend(
                records
                    .take(left)
                    .filter_map(|bytes| T::read_from_bytes(bytes).ok()),
            );
        })?;
        Ok(number + to.len() as u32)
    }

    /// Replaces a record.
    pub fn set(&mut self, number: u32, record: &T) -> Result<()> {
        let (page, at) = self.place(number)?;
        let write = |page: &mut [u8; PAGE]| {
            if let Some(bytes) = page.get_mut(at..at + size_of::<T>()) {
                bytes.copy_from_slice(record.as_bytes());
            }
        };
        self.list.pages.write(self.list.number, page, write)
    }

    /// Changes a record.
    pub fn change(&mut self, number: u32, change: impl FnOnce(&mut T)) -> Result<()> {
        let mut record = self.get(number)?;
        change(&mut record);
        self.set(number, &record)
    }

    #[inline]
    fn place(&self, number: u32) -> Result<(usize, usize)> {
        if number >= self.len {
            return Err(Error::because(Errno::EINVAL, "a record that is not there"));
        }
        let number = number as usize;
        let at = number % Self::PER_PAGE * size_of::<T>();
        Ok((number / Self::PER_PAGE, at))
    }
}

/// Bytes end to end.
#[derive(Debug)]
pub struct Bytes {
    list: List,
    len: u64,
}

impl Bytes {
    /// None.
    pub fn new(pages: &Pages) -> Bytes {
        Bytes {
            list: List::new(pages),
            len: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds some at the end.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let (page, at) = place(self.len);
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - at));
            let write = |page: &mut [u8; PAGE]| {
                if let Some(to) = page.get_mut(at..at + now.len()) {
                    to.copy_from_slice(now);
                }
            };
            self.list.pages.write(self.list.number, page, write)?;
            self.len += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// Appends the `len` bytes from `start` on to `to`.
    pub fn read(&self, start: u64, len: usize, to: &mut Vec<u8>) -> Result<()> {
        self.parts(start, len, |part| {
            to.extend_from_slice(part);
            true
        })
        .map(drop)
    }

    /// True if `bytes` are what is there from `start` on.
    pub fn are(&self, start: u64, mut bytes: &[u8]) -> Result<bool> {
        self.parts(start, bytes.len(), |part| {
            let (now, later) = bytes.split_at(part.len().min(bytes.len()));
            bytes = later;
            now == part
        })
    }

    /// Goes through the `len` bytes from `start` on, page by page, for as long as `each` is true.
    fn parts(
        &self,
        mut start: u64,
        mut len: usize,
        mut each: impl FnMut(&[u8]) -> bool,
    ) -> Result<bool> {
        if start
            .checked_add(len as u64)
            .is_none_or(|end| end > self.len)
        {
            return Err(Error::because(Errno::EINVAL, "bytes that are not there"));
        }
        while len > 0 {
            let (page, at) = place(start);
            let now = len.min(PAGE - at);
            let read = |page: &[u8; PAGE]| page.get(at..at + now).is_some_and(&mut each);
            if !self.list.pages.read(self.list.number, page, read)? {
                return Ok(false);
            }
            start += now as u64;
            len -= now;
        }
        Ok(true)
    }
}

fn place(at: u64) -> (usize, usize) {
    ((at / PAGE as u64) as usize, (at % PAGE as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::super::Room;
    use super::*;

    fn small() -> (tempfile::TempDir, Pages) {
        let dir = tempfile::tempdir().unwrap();
        let pages = Pages::new(Room::limited(8 * PAGE, dir.path()));
        (dir, pages)
    }

    #[test]
    fn records_are_what_they_were_in_memory_or_not() {
        let (dir, few) = small();
        for pages in [few, Pages::new(Room::unlimited())] {
            let (mut a, mut b) = (
                Records::<u64>::new(&pages),
                Records::<[u8; 28]>::new(&pages),
            );
            for i in 0..20_000u32 {
                assert_eq!(a.push(&u64::from(i)).unwrap(), i);
                b.push(&[i as u8; 28]).unwrap();
            }
            let any = |i: u32| i.wrapping_mul(2_654_435_761) % 20_000;
            let (mut at, mut some, mut all) = (0, Vec::new(), Vec::new());
            while at < a.len() {
                at = a.some(at, &mut some).unwrap();
                all.append(&mut some);
            }
            assert!(all.into_iter().eq(0..20_000));
            for i in 0..20_000 {
                a.change(any(i), |n| *n += 1 << 40).unwrap();
                assert_eq!(b.get(any(i)).unwrap(), [any(i) as u8; 28]);
            }
            let count = (0..20_000).filter(|i| a.get(*i).unwrap() >> 40 > 0).count();
            assert_eq!(
                count,
                (0..20_000)
                    .map(any)
                    .collect::<std::collections::BTreeSet<_>>()
                    .len()
            );
            assert!((0..20_000).all(|i| a.get(i).unwrap() & 0xffff_ffff == u64::from(i)));
            assert!(a.get(20_000).unwrap_err().is(Errno::EINVAL));
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_dropped_makes_room_and_new_records_are_zeros() {
        let (_dir, pages) = small();
        for round in 1..20u32 {
            let mut kept = Records::<u32>::zeroed(&pages, 50_000);
            for i in (0..50_000).step_by(7) {
                assert_eq!(kept.get(i).unwrap(), 0, "{i} in round {round}");
                kept.set(i, &(i * round)).unwrap();
            }
            for i in 0..50_000 {
                let want = if i % 7 == 0 { i * round } else { 0 };
                assert_eq!(kept.get(i).unwrap(), want);
            }
        }
        assert!(pages.spilled());
    }

    #[test]
    fn bytes_cross_pages() {
        let (_dir, pages) = small();
        let mut bytes = Bytes::new(&pages);
        let all: Vec<u8> = (0..100_000u32).map(|i| (i * 7 / 5) as u8).collect();
        for part in all.chunks(777) {
            bytes.append(part).unwrap();
        }
        for start in (0..90_000).step_by(4099) {
            let mut got = Vec::new();
            bytes.read(start as u64, 9000, &mut got).unwrap();
            assert_eq!(got, all[start..start + 9000]);
            assert!(bytes.are(start as u64, &got).unwrap());
            got[8999] ^= 1;
            assert!(!bytes.are(start as u64, &got).unwrap());
        }
        assert!(bytes.read(99_999, 2, &mut Vec::new()).is_err());
        assert!(pages.spilled());
    }

    #[test]
    fn a_place_that_takes_nothing_is_an_error_that_says_where() {
        let pages = Pages::new(Room::limited(0, std::path::Path::new("/nowhere/at/all")));
        let mut records = Records::<u64>::new(&pages);
        let failed = (0..10_000).find_map(|i| records.push(&i).err()).unwrap();
        assert!(failed.is(Errno::ENOENT), "{failed}");
        assert!(
            failed
                .reason()
                .contains("temporary file in /nowhere/at/all")
        );
    }
}
