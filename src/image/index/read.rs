//! Reading an index.

use super::blocks::{Blocks, Bytes, damaged};
use super::format::{
    EMPTY, EntryRecord, InodeRecord, LinkRecord, NONE, OBJECT, PACKED, Section, SetRecord,
    XattrRecord, hash,
};
use crate::image::digest::Digest;
use crate::image::tree::Content;
use crate::sys::map::Map;
use crate::vfs::error::Context;
use crate::vfs::whiteout::NAME_MAX;
use crate::vfs::{Kind, Result, Time};
use std::cmp::Ordering;
use std::fs::File;
use std::path::Path;

/// Longest target of a symlink.
const TARGET_MAX: u64 = 4096;

/// An index, over a file in memory or over any bytes.
#[derive(Debug)]
pub struct Index<B = Map> {
    pub(super) blocks: Blocks<B>,
}

/// A file of the image. What cannot be is no inode: reading one is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inode {
    /// Its number; the root's is 0.
    pub number: u32,
    /// Its type; never a socket.
    pub kind: Kind,
    /// Permission bits.
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of a file, the number of its names; of a directory, 2 and its subdirectories.
    pub nlink: u32,
    /// Last change of the data.
    pub mtime: Time,
    /// Of a file, its size; of a symlink, the length of its target.
    pub size: u64,
    /// Of a device, its number, in the encoding of `st_rdev`.
    pub rdev: u64,
    /// The directory of its first name; less than `number` but for the root, which is in itself.
    pub parent: u32,
    pub(super) at: u64,
    pub(super) count: u32,
    pub(super) xattrs: u32,
    pub(super) name: (u32, u8),
    pub(super) content: u8,
}

/// A name in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name: no `/`, no NUL, neither `.` nor `..`, 1 to 255 bytes.
    pub name: &'a [u8],
    /// The file's number.
    pub inode: u32,
    /// Its type.
    pub kind: Kind,
}

impl Index<Map> {
    /// Opens a file, which must stay as it is.
    pub fn open(path: &Path) -> Result<Index<Map>> {
        let said = || path.display().to_string();
        Index::of(&File::open(path).context(said)?).context(said)
    }

    /// The same for a file that is open.
    pub fn of(file: &File) -> Result<Index<Map>> {
        Index::new(Map::of(file)?)
    }
}

impl<B: Bytes> Index<B> {
    /// Over bytes. Checks the superblock, and that all tables are where it says; the rest is
    /// checked as it is used.
    pub fn new(bytes: B) -> Result<Index<B>> {
        Ok(Index {
            blocks: Blocks::open(bytes)?,
        })
    }

    /// Number of inodes.
    pub fn inodes(&self) -> u32 {
        u32::try_from(self.blocks.count(Section::Inodes)).unwrap_or(NONE)
    }

    /// What tells this tree from every other one.
    pub fn identity(&self) -> Digest {
        Digest::from_bytes(self.blocks.superblock().identity)
    }

    /// The diff IDs of the layers, lowest first.
    pub fn layers(&self) -> Result<Vec<Digest>> {
        self.digests(Section::Layers)
    }

    /// The objects that files' data is in, sorted.
    pub fn objects(&self) -> Result<Vec<Digest>> {
        self.digests(Section::Objects)
    }

    fn digests(&self, section: Section) -> Result<Vec<Digest>> {
        let all = self
            .blocks
            .records(section, 0, self.blocks.count(section))?;
        let (digests, _) = all.as_chunks::<32>();
        Ok(digests.iter().map(|d| Digest::from_bytes(*d)).collect())
    }

