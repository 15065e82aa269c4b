//! Writing an index.

use super::format::{
    EMPTY, EntryRecord, InodeRecord, LinkRecord, NONE, OBJECT, PACKED, Section, SetRecord,
    XattrRecord, hash,
};
use super::order::Order;
use super::read::is_name;
use super::seal::Sealing;
use crate::image::spill::{Pages, Records, Sorter, Spool};
use crate::image::tree::{Data, Node, Place, Text, Tree, kind};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::io::{Seek, Write};
use zerocopy::IntoBytes;

/// Writes the index of a tree, from the start of `out`. The same tree gives the same bytes.
pub fn write(tree: &Tree, out: &mut (impl Write + Seek)) -> Result<()> {
    let mut writer = Writer::new(tree)?;
    let mut file = Sealing::begin(out)?;
    file.section(Section::Inodes, writer.order.len().into())?;
    for number in 0..writer.order.len() {
        let record = writer
            .node(number)
            .context(|| format!("index: node {number}"))?;
        file.record(&record)?;
    }
    for section in &Section::ALL[Section::Entries as usize..] {
        let bytes = &writer.rest[*section as usize];
        file.section(*section, bytes.len() / section.record() as u64)?;
        bytes.read(|piece| Ok(file.write(piece)?))?;
    }
    file.finish()
}

/// A tree that an index cannot be made of: a mistake of whoever made it.
pub(super) fn unfit(what: &str) -> Error {
    Error::because(Errno::EINVAL, what)
}

/// Of the room, so much is for what is being sorted, and so much for each section, in parts of all.
const SORTED: usize = 8;
const SECTION: usize = 16;

struct Writer<'a> {
    tree: &'a Tree,
    order: Order,
    /// The sections behind the inodes, by number; the first is not used.
    rest: [Spool; 8],
    strings: Placed,
    sets: Placed,
    objects: Placed,
    sorter: Sorter,
    /// A string that is being looked at.
    text: Vec<u8>,
}

/// Where in the index something of the tree is, by its number.
struct Placed(Records<u32>);

impl Placed {
    fn new(pages: &Pages, count: u32) -> Placed {
        Placed(Records::zeroed(pages, count))
    }

    fn get(&self, text: Text) -> Result<Option<u32>> {
        Ok(self.0.get(text.number())?.checked_sub(1))
    }

    fn set(&mut self, text: Text, at: u32) -> Result<()> {
        // an empty string behind all others has no place; it finds the same one each time
        self.0.set(text.number(), &at.wrapping_add(1))
    }
}

/// A name of a file, and the number of the directory that it is in.
struct Named {
    dir: u32,
    text: Text,
    len: u8,
}

