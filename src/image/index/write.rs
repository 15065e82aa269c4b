//! Writing an index.

use super::format::{
    ALIGN, BLOCK, EMPTY, EntryRecord, Extent, InodeRecord, LinkRecord, MAGIC, NONE, OBJECT, PACKED,
    Section, SetRecord, Superblock, VERSION, XattrRecord, block_range, hash,
};
use super::read::is_name;
use crate::image::digest::Digest;
use crate::image::entry::Xattr;
use crate::image::tree::{Content, Kind, Node, Tree};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use zerocopy::IntoBytes;

/// Writes the index of a tree. The same tree gives the same bytes.
pub fn write(tree: &Tree, out: &mut impl Write) -> Result<()> {
    let mut writer = Writer::new(tree)?;
    for number in 0..writer.inodes {
        writer
            .node(number)
            .map_err(|e| e.context(format!("index: node {number}")))?;
    }
    let bytes = assemble(&writer.sections);
    out.write_all(&bytes)?;
    Ok(())
}

/// A tree that an index cannot be made of: a mistake of whoever made it.
fn unfit(what: &str) -> Error {
    Error::because(Errno::EINVAL, what)
}

struct Writer<'a> {
    tree: &'a Tree,
    inodes: u32,
    /// The sections' bytes, in their order.
    sections: [Vec<u8>; 8],
    /// Strings that are there already.
    strings: HashMap<&'a [u8], u32>,
    sets: HashMap<&'a [Xattr], u32>,
    objects: HashMap<Digest, u64>,
}

impl<'a> Writer<'a> {
    fn new(tree: &'a Tree) -> Result<Writer<'a>> {
        let inodes = u32::try_from(tree.nodes.len())
            .ok()
            .filter(|n| *n != NONE)
            .ok_or_else(|| Error::because(Errno::EFBIG, "index: too many files"))?;
        match tree.nodes.first().map(|root| &root.kind) {
            Some(Kind::Dir(_)) => {}
            _ => return Err(unfit("index: the root is no directory")),
        }
        let objects: BTreeSet<Digest> = tree
            .nodes
            .iter()
            .filter_map(|node| match node.kind {
                Kind::File {
                    content: Content::Object(digest),
                    ..
                } => Some(digest),
                _ => None,
            })
            .collect();
        let mut sections: [Vec<u8>; 8] = Default::default();
        for layer in &tree.layers {
            sections[Section::Layers as usize].extend_from_slice(layer.as_bytes());
        }
        for object in &objects {
            sections[Section::Objects as usize].extend_from_slice(object.as_bytes());
        }
        Ok(Writer {
            tree,
            inodes,
            sections,
            strings: HashMap::new(),
            sets: HashMap::new(),
            objects: objects.into_iter().zip(0..).collect(),
        })
    }

    fn node(&mut self, number: u32) -> Result<()> {
        let node = self.get(number)?;
        let (parent, name) = self.first_name(number, node)?;
        let (mode, size, at, count, content) = match &node.kind {
            Kind::Dir(entries) => {
                let at = self.len(Section::Entries);
                self.entries(number, entries)?;
                let count = self.len(Section::Entries) - at;
                (libc::S_IFDIR, 0, at, count as u32, EMPTY)
            }
            Kind::File { size, content } => {
                let (at, count, content) = self.content(*size, content)?;
                (libc::S_IFREG, *size, at, count, content)
            }
            Kind::Symlink(target) => {
                if target.is_empty() || target.contains(&0) {
                    return Err(unfit("a target that no symlink has"));
                }
                let at = self.string(target)?;
                let size = target.len() as u64;
                (libc::S_IFLNK, size, at.into(), 0, EMPTY)
            }
            Kind::CharDev(rdev) => (libc::S_IFCHR, 0, *rdev, 0, EMPTY),
            Kind::BlockDev(rdev) => (libc::S_IFBLK, 0, *rdev, 0, EMPTY),
            Kind::Fifo => (libc::S_IFIFO, 0, 0, 0, EMPTY),
        };
        let record = InodeRecord {
            mode: (mode | node.meta.perm & 0o7777).into(),
            uid: node.meta.uid.into(),
            gid: node.meta.gid.into(),
            nlink: self.links(number, node)?.into(),
            mtime: node.meta.mtime.into(),
            mtime_nsec: node.meta.mtime_nsec.into(),
            xattrs: self.set(&node.meta.xattrs)?.into(),
            size: size.into(),
            at: at.into(),
            count: count.into(),
            parent: parent.into(),
            name_at: self.string(name)?.into(),
            name_len: name.len() as u8,
            content,
            reserved: 0.into(),
        };
        self.push(Section::Inodes, &record);
        Ok(())
    }

    fn get(&self, number: u32) -> Result<&'a Node> {
        let tree = self.tree;
        tree.nodes
            .get(number as usize)
            .ok_or_else(|| unfit("a node that is not there"))
    }