    /// An inode.
    pub fn inode(&self, number: u32) -> Result<Inode> {
        let record: &InodeRecord = self.blocks.record(Section::Inodes, number.into())?;
        let bad = |what: &str| damaged(format!("inode {number}: {what}"));
        let mode = record.mode.get();
        let kind = Kind::from_mode(mode)
            .filter(|kind| *kind != Kind::Socket && mode <= 0o177_777)
            .ok_or_else(|| bad("a type that no file has"))?;
        let device = matches!(kind, Kind::CharDev | Kind::BlockDev);
        let inode = Inode {
            number,
            kind,
            perm: mode & 0o7777,
            uid: record.uid.get(),
            gid: record.gid.get(),
            nlink: record.nlink.get(),
            mtime: Time {
                sec: record.mtime.get(),
                nsec: record.mtime_nsec.get(),
            },
            size: record.size.get(),
            rdev: if device { record.at.get() } else { 0 },
            parent: record.parent.get(),
            at: record.at.get(),
            count: record.count.get(),
            xattrs: record.xattrs.get(),
            name: (record.name_at.get(), record.name_len),
            content: record.content,
        };
        if (number == 0) != (kind == Kind::Dir && inode.parent == number) {
            return Err(bad("the root alone is in itself"));
        }
        if number != 0 && inode.parent >= number {
            return Err(bad("it is in a directory of a higher number"));
        }
        if inode.mtime.nsec > 999_999_999 || inode.nlink == 0 {
            return Err(bad("a time or a link count that no file has"));
        }
        if inode.size > i64::MAX.cast_unsigned() {
            return Err(bad("larger than any file"));
        }
        Ok(inode)
    }

    fn directory(&self, number: u32) -> Result<Inode> {
        let inode = self.inode(number)?;
        match inode.kind {
            Kind::Dir => Ok(inode),
            _ => Err(nix::errno::Errno::ENOTDIR.into()),
        }
    }

    /// Finds a name in a directory.
    pub fn lookup(&self, dir: u32, name: &[u8]) -> Result<Option<Entry<'_>>> {
        let dir = self.directory(dir)?;
        let wanted = hash(name);
        let (mut low, mut high) = (0, dir.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.entry_record(&dir, middle)?;
            let order = match record.hash.get().cmp(&wanted) {
                Ordering::Equal => self
                    .string(record.name_at.get(), record.name_len)?
                    .cmp(name),
                other => other,
            };
            match order {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return self.entry(&dir, record).map(Some),
            }
        }
        Ok(None)
    }

    /// The entries of a directory in the order of their table, from place `from` on.
    pub fn entries(&self, dir: u32, from: u32) -> Result<Entries<'_, B>> {
        let dir = self.directory(dir)?;
        Ok(Entries {
            index: self,
            dir,
            next: from.min(dir.count),
        })
    }

    fn entry_record(&self, dir: &Inode, place: u32) -> Result<&EntryRecord> {
        let i = dir
            .at
            .checked_add(place.into())
            .ok_or_else(|| damaged(format!("inode {}: entries of no place", dir.number)))?;
        self.blocks.record(Section::Entries, i)
    }

    fn entry(&self, dir: &Inode, record: &EntryRecord) -> Result<Entry<'_>> {
        let name = self.name(record.name_at.get(), record.name_len)?;
        let inode = record.inode.get();
        let bad = || damaged(format!("inode {}, {:?}", dir.number, name.escape_ascii()));
        let kind = Kind::from_mode(u32::from(record.kind) << 12)
            .ok_or_else(|| bad().context("an entry of no type"))?;
        // a directory is below the one it is in, so that nobody walks in circles
        if inode >= self.inodes() || inode == 0 || kind == Kind::Dir && inode <= dir.number {
            return Err(bad().context(format!("an entry for inode {inode}")));
        }
        Ok(Entry { name, inode, kind })
    }

    /// The directory of the first name, and that name; the root has none.
    pub fn place(&self, number: u32) -> Result<Option<(u32, &[u8])>> {
        let inode = self.inode(number)?;
        if number == 0 {
            return Ok(None);
        }
        Ok(Some((inode.parent, self.name(inode.name.0, inode.name.1)?)))
    }

    /// Every name of a file, the first one first, each with its directory.
    pub fn links(&self, number: u32) -> Result<Vec<(u32, &[u8])>> {
        let inode = self.inode(number)?;
        if inode.kind == Kind::Dir || inode.nlink == 1 {
            return Ok(self.place(number)?.into_iter().collect());
        }
        let count = self.blocks.count(Section::Links);
        let record = |i| self.blocks.record::<LinkRecord>(Section::Links, i);
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            match record(middle)?.inode.get() < number {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let mut found = Vec::new();
        while low < count && record(low)?.inode.get() == number {
            let link = record(low)?;
            let name = self.name(link.name_at.get(), link.name_len)?;
            if link.dir.get() >= self.inodes() {
                return Err(damaged(format!("inode {number}: a name in no directory")));
            }
            found.push((link.dir.get(), name));
            low += 1;
        }
        if found.len() != inode.nlink as usize {
            return Err(damaged(format!("inode {number}: not all names are there")));
        }
        Ok(found)
    }

    /// The target of a symlink.
    pub fn target(&self, number: u32) -> Result<&[u8]> {
        let inode = self.inode(number)?;
        if inode.kind != Kind::Symlink {
            return Err(nix::errno::Errno::EINVAL.into());
        }
        let target = match inode.size {
            1..=TARGET_MAX => self
                .blocks
                .records(Section::Strings, inode.at, inode.size)?,
            _ => &[],
        };
        if target.is_empty() || target.contains(&0) {
            return Err(damaged(format!(
                "inode {number}: a target that no link has"
            )));
        }
        Ok(target)
    }

    /// Where the data of a file is.
    pub fn content(&self, number: u32) -> Result<Content> {
        let inode = self.inode(number)?;
        if inode.kind != Kind::File {
            return Err(nix::errno::Errno::EINVAL.into());
        }
        match inode.content {
            EMPTY if inode.size == 0 => Ok(Content::Empty),
            PACKED if u64::from(inode.count) < self.blocks.count(Section::Layers) => {
                Ok(Content::Packed {
                    layer: inode.count,
                    offset: inode.at,
                })
            }
            OBJECT => {
                let digest: &[u8; 32] = self.blocks.record(Section::Objects, inode.at)?;
                Ok(Content::Object(Digest::from_bytes(*digest)))
            }
            _ => Err(damaged(format!("inode {number}: its data is nowhere"))),
        }
    }

    /// The extended attributes of a file, sorted by name.
    pub fn xattrs(&self, number: u32) -> Result<Xattrs<'_, B>> {
        let inode = self.inode(number)?;
        let (first, count) = match inode.xattrs {
            NONE => (0, 0),
            set => {
                let record: &SetRecord = self.blocks.record(Section::Sets, set.into())?;
                (record.first.get(), record.count.get())
            }
        };
        Ok(Xattrs {
            index: self,
            next: first.into(),
            left: count,
        })
    }

    /// A string that is to be a name.
    fn name(&self, at: u32, len: u8) -> Result<&[u8]> {
        let name = self.string(at, len)?;
        if !is_name(name) {
            let shown = name.escape_ascii();
            return Err(damaged(format!("{shown:?}, which can be no name")));
        }
        Ok(name)
    }

    fn string(&self, at: u32, len: u8) -> Result<&[u8]> {
        self.blocks.records(Section::Strings, at.into(), len.into())
    }
}

