//! Checking all of an index, for `fsck`: what a reader finds out as it comes by, and what it only
//! relies on to find things.

use super::blocks::{Bytes, damaged};
use super::format::{EntryRecord, LinkRecord, NONE, Section, SetRecord, hash};
use super::read::{Entry, Index, Inode};
use crate::image::digest::Digest;
use crate::image::tree::Content;
use crate::vfs::error::Context;
use crate::vfs::{Kind, Result};

impl<B: Bytes> Index<B> {
    /// Checks everything: each block, each record, that tables are sorted, and that names,
    /// directories, link counts and tables say the same. One without a fault is what was written.
    pub fn check(&self) -> Result<()> {
        for block in 0..self.blocks.blocks() {
            self.blocks.verify(block)?;
        }
        if Digest::of(self.blocks.body()) != self.identity() {
            return Err(damaged("it is not the one that it says it is"));
        }
        self.layers()?;
        if !self.objects()?.is_sorted_by(|a, b| a < b) {
            return Err(damaged("the objects are not sorted"));
        }
        let mut names = vec![0u32; self.inodes() as usize];
        let mut entries = 0;
        for number in 0..self.inodes() {
            let inode = self.inode(number)?;
            self.check_inode(&inode)?;
            if inode.kind == Kind::Dir {
                self.check_directory(&inode, &mut names)?;
                entries += u64::from(inode.count);
            }
        }
        if entries != self.blocks.count(Section::Entries) {
            return Err(damaged("entries of no directory"));
        }
        self.check_names(&names)?;
        self.check_links()?;
        self.check_sets()
    }

    fn check_inode(&self, inode: &Inode) -> Result<()> {
        let number = inode.number;
        match inode.kind {
            Kind::Symlink => {
                self.target(number)?;
            }
            Kind::File => {
                if let Content::Packed { offset, .. } = self.content(number)?
                    && offset.checked_add(inode.size).is_none()
                {
                    return Err(damaged(format!("inode {number}: beyond any pack")));
                }
            }
            _ if inode.size != 0 => {
                return Err(damaged(format!("inode {number}: a size of what has none")));
            }
            _ => {}
        }
        self.xattrs(number)?.try_for_each(|xattr| xattr.map(drop))
    }

    /// A directory's table: sorted, and in agreement with the inodes that it names.
    fn check_directory(&self, dir: &Inode, names: &mut [u32]) -> Result<()> {
        let mut last: Option<(u32, &[u8])> = None;
        let mut subdirs = 0;
        for (place, entry) in (0u64..).zip(self.entries(dir.number, 0)?) {
            let entry = entry?;
            let bad = |what: &str| damaged(format!("inode {}, entry {place}: {what}", dir.number));
            let record: &EntryRecord = self.blocks.record(Section::Entries, dir.at + place)?;
            let key = (hash(entry.name), entry.name);
            if record.hash.get() != key.0 {
                return Err(bad("not the hash of its name"));
            }
            if last.is_some_and(|last| last >= key) {
                return Err(bad("not sorted"));
            }
            last = Some(key);
            self.check_entry(dir, &entry)
                .context(|| format!("inode {}, entry {place}", dir.number))?;
            subdirs += u32::from(entry.kind == Kind::Dir);
            if let Some(n) = names.get_mut(entry.inode as usize) {
                *n = n.saturating_add(1);
            }
        }
        match dir.nlink.checked_sub(2) == Some(subdirs) {
            true => Ok(()),
            false => Err(damaged(format!("inode {}: its link count", dir.number))),
        }
    }

    fn check_entry(&self, dir: &Inode, entry: &Entry<'_>) -> Result<()> {
        let inode = self.inode(entry.inode)?;
        if inode.kind != entry.kind {
            return Err(damaged("the type of another file"));
        }
        let is_first = self.place(entry.inode)? == Some((dir.number, entry.name));
        let one_of = inode.kind != Kind::Dir && inode.nlink > 1;
        if !is_first && !one_of {
            return Err(damaged("a name that its file does not have"));
        }
        Ok(())
    }

    /// Every file is found by its first name, and by as many names as it counts.
    fn check_names(&self, names: &[u32]) -> Result<()> {
        for (number, found) in (0..self.inodes()).zip(names) {
            let inode = self.inode(number)?;
            let counted = match inode.kind {
                Kind::Dir => u32::from(number != 0),
                _ => inode.nlink,
            };
            if counted != *found {
                return Err(damaged(format!("inode {number}: {found} names")));
            }
            if let Some((dir, name)) = self.place(number)?
                && self.lookup(dir, name)?.map(|e| e.inode) != Some(number)
            {
                return Err(damaged(format!("inode {number}: not where it says")));
            }
        }
        Ok(())
    }

    /// The table of links: sorted, and of the files with several names alone.
    fn check_links(&self) -> Result<()> {
        let mut last = 0;
        for i in 0..self.blocks.count(Section::Links) {
            let link: &LinkRecord = self.blocks.record(Section::Links, i)?;
            let number = link.inode.get();
            if number < last {
                return Err(damaged(format!("link {i}: not sorted")));
            }
            last = number;
        }
        let mut counted = 0;
        for number in 0..self.inodes() {
            let inode = self.inode(number)?;
            if inode.kind != Kind::Dir && inode.nlink > 1 {
                self.check_links_of(number)?;
                counted += u64::from(inode.nlink);
            }
        }
        match counted == self.blocks.count(Section::Links) {
            true => Ok(()),
            false => Err(damaged("links of no file")),
        }
    }

    /// The names of one file: the first is the first, and each leads to it.
    fn check_links_of(&self, number: u32) -> Result<()> {
        let mut links = self.links(number)?;
        if links.first().copied() != self.place(number)? {
            return Err(damaged(format!("inode {number}: another first name")));
        }
        for (dir, name) in &links {
            if self.lookup(*dir, name)?.map(|e| e.inode) != Some(number) {
                return Err(damaged(format!("inode {number}: a name of another file")));
            }
        }
        let count = links.len();
        links.sort_unstable();
        links.dedup();
        match links.len() == count {
            true => Ok(()),
            false => Err(damaged(format!("inode {number}: one name twice"))),
        }
    }

    /// Sets of attributes: those of a set in a row and sorted.
    fn check_sets(&self) -> Result<()> {
        let mut next = 0;
        for i in 0..self.blocks.count(Section::Sets) {
            let set: &SetRecord = self.blocks.record(Section::Sets, i)?;
            if u64::from(set.first.get()) != next || set.count.get() == 0 {
                return Err(damaged(format!("set {i}: not behind the one before")));
            }
            next += u64::from(set.count.get());
        }
        if next != self.blocks.count(Section::Xattrs) {
            return Err(damaged("attributes of no set"));
        }
        for number in 0..self.inodes() {
            let set = self.inode(number)?.xattrs;
            let mut last: Option<&[u8]> = None;
            for xattr in self.xattrs(number)? {
                let (name, _) = xattr?;
                if last.is_some_and(|last| last >= name) {
                    return Err(damaged(format!("set {set}: not sorted")));
                }
                last = Some(name);
            }
            if set != NONE && last.is_none() {
                return Err(damaged(format!("set {set}: empty")));
            }
        }
        Ok(())
    }
}