    fn first_name(&self, number: u32, node: &'a Node) -> Result<(u32, &'a [u8])> {
        match node.names.first() {
            None if number == Tree::ROOT => Ok((Tree::ROOT, b"")),
            Some((parent, name)) if *parent < number => Ok((*parent, name)),
            _ => Err(unfit("not numbered after the directory of its first name")),
        }
    }

    /// A directory's table.
    fn entries(
        &mut self,
        dir: u32,
        entries: &'a std::collections::BTreeMap<Box<[u8]>, u32>,
    ) -> Result<()> {
        let mut sorted: Vec<(u32, &'a [u8], u32)> = entries
            .iter()
            .map(|(name, inode)| (hash(name), &**name, *inode))
            .collect();
        sorted.sort_unstable();
        for (hash, name, inode) in sorted {
            let node = self.get(inode)?;
            let named = node.names.iter().any(|(d, n)| *d == dir && **n == *name);
            if !is_name(name) || !named {
                return Err(unfit("an entry whose file does not have that name"));
            }
            let record = EntryRecord {
                hash: hash.into(),
                inode: inode.into(),
                name_at: self.string(name)?.into(),
                name_len: name.len() as u8,
                kind: (mode_of(&node.kind) >> 12) as u8,
                reserved: 0.into(),
            };
            self.push(Section::Entries, &record);
        }
        Ok(())
    }

    fn content(&self, size: u64, content: &Content) -> Result<(u64, u32, u8)> {
        match content {
            Content::Empty if size == 0 => Ok((0, 0, EMPTY)),
            Content::Empty => Err(unfit("a file whose data is nowhere")),
            Content::Packed { layer, offset } if (*layer as usize) < self.tree.layers.len() => {
                Ok((*offset, *layer, PACKED))
            }
            Content::Packed { .. } => Err(unfit("a file in the pack of no layer")),
            Content::Object(digest) => {
                let at = self.objects.get(digest).copied().unwrap_or_default();
                Ok((at, 0, OBJECT))
            }
        }
    }

    /// Writes down all names of a file with several. Returns the link count.
    fn links(&mut self, number: u32, node: &'a Node) -> Result<u32> {
        for (dir, name) in &node.names {
            let there = match &self.get(*dir)?.kind {
                Kind::Dir(entries) => entries.get(name) == Some(&number),
                _ => false,
            };
            if !there {
                return Err(unfit("a name that its directory does not have"));
            }
        }
        if let Kind::Dir(entries) = &node.kind {
            if node.names.len() > 1 {
                return Err(unfit("a directory with several names"));
            }
            let mut subdirs = 0;
            for inode in entries.values() {
                subdirs += u32::from(matches!(self.get(*inode)?.kind, Kind::Dir(_)));
            }
            return Ok(2 + subdirs);
        }
        if node.names.len() > 1 {
            for (dir, name) in &node.names {
                let record = LinkRecord {
                    inode: number.into(),
                    dir: (*dir).into(),
                    name_at: self.string(name)?.into(),
                    name_len: name.len() as u8,
                    reserved: [0; 3],
                };
                self.push(Section::Links, &record);
            }
        }
        u32::try_from(node.names.len()).map_err(|_| unfit("too many names"))
    }

    /// The number of a set of attributes.
    fn set(&mut self, xattrs: &'a [Xattr]) -> Result<u32> {
        if xattrs.is_empty() {
            return Ok(NONE);
        }
        if let Some(set) = self.sets.get(xattrs) {
            return Ok(*set);
        }
        if !xattrs.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(unfit("attributes that are not sorted by name"));
        }
        let number = self.len(Section::Sets) as u32;
        let record = SetRecord {
            first: (self.len(Section::Xattrs) as u32).into(),
            count: (xattrs.len() as u32).into(),
        };
        self.push(Section::Sets, &record);
        for (name, value) in xattrs {
            if name.is_empty() || name.len() > 255 || name.contains(&0) {
                return Err(unfit("an attribute without a name"));
            }
            let record = XattrRecord {
                name_at: self.string(name)?.into(),
                value_at: self.string(value)?.into(),
                value_len: (value.len() as u32).into(),
                name_len: (name.len() as u16).into(),
                reserved: 0.into(),
            };
            self.push(Section::Xattrs, &record);
        }
        self.sets.insert(xattrs, number);
        Ok(number)
    }