/// True for what can be the name of a file.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| matches!(b, 0 | b'/'))
}

/// The entries of a directory. After an error nothing comes.
#[derive(Debug)]
pub struct Entries<'a, B> {
    index: &'a Index<B>,
    dir: Inode,
    next: u32,
}

impl<B> Entries<'_, B> {
    /// The place to go on from after what came last.
    pub fn place(&self) -> u32 {
        self.next
    }
}

impl<'a, B: Bytes> Iterator for Entries<'a, B> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Result<Entry<'a>>> {
        if self.next >= self.dir.count {
            return None;
        }
        let index = self.index;
        let entry = index
            .entry_record(&self.dir, self.next)
            .and_then(|record| index.entry(&self.dir, record));
        self.next = match entry {
            Ok(_) => self.next + 1,
            Err(_) => self.dir.count,
        };
        Some(entry)
    }
}

/// The extended attributes of a file: name and value. After an error nothing comes.
#[derive(Debug)]
pub struct Xattrs<'a, B> {
    index: &'a Index<B>,
    next: u64,
    left: u32,
}

impl<'a, B: Bytes> Xattrs<'a, B> {
    fn read(&self) -> Result<(&'a [u8], &'a [u8])> {
        let blocks = &self.index.blocks;
        let record: &XattrRecord = blocks.record(Section::Xattrs, self.next)?;
        let string = |at: u32, len: u32| blocks.records(Section::Strings, at.into(), len.into());
        let name = string(record.name_at.get(), record.name_len.get().into())?;
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
            return Err(damaged("an attribute without a name"));
        }
        Ok((name, string(record.value_at.get(), record.value_len.get())?))
    }
}

impl<'a, B: Bytes> Iterator for Xattrs<'a, B> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = self.read();
        self.next += 1;
        if read.is_err() {
            self.left = 0;
        }
        Some(read)
    }
}
