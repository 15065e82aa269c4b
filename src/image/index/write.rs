//! Writing an index.

use super::format::{
    EMPTY, EntryRecord, InodeRecord, LinkRecord, NONE, OBJECT, PACKED, Section, SetRecord,
    XattrRecord, hash,
};
use super::read::is_name;
use super::seal::Sealing;
use crate::image::tree::{Data, Node, Place, Text, Tree};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io::{Seek, Write};
use zerocopy::IntoBytes;

/// Writes the index of a tree, from the start of `out`. The same tree gives the same bytes.
pub fn write(tree: &Tree, out: &mut (impl Write + Seek)) -> Result<()> {
    let mut writer = Writer::new(tree)?;
    let mut file = Sealing::begin(out)?;
    file.section(Section::Inodes, writer.order.len() as u64)?;
    for number in 0..writer.order.len() as u32 {
        let record = writer
            .node(number)
            .map_err(|e| e.context(format!("index: node {number}")))?;
        file.record(&record)?;
    }
    file.section(Section::Entries, writer.entries)?;
    for node in &writer.order {
        if let Data::Dir(children) = &writer.get(*node)?.data {
            for child in writer.table(children) {
                file.record(&writer.entry(&child)?)?;
            }
        }
    }
    for section in &Section::ALL[Section::Links as usize..] {
        let bytes = &writer.rest[*section as usize];
        file.section(*section, (bytes.len() / section.record()) as u64)?;
        file.write(bytes)?;
    }
    file.finish()
}

/// A tree that an index cannot be made of: a mistake of whoever made it.
fn unfit(what: &str) -> Error {
    Error::because(Errno::EINVAL, what)
}

struct Writer<'a> {
    tree: &'a Tree,
    /// The nodes of the tree in the order that they have here.
    order: Vec<u32>,
    /// The other way round; [`NONE`] for what is in the tree no more.
    numbers: Vec<u32>,
    /// How many entries the directories so far have.
    entries: u64,
    /// The sections behind the entries, by number.
    rest: [Vec<u8>; 8],
    /// Where each string is that is there already.
    strings: Vec<u32>,
    sets: Vec<u32>,
    objects: BTreeMap<u32, u64>,
}

/// A name in a directory, with its hash in front, as tables are sorted.
type Child<'a> = (u32, &'a [u8], Text, u32);

impl<'a> Writer<'a> {
    fn new(tree: &'a Tree) -> Result<Writer<'a>> {
        let (order, numbers) = number(tree)?;
        let mut used: Vec<u32> = Vec::new();
        for node in order.iter().filter_map(|n| tree.nodes.get(*n as usize)) {
            if let Data::File {
                place: Place::Object(object),
                ..
            } = node.data
            {
                used.push(object);
            }
        }
        let digest = |object: &u32| tree.objects.get_index(*object as usize);
        used.sort_by_key(digest);
        used.dedup();
        let mut rest: [Vec<u8>; 8] = Default::default();
        for layer in &tree.layers {
            rest[Section::Layers as usize].extend_from_slice(layer.as_bytes());
        }
        for digest in used.iter().filter_map(digest) {
            rest[Section::Objects as usize].extend_from_slice(digest.as_bytes());
        }
        Ok(Writer {
            tree,
            order,
            numbers,
            entries: 0,
            rest,
            strings: vec![NONE; tree.strings.count()],
            sets: vec![NONE; tree.sets.len()],
            objects: used.into_iter().zip(0..).collect(),
        })
    }

    fn node(&mut self, number: u32) -> Result<InodeRecord> {
        let at = self.order.get(number as usize).copied().unwrap_or(NONE);
        let node = self.get(at)?;
        let names = self.names(at, node)?;
        let (parent, name) = match names.first() {
            None if number == 0 => (0, Text::EMPTY),
            Some((parent, _, name)) if *parent < number => (*parent, *name),
            _ => return Err(unfit("not numbered after the directory of its first name")),
        };
        let (size, at, count, content) = match &node.data {
            Data::Dir(children) => {
                let first = self.entries;
                for (_, name, text, child) in self.table(children) {
                    let known = self.get(child)?.names.contains(&(at, text));
                    if !is_name(name) || !known {
                        return Err(unfit("an entry whose file does not have that name"));
                    }
                    self.string(text)?;
                }
                self.entries += children.len() as u64;
                (0, first, children.len() as u32, EMPTY)
            }
            Data::File { size, place } => {
                let (at, count, content) = self.content(*size, *place)?;
                (*size, at, count, content)
            }
            Data::Symlink(target) => {
                let bytes = self.tree.strings.get(*target);
                if bytes.is_empty() || bytes.contains(&0) {
                    return Err(unfit("a target that no symlink has"));
                }
                (bytes.len() as u64, self.string(*target)?.into(), 0, EMPTY)
            }
            Data::CharDev(rdev) | Data::BlockDev(rdev) => (0, *rdev, 0, EMPTY),
            Data::Fifo => (0, 0, 0, EMPTY),
        };
        let nlink = self.links(number, node, &names)?;
        let xattrs = node.xattrs.map_or(Ok(NONE), |set| self.set(set))?;
        let name_at = self.string(name)?;
        Ok(InodeRecord {
            mode: (mode_of(&node.data) | u32::from(node.perm)).into(),
            uid: node.uid.into(),
            gid: node.gid.into(),
            nlink: nlink.into(),
            mtime: node.mtime.into(),
            mtime_nsec: node.mtime_nsec.into(),
            xattrs: xattrs.into(),
            size: size.into(),
            at: at.into(),
            count: count.into(),
            parent: parent.into(),
            name_at: name_at.into(),
            name_len: self.tree.strings.get(name).len() as u8,
            content,
            reserved: 0.into(),
        })
    }

    fn get(&self, node: u32) -> Result<&'a Node> {
        let tree = self.tree;
        tree.nodes
            .get(node as usize)
            .ok_or_else(|| unfit("a node that is not there"))
    }