impl<'a> Writer<'a> {
    fn new(tree: &'a Tree) -> Result<Writer<'a>> {
        let (pages, room) = (&tree.pages, tree.pages.room());
        let mut sorter = Sorter::new(&room, SORTED);
        let mut writer = Writer {
            tree,
            order: Order::of(tree, pages, &mut sorter)?,
            rest: std::array::from_fn(|_| Spool::new(&room, SECTION)),
            strings: Placed::new(pages, tree.strings.count()),
            sets: Placed::new(pages, tree.sets.count()),
            objects: Placed::new(pages, tree.objects.count()),
            sorter,
            text: Vec::new(),
        };
        for layer in &tree.layers {
            writer.rest[Section::Layers as usize].write(layer.as_bytes())?;
        }
        writer.objects()?;
        Ok(writer)
    }

    /// Writes down the objects that files have, sorted.
    fn objects(&mut self) -> Result<()> {
        if self.tree.objects.count() == 1 {
            return Ok(()); // the empty string
        }
        for number in 0..self.order.len() {
            let node = self.tree.nodes.get(self.order.node(number)?)?;
            if let Data::File { place, .. } = node.data()?
                && let Place::Object(object) = place
                && self.objects.get(object)?.is_none()
            {
                self.objects.set(object, 0)?;
                let digest = |key: &mut Vec<u8>| self.tree.objects.read(object, key);
                self.sorter.push(|_| 0, [object.number(), 0, 0], digest)?;
            }
        }
        let mut count = 0;
        let (section, placed) = (&mut self.rest[Section::Objects as usize], &mut self.objects);
        self.sorter.drain(|item| {
            placed.set(Text::numbered(item.rest[0]), count)?;
            count += 1;
            section.write(item.key)
        })
    }

    fn node(&mut self, number: u32) -> Result<InodeRecord> {
        let at = self.order.node(number)?;
        let node = self.tree.nodes.get(at)?;
        let (mut size, mut at_field, mut count, mut content) = (0, 0, 0, EMPTY);
        let mut nlink = 0;
        match node.data()? {
            Data::Dir => {
                at_field = self.count(Section::Entries);
                let (entries, subdirs) = self.directory(at, number)?;
                count = entries;
                nlink = 2 + subdirs;
            }
            Data::File { size: bytes, place } => {
                size = bytes;
                (at_field, count, content) = self.content(bytes, place)?;
            }
            Data::Symlink(target) => {
                let len = self.look(target)?;
                if len == 0 || self.text.contains(&0) {
                    return Err(unfit("a target that no symlink has"));
                }
                size = len.into();
                at_field = self.string(target)?.into();
            }
            Data::CharDev(rdev) | Data::BlockDev(rdev) => at_field = rdev,
            Data::Fifo => {}
        }
        let (names, first) = self.names(number, &node)?;
        if !node.is_dir() {
            nlink = names;
        }
        let first = match first {
            None if number == 0 => Named {
                dir: 0,
                text: Text::EMPTY,
                len: 0,
            },
            Some(first) if first.dir < number => first,
            _ => return Err(unfit("not numbered after the directory of its first name")),
        };
        let xattrs = match node.xattrs {
            NONE => NONE,
            set => self.set(Text::numbered(set))?,
        };
        let name_at = self.string(first.text)?;
        Ok(InodeRecord {
            mode: (mode_of(node.kind) | u32::from(node.perm)).into(),
            uid: node.uid.into(),
            gid: node.gid.into(),
            nlink: nlink.into(),
            mtime: node.mtime.into(),
            mtime_nsec: node.mtime_nsec.into(),
            xattrs: xattrs.into(),
            size: size.into(),
            at: at_field.into(),
            count: count.into(),
            parent: first.dir.into(),
            name_at: name_at.into(),
            name_len: first.len,
            content,
            reserved: 0.into(),
        })
    }

    /// Writes down the entries of a directory. Returns how many there are, and how many are directories.
    fn directory(&mut self, at: u32, number: u32) -> Result<(u32, u32)> {
        let tree = self.tree;
        for name in tree.in_dir(at) {
            let name = name?;
            let child = self.order.number(name.node)?;
            if name.dir != at || child <= number && name.kind == kind::DIR {
                return Err(unfit("an entry whose file does not have that name"));
            }
            let text = Text::numbered(name.text);
            let by_hash = |name: &[u8]| hash(name).into();
            self.sorter
                .push(by_hash, [name.text, child, name.kind.into()], |key| {
                    tree.strings.read(text, key)
                })?;
        }
        let (mut entries, mut subdirs) = (0, 0);
        let strings = &mut self.strings;
        let [_, out, .., bytes] = &mut self.rest;
        self.sorter.drain(|item| {
            let [text, child, type_of] = item.rest;
            if !is_name(item.key) {
                return Err(unfit("an entry whose name is none"));
            }
            entries += 1;
            subdirs += u32::from(type_of == u32::from(kind::DIR));
            let name_at = place(strings, bytes, Text::numbered(text), item.key)?;
            let record = EntryRecord {
                hash: (item.first as u32).into(),
                inode: child.into(),
                name_at: name_at.into(),
                name_len: item.key.len() as u8,
                kind: (mode_of(type_of as u8) >> 12) as u8,
                reserved: 0.into(),
            };
            out.write(record.as_bytes())
        })?;
        Ok((entries, subdirs))
    }

    fn content(&self, size: u64, place: Place) -> Result<(u64, u32, u8)> {
        match place {
            Place::Empty if size == 0 => Ok((0, 0, EMPTY)),
            Place::Empty => Err(unfit("a file whose data is nowhere")),
            Place::Packed { layer, offset } if (layer as usize) < self.tree.layers.len() => {
                Ok((offset, layer, PACKED))
            }
            Place::Packed { .. } => Err(unfit("a file in the pack of no layer")),
            Place::Object(object) => match self.objects.get(object)? {
                Some(at) => Ok((at.into(), 0, OBJECT)),
                None => Err(unfit("an object that is not there")),
            },
        }
    }

    /// How many names a node has, and the one in the directory with the lowest number. All names of a
    /// file with several are written down.
    fn names(&mut self, number: u32, node: &Node) -> Result<(u32, Option<Named>)> {
        if node.name == NONE {
            return Ok((0, None));
        }
        let only = self.tree.names.get(node.name)?;
        if only.next_of_node == NONE {
            let text = Text::numbered(only.text);
            let first = Named {
                dir: self.order.number(only.dir)?,
                text,
                len: self.tree.strings.length(text)? as u8,
            };
            return Ok((1, Some(first)));
        }
        if node.is_dir() {
            return Err(unfit("a directory with several names"));
        }
        let tree = self.tree;
        for name in tree.names_of(node) {
            let name = name?;
            let dir = self.order.number(name.dir)?;
            let text = Text::numbered(name.text);
            self.sorter.push(
                |_| dir.into(),
                [name.text, dir, 0],
                |key| tree.strings.read(text, key),
            )?;
        }
        let (mut count, mut first) = (0, None);
        let strings = &mut self.strings;
        let [_, _, out, .., bytes] = &mut self.rest;
        self.sorter.drain(|item| {
            let [text, dir, _] = item.rest;
            let (text, len) = (Text::numbered(text), item.key.len() as u8);
            let record = LinkRecord {
                inode: number.into(),
                dir: dir.into(),
                name_at: place(strings, bytes, text, item.key)?.into(),
                name_len: len,
                reserved: [0; 3],
            };
            count += 1;
            first.get_or_insert(Named { dir, text, len });
            out.write(record.as_bytes())
        })?;
        Ok((count, first))
    }

    /// The number of a set of attributes.
    fn set(&mut self, set: Text) -> Result<u32> {
        if let Some(number) = self.sets.get(set)? {
            return Ok(number);
        }
        let xattrs = self.tree.xattrs(set)?;
        let number = self.count(Section::Sets) as u32;
        let record = SetRecord {
            first: (self.count(Section::Xattrs) as u32).into(),
            count: (xattrs.len() as u32).into(),
        };
        self.rest[Section::Sets as usize].write(record.as_bytes())?;
        let mut last = Vec::new();
        for (name, value) in xattrs {
            let name_len = self.look(name)?;
            if !(1..=255).contains(&name_len) || self.text.contains(&0) {
                return Err(unfit("an attribute without a name"));
            }
            if last >= self.text {
                return Err(unfit("attributes that are not sorted by name"));
            }
            last.clone_from(&self.text);
            let record = XattrRecord {
                name_at: self.string(name)?.into(),
                value_at: self.string(value)?.into(),
                value_len: self.tree.strings.length(value)?.into(),
                name_len: (name_len as u16).into(),
                reserved: 0.into(),
            };
            self.rest[Section::Xattrs as usize].write(record.as_bytes())?;
        }
        self.sets.set(set, number)?;
        Ok(number)
    }

    /// Where a string is, which is there once.
    fn string(&mut self, text: Text) -> Result<u32> {
        if let Some(at) = self.strings.get(text)? {
            return Ok(at);
        }
        self.look(text)?;
        let bytes = &mut self.rest[Section::Strings as usize];
        place(&mut self.strings, bytes, text, &self.text)
    }

    /// Reads a string. Returns its length.
    fn look(&mut self, text: Text) -> Result<u32> {
        self.text.clear();
        self.tree.strings.read(text, &mut self.text)?;
        Ok(self.text.len() as u32) // all strings together are below 4 GiB
    }

    /// Number of records in a section so far.
    fn count(&self, section: Section) -> u64 {
        self.rest[section as usize].len() / section.record() as u64
    }
}

/// Where a string is in the section of strings; it is written there if it is not.
fn place(placed: &mut Placed, bytes: &mut Spool, text: Text, string: &[u8]) -> Result<u32> {
    if let Some(at) = placed.get(text)? {
        return Ok(at);
    }
    // they fit: those of the tree do
    let at = bytes.len() as u32;
    bytes.write(string)?;
    placed.set(text, at)?;
    Ok(at)
}

fn mode_of(kind: u8) -> u32 {
    match kind {
        kind::DIR => libc::S_IFDIR,
        kind::FILE => libc::S_IFREG,
        kind::SYMLINK => libc::S_IFLNK,
        kind::CHAR_DEV => libc::S_IFCHR,
        kind::BLOCK_DEV => libc::S_IFBLK,
        _ => libc::S_IFIFO,
    }
}
