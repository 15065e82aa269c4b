//! What a walk remembers, as little of it in memory as is wanted: a directory may have millions of
//! names, and a tree as many files with several.

use crate::image::entry::Path;
use crate::image::spill::{Bytes, Pages, Records, Sorter, beginning};
use crate::image::tree::{Strings, Text};
use crate::vfs::Result;

/// Of the room of the pages, so much is for what is being sorted, in parts of all.
const SORTED: usize = 8;

/// Makes lists of names.
#[derive(Debug)]
pub struct Lister {
    pages: Pages,
    sorter: Sorter,
}

impl Lister {
    /// In these pages.
    pub fn new(pages: &Pages) -> Lister {
        Lister {
            pages: pages.clone(),
            sorter: Sorter::new(&pages.room(), SORTED),
        }
    }

    /// The names that `tell` tells, in order, each once.
    pub fn names(
        &mut self,
        tell: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
    ) -> Result<Names> {
        tell(&mut |name| {
            self.sorter.push(beginning, [0; 3], |key| {
                key.extend_from_slice(name);
                Ok(())
            })
        })?;
        let mut bytes = Bytes::new(&self.pages);
        let mut last = Vec::new();
        self.sorter.drain(|item| {
            if last != item.key {
                last.clear();
                last.extend_from_slice(item.key);
                bytes.append(&(last.len() as u32).to_ne_bytes())?;
                bytes.append(&last)?;
            }
            Ok(())
        })?;
        Ok(Names { bytes, at: 0 })
    }
}

/// Names in order.
#[derive(Debug)]
pub struct Names {
    /// Each with its length before it.
    bytes: Bytes,
    at: u64,
}

impl Names {
    /// The next one.
    pub fn next(&mut self) -> Result<Option<Box<[u8]>>> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let mut len = Vec::with_capacity(4);
        self.bytes.read(self.at, 4, &mut len)?;
        let len = len.try_into().map_or(0, u32::from_ne_bytes) as usize;
        let mut name = Vec::with_capacity(len);
        self.bytes.read(self.at + 4, len, &mut name)?;
        self.at += 4 + len as u64;
        Ok(Some(name.into()))
    }
}

/// The first paths of files that have several, by the files' numbers.
#[derive(Debug)]
pub struct Firsts {
    numbers: Strings,
    /// Which path each of the numbers has.
    firsts: Records<u32>,
    /// How many more names.
    left: Records<u32>,
    paths: Strings,
}

impl Firsts {
    /// None, in these pages.
    pub fn new(pages: &Pages) -> Result<Firsts> {
        let mut firsts = Records::new(pages);
        // that of the empty string, which is no number
        firsts.push(&0)?;
        let mut left = Records::new(pages);
        left.push(&0)?;
        Ok(Firsts {
            numbers: Strings::new(pages)?,
            firsts,
            left,
            paths: Strings::new(pages)?,
        })
    }

    /// The path of a file that was met before; else this is its first of `links`.
    pub fn meet(&mut self, number: u64, links: u64, path: &Path) -> Result<Option<Path>> {
        let bytes = number.to_ne_bytes();
        if let Some(known) = self.numbers.find(&bytes)? {
            let known = known.number();
            self.left.change(known, |n| *n = n.saturating_sub(1))?;
            return self.first(known).map(Some);
        }
        let joined = self.paths.intern(&path.join(&b'/'))?;
        self.firsts.push(&joined.number())?;
        self.left
            .push(&u32::try_from(links.saturating_sub(1)).unwrap_or(u32::MAX))?;
        self.numbers.intern(&bytes)?;
        Ok(None)
    }

    /// Calls `each` for every file with names that were not met: its number, and its first path.
    pub fn incomplete(&self, mut each: impl FnMut(u64, &Path) -> Result<()>) -> Result<()> {
        for at in 1..self.left.len() {
            if self.left.get(at)? == 0 {
                continue;
            }
            let number = self.numbers.get(Text::numbered(at))?;
            let number = number.as_slice().try_into().map_or(0, u64::from_ne_bytes);
            each(number, &self.first(at)?)?;
        }
        Ok(())
    }

    fn first(&self, at: u32) -> Result<Path> {
        let first = self.paths.get(Text::numbered(self.firsts.get(at)?))?;
        Ok(first.split(|b| *b == b'/').map(Box::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::spill::Room;

    #[test]
    fn names_come_in_order_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let pages = Pages::new(Room::limited(0, dir.path()));
        let mut lister = Lister::new(&pages);
        for count in [0u32, 1, 2000] {
            let name = |i: u32| format!("a long beginning {}", i * 7919 % 2003).into_bytes();
            let mut names = lister
                .names(|tell| (0..count).chain(0..count).try_for_each(|i| tell(&name(i))))
                .unwrap();
            let mut want: Vec<_> = (0..count).map(name).collect();
            want.sort();
            for want in want {
                assert_eq!(names.next().unwrap().unwrap()[..], want);
            }
            assert_eq!(names.next().unwrap(), None);
        }
        assert!(pages.spilled());
    }

    #[test]
    fn the_first_path_of_a_file_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let pages = Pages::new(Room::limited(0, dir.path()));
        let mut firsts = Firsts::new(&pages).unwrap();
        let path = |i: u64| -> Path {
            let names = ["d".to_owned(), i.to_string()];
            names.iter().map(|n| n.as_bytes().into()).collect()
        };
        for i in 0..3000 {
            let links = if i == 2001 { 3 } else { 2 };
            assert_eq!(firsts.meet(i << 20, links, &path(i)).unwrap(), None);
        }
        for i in 0..3000 {
            let known = firsts.meet(i << 20, 2, &path(i + 1)).unwrap();
            assert_eq!(known, Some(path(i)));
        }
        let mut left = Vec::new();
        let each = |number, first: &Path| {
            left.push((number, first.clone()));
            Ok(())
        };
        firsts.incomplete(each).unwrap();
        assert_eq!(left, [(2001 << 20, path(2001))]);
        assert!(pages.spilled());
    }
}