    fn number(&self, node: u32) -> u32 {
        self.numbers.get(node as usize).copied().unwrap_or(NONE)
    }

    /// All names of a node, each with the number of its directory; the one in the directory with
    /// the lowest number comes first.
    fn names(&self, at: u32, node: &'a Node) -> Result<Vec<(u32, &'a [u8], Text)>> {
        let mut names = Vec::with_capacity(node.names.len());
        for (dir, text) in &node.names {
            let there = match &self.get(*dir)?.data {
                Data::Dir(children) => children.get(text) == Some(&at),
                _ => false,
            };
            if !there {
                return Err(unfit("a name that its directory does not have"));
            }
            let name = self.tree.strings.get(*text);
            names.push((self.number(*dir), name, *text));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// A directory's table.
    fn table(&self, children: &BTreeMap<Text, u32>) -> Vec<Child<'a>> {
        let strings = &self.tree.strings;
        let child = |(text, node): (&Text, &u32)| {
            let name = strings.get(*text);
            (hash(name), name, *text, *node)
        };
        let mut table: Vec<Child<'a>> = children.iter().map(child).collect();
        table.sort_unstable();
        table
    }

    fn entry(&self, (hash, name, text, child): &Child<'a>) -> Result<EntryRecord> {
        let name_at = self.strings.get(text.index()).copied().unwrap_or(NONE);
        Ok(EntryRecord {
            hash: (*hash).into(),
            inode: self.number(*child).into(),
            name_at: name_at.into(),
            name_len: name.len() as u8,
            kind: (mode_of(&self.get(*child)?.data) >> 12) as u8,
            reserved: 0.into(),
        })
    }

    fn content(&self, size: u64, place: Place) -> Result<(u64, u32, u8)> {
        match place {
            Place::Empty if size == 0 => Ok((0, 0, EMPTY)),
            Place::Empty => Err(unfit("a file whose data is nowhere")),
            Place::Packed { layer, offset } if (layer as usize) < self.tree.layers.len() => {
                Ok((offset, layer, PACKED))
            }
            Place::Packed { .. } => Err(unfit("a file in the pack of no layer")),
            Place::Object(object) => match self.objects.get(&object) {
                Some(at) => Ok((*at, 0, OBJECT)),
                None => Err(unfit("an object that is not there")),
            },
        }
    }

    /// Writes down all names of a file with several. Returns the link count.
    fn links(&mut self, number: u32, node: &Node, names: &[(u32, &'a [u8], Text)]) -> Result<u32> {
        if let Data::Dir(children) = &node.data {
            if names.len() > 1 {
                return Err(unfit("a directory with several names"));
            }
            let mut subdirs = 0;
            for child in children.values() {
                subdirs += u32::from(matches!(self.get(*child)?.data, Data::Dir(_)));
            }
            return Ok(2 + subdirs);
        }
        if names.len() > 1 {
            for (dir, name, text) in names {
                let record = LinkRecord {
                    inode: number.into(),
                    dir: (*dir).into(),
                    name_at: self.string(*text)?.into(),
                    name_len: name.len() as u8,
                    reserved: [0; 3],
                };
                self.push(Section::Links, record.as_bytes());
            }
        }
        u32::try_from(names.len()).map_err(|_| unfit("too many names"))
    }

    /// The number of a set of attributes.
    fn set(&mut self, set: u32) -> Result<u32> {
        match self.sets.get(set as usize) {
            Some(&NONE) => {}
            Some(number) => return Ok(*number),
            None => return Err(unfit("attributes that are not there")),
        }
        let tree = self.tree;
        let xattrs = tree.sets.get_index(set as usize).map_or(&[][..], |s| s);
        if !xattrs.is_sorted_by(|a, b| tree.strings.get(a.0) < tree.strings.get(b.0)) {
            return Err(unfit("attributes that are not sorted by name"));
        }
        let number = self.count(Section::Sets);
        let record = SetRecord {
            first: self.count(Section::Xattrs).into(),
            count: (xattrs.len() as u32).into(),
        };
        self.push(Section::Sets, record.as_bytes());
        for (name, value) in xattrs {
            let bytes = tree.strings.get(*name);
            if bytes.is_empty() || bytes.len() > 255 || bytes.contains(&0) {
                return Err(unfit("an attribute without a name"));
            }
            let record = XattrRecord {
                name_at: self.string(*name)?.into(),
                value_at: self.string(*value)?.into(),
                value_len: (tree.strings.get(*value).len() as u32).into(),
                name_len: (bytes.len() as u16).into(),
                reserved: 0.into(),
            };
            self.push(Section::Xattrs, record.as_bytes());
        }
        if let Some(known) = self.sets.get_mut(set as usize) {
            *known = number;
        }
        Ok(number)
    }

    /// Where a string is, which is there once.
    fn string(&mut self, text: Text) -> Result<u32> {
        let at = self
            .strings
            .get_mut(text.index())
            .ok_or_else(|| unfit("a string that is not there"))?;
        if *at == NONE {
            let all = &mut self.rest[Section::Strings as usize];
            // they fit: those of the tree do
            *at = all.len() as u32;
            all.extend_from_slice(self.tree.strings.get(text));
        }
        Ok(*at)
    }

    fn push(&mut self, section: Section, record: &[u8]) {
        self.rest[section as usize].extend_from_slice(record);
    }

    /// Number of records in a section so far.
    fn count(&self, section: Section) -> u32 {
        (self.rest[section as usize].len() / section.record()) as u32
    }
}

/// Numbers what is in the tree, each directory before what is in it, and that by name.
fn number(tree: &Tree) -> Result<(Vec<u32>, Vec<u32>)> {
    if !tree.is_dir(Tree::ROOT) {
        return Err(unfit("index: the root is no directory"));
    }
    let mut numbers = vec![NONE; tree.nodes.len()];
    let mut order = vec![Tree::ROOT];
    numbers[Tree::ROOT as usize] = 0;
    let mut next = 0;
    while let Some(dir) = order.get(next).copied() {
        next += 1;
        let mut children: Vec<(&[u8], u32)> = tree.children(dir).collect();
        children.sort_unstable();
        for (_, child) in children {
            if let Some(number) = numbers.get_mut(child as usize)
                && *number == NONE
            {
                // a tree has less than 2^32 nodes
                *number = order.len() as u32;
                order.push(child);
            }
        }
    }
    Ok((order, numbers))
}

fn mode_of(data: &Data) -> u32 {
    match data {
        Data::Dir(_) => libc::S_IFDIR,
        Data::File { .. } => libc::S_IFREG,
        Data::Symlink(_) => libc::S_IFLNK,
        Data::CharDev(_) => libc::S_IFCHR,
        Data::BlockDev(_) => libc::S_IFBLK,
        Data::Fifo => libc::S_IFIFO,
    }
}