    /// Where a string is; equal ones are there once.
    fn string(&mut self, string: &'a [u8]) -> Result<u32> {
        if let Some(at) = self.strings.get(string) {
            return Ok(*at);
        }
        let all = &mut self.sections[Section::Strings as usize];
        let at = all.len() as u32;
        if u32::try_from(all.len() + string.len()).is_err() {
            return Err(Error::because(Errno::EFBIG, "over 4 GiB of names"));
        }
        all.extend_from_slice(string);
        self.strings.insert(string, at);
        Ok(at)
    }

    fn push(&mut self, section: Section, record: &(impl IntoBytes + zerocopy::Immutable)) {
        self.sections[section as usize].extend_from_slice(record.as_bytes());
    }

    /// Number of records in a section so far.
    fn len(&self, section: Section) -> u64 {
        (self.sections[section as usize].len() / section.record()) as u64
    }
}

fn mode_of(kind: &Kind) -> u32 {
    match kind {
        Kind::Dir(_) => libc::S_IFDIR,
        Kind::File { .. } => libc::S_IFREG,
        Kind::Symlink(_) => libc::S_IFLNK,
        Kind::CharDev(_) => libc::S_IFCHR,
        Kind::BlockDev(_) => libc::S_IFBLK,
        Kind::Fifo => libc::S_IFIFO,
    }
}

/// Puts the sections into one file: each behind the last, then the checksums, then the superblock
/// in front of all.
pub(super) fn assemble(sections: &[Vec<u8>; 8]) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<Superblock>()];
    let extents = Section::ALL.map(|section| {
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        let data = &sections[section as usize];
        let offset = bytes.len() as u64;
        bytes.extend_from_slice(data);
        Extent {
            offset: offset.into(),
            count: ((data.len() / section.record()) as u64).into(),
        }
    });
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    seal(bytes, extents)
}

/// Adds checksums and superblock.
fn seal(mut bytes: Vec<u8>, sections: [Extent; 8]) -> Vec<u8> {
    let body = size_of::<Superblock>();
    let sums = bytes.len();
    let mut superblock = Superblock {
        magic: MAGIC,
        version: VERSION.into(),
        block: (BLOCK as u32).into(),
        length: ((sums + 4 * sums.div_ceil(BLOCK)) as u64).into(),
        sums: (sums as u64).into(),
        sums_sum: 0.into(),
        reserved: 0.into(),
        identity: *Digest::of(&bytes[body..]).as_bytes(),
        sections,
        reserved2: [0; 52],
        sum: 0.into(),
    };
    let table: Vec<u8> = (0..sums.div_ceil(BLOCK))
        .map(|block| block_range(block, sums))
        .flat_map(|range| crc32c::crc32c(&bytes[range]).to_le_bytes())
        .collect();
    superblock.sums_sum = crc32c::crc32c(&table).into();
    let own = &superblock.as_bytes()[..body - 4];
    superblock.sum = crc32c::crc32c(own).into();
    bytes[..body].copy_from_slice(superblock.as_bytes());
    bytes.extend_from_slice(&table);
    bytes
}
