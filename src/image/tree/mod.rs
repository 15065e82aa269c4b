//! The tree of an image: what an index is made from.
//!
//! An image may have millions of files, and each takes about 150 bytes here: so all of it is kept in
//! [pages](super::spill), of which only so many are in memory. Names are numbers, as is all that
//! several files can share.

mod hashes;
mod node;
mod strings;

pub(super) use node::{Data, NONE, Name, Node, Place, kind};
pub use strings::{Strings, Text};

use super::digest::Digest;
use super::entry::{Meta, Xattr};
use super::spill::{Pages, Records, Room};
use crate::vfs::Result;
use hashes::Hashes;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};

/// Where the data of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Nowhere: it has none.
    Empty,
    /// In the pack of the layer with this number in [`Tree::layers`].
    Packed {
        /// The layer.
        layer: u32,
        /// Where it begins there.
        offset: u64,
    },
    /// In an object of its own.
    Object(Digest),
}

/// What a new node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Where its data is.
        content: Content,
    },
    /// A symlink to this.
    Symlink(Box<[u8]>),
    /// A character device, in the encoding of `st_rdev`.
    CharDev(u64),
    /// A block device.
    BlockDev(u64),
    /// A named pipe.
    Fifo,
}

/// A tree, to which nodes are added. A node keeps its number; one that lost all its names is in it
/// no more, but for the root.
#[derive(Debug)]
pub struct Tree {
    /// The diff IDs of the layers, lowest first.
    pub layers: Vec<Digest>,
    /// The layer, by its number, that says what is added or described now.
    pub(super) layer: u32,
    pub(super) pages: Pages,
    pub(super) nodes: Records<Node>,
    pub(super) names: Records<Name>,
    /// The names by directory and name.
    found: Hashes,
    hasher: RandomState,
    pub(super) strings: Strings,
    /// Sets of extended attributes: the numbers of their names and values, as [`Tree::xattrs`] reads them.
    pub(super) sets: Strings,
    /// The digests of objects.
    pub(super) objects: Strings,
}

impl Tree {
    /// Number of the root.
    pub const ROOT: u32 = 0;

    /// A tree of an empty directory, all of it in memory.
    pub fn new(layers: Vec<Digest>, root: &Meta) -> Result<Tree> {
        Tree::within(Room::unlimited(), layers, root)
    }

    /// The same, with no more of it in memory than there is room for.
    pub fn within(room: Room, layers: Vec<Digest>, root: &Meta) -> Result<Tree> {
        let pages = Pages::new(room);
        let mut tree = Tree {
            layers,
            layer: NONE,
            nodes: Records::new(&pages),
            names: Records::new(&pages),
            found: Hashes::new(&pages),
            hasher: RandomState::new(),
            strings: Strings::new(&pages)?,
            sets: Strings::new(&pages)?,
            objects: Strings::new(&pages)?,
            pages,
        };
        let root = tree.node(Kind::Dir, root)?;
        tree.nodes.push(&root)?;
        Ok(tree)
    }

    /// True if not all of it is in memory.
    pub fn spilled(&self) -> bool {
        self.pages.spilled()
    }

    /// Makes a node in a directory, where the name is free. Returns its number.
    pub fn add(&mut self, dir: u32, name: &[u8], kind: Kind, meta: &Meta) -> Result<u32> {
        let mut node = self.node(kind, meta)?;
        let number = self.nodes.len();
        node.name = self.name(dir, name, number, &node)?;
        self.nodes.push(&node)
    }

    /// Gives a node one more name, which is free.
    pub fn link(&mut self, dir: u32, name: &[u8], number: u32) -> Result<()> {
        let mut node = self.nodes.get(number)?;
        let new = self.name(dir, name, number, &node)?;
        if node.name != NONE {
            self.names.change(node.name, |n| n.last_of_node = new)?;
        }
        node.name = new;
        self.nodes.set(number, &node)
    }

    /// Makes a name of a node in a directory, before its other names. Returns its number.
    fn name(&mut self, dir: u32, name: &[u8], number: u32, node: &Node) -> Result<u32> {
        let text = self.strings.intern(name)?;
        let mut place = self.nodes.get(dir)?;
        if !place.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        let new = self.names.push(&Name {
            dir,
            text: text.number(),
            node: number,
            next_in_dir: place.first,
            last_in_dir: NONE,
            next_of_node: node.name,
            last_of_node: NONE,
            kind: node.kind,
            reserved: [0; 3],
        })?;
        if place.first != NONE {
            self.names.change(place.first, |n| n.last_in_dir = new)?;
        }
        place.first = new;
        self.nodes.set(dir, &place)?;
        self.found.insert(self.hash(dir, text), new)?;
        Ok(new)
    }

    /// Takes a name away, and with it all that is found by it alone.
    pub fn unlink(&mut self, dir: u32, name: &[u8]) -> Result<()> {
        let Some((at, name)) = self.find(dir, name)? else {
            return Ok(());
        };
        self.clear(name.node)?;
        self.remove(at)
    }

    /// Removes all that is in a directory.
    pub fn clear(&mut self, top: u32) -> Result<()> {
        // neither by recursion nor with a list: how deep a tree is, and how wide, a tar decides
        let mut dir = top;
        loop {
            let node = self.nodes.get(dir)?;
            if node.first == NONE {
                if dir == top {
                    return Ok(());
                }
                dir = self.names.get(node.name)?.dir;
                let emptied = self.nodes.get(dir)?.first;
                self.remove(emptied)?;
                continue;
            }
            let name = self.names.get(node.first)?;
            match name.kind == kind::DIR && self.nodes.get(name.node)?.first != NONE {
                true => dir = name.node,
                false => self.remove(node.first)?,
            }
        }
    }

    /// Gives a node other attributes.
    pub fn describe(&mut self, number: u32, meta: &Meta) -> Result<()> {
        let mut node = self.nodes.get(number)?;
        self.set_meta(&mut node, meta)?;
        self.nodes.set(number, &node)
    }

    fn set_meta(&mut self, node: &mut Node, meta: &Meta) -> Result<()> {
        node.mtime = meta.mtime;
        node.mtime_nsec = meta.mtime_nsec;
        node.uid = meta.uid;
        node.gid = meta.gid;
        node.xattrs = self.set(&meta.xattrs)?;
        node.perm = (meta.perm & 0o7777) as u16;
        node.said_by = self.layer;
        Ok(())
    }

    /// The layer that said last what a node is.
    pub(super) fn said_by(&self, number: u32) -> Result<Option<u32>> {
        let layer = self.nodes.get(number)?.said_by;
        Ok((layer != NONE).then_some(layer))
    }

    /// What a directory has under a name.
    pub fn child(&self, dir: u32, name: &[u8]) -> Result<Option<u32>> {
        Ok(self.find(dir, name)?.map(|(_, name)| name.node))
    }

    /// The nodes in a directory, in any order.
    pub fn children(&self, dir: u32) -> impl Iterator<Item = Result<(Vec<u8>, u32)>> + '_ {
        self.in_dir(dir).map(|name| {
            let name = name?;
            Ok((self.strings.get(Text::numbered(name.text))?, name.node))
        })
    }

    /// True for a directory.
    pub fn is_dir(&self, number: u32) -> Result<bool> {
        Ok(self.nodes.get(number)?.is_dir())
    }

    /// The names in a directory.
    pub(super) fn in_dir(&self, dir: u32) -> impl Iterator<Item = Result<Name>> + '_ {
        let first = self.nodes.get(dir).map(|node| node.first);
        self.chain(first, |name| name.next_in_dir)
    }

    /// The names of a node.
    pub(super) fn names_of(&self, node: &Node) -> impl Iterator<Item = Result<Name>> + '_ {
        self.chain(Ok(node.name), |name| name.next_of_node)
    }

    fn chain(
        &self,
        mut at: Result<u32>,
        next: fn(&Name) -> u32,
    ) -> impl Iterator<Item = Result<Name>> + '_ {
        std::iter::from_fn(move || match std::mem::replace(&mut at, Ok(NONE)) {
            Ok(NONE) => None,
            Ok(number) => {
                let name = self.names.get(number);
                if let Ok(name) = &name {
                    at = Ok(next(name));
                }
                Some(name)
            }
            Err(e) => Some(Err(e)),
        })
    }

    /// The names and values of a set of attributes.
    pub(super) fn xattrs(&self, set: Text) -> Result<Vec<(Text, Text)>> {
        let bytes = self.sets.get(set)?;
        let number = |bytes: &[u8]| {
            let number = bytes.try_into().map(u32::from_ne_bytes);
            Text::numbered(number.unwrap_or_default())
        };
        let pairs = bytes.chunks_exact(8);
        Ok(pairs
            .map(|pair| (number(&pair[..4]), number(&pair[4..])))
            .collect())
    }

    /// The number of a set of attributes.
    fn set(&mut self, xattrs: &[Xattr]) -> Result<u32> {
        if xattrs.is_empty() {
            return Ok(NONE);
        }
        let mut set = Vec::with_capacity(xattrs.len() * 8);
        for (name, value) in xattrs {
            for string in [name, value] {
                let text = self.strings.intern(string)?;
                set.extend_from_slice(&text.number().to_ne_bytes());
            }
        }
        Ok(self.sets.intern(&set)?.number())
    }

    /// A node that has no name yet.
    fn node(&mut self, kind: Kind, meta: &Meta) -> Result<Node> {
        let data = match kind {
            Kind::Dir => Data::Dir,
            Kind::File { size, content } => {
                let place = match content {
                    Content::Empty => Place::Empty,
                    Content::Packed { layer, offset } => Place::Packed { layer, offset },
                    Content::Object(digest) => {
                        Place::Object(self.objects.intern(digest.as_bytes())?)
                    }
                };
                Data::File { size, place }
            }
            Kind::Symlink(target) => Data::Symlink(self.strings.intern(&target)?),
            Kind::CharDev(rdev) => Data::CharDev(rdev),
            Kind::BlockDev(rdev) => Data::BlockDev(rdev),
            Kind::Fifo => Data::Fifo,
        };
        let mut node = Node::new(data);
        self.set_meta(&mut node, meta)?;
        Ok(node)
    }

    /// A name, and its number.
    fn find(&self, dir: u32, name: &[u8]) -> Result<Option<(u32, Name)>> {
        let Some(text) = self.strings.find(name)? else {
            return Ok(None);
        };
        let mut found = None;
        let is = |number| {
            let name = self.names.get(number)?;
            let is = name.dir == dir && name.text == text.number();
            if is {
                found = Some((number, name));
            }
            Ok(is)
        };
        self.found.find(self.hash(dir, text), is)?;
        Ok(found)
    }

    /// Takes away a name of what has nothing in it.
    fn remove(&mut self, number: u32) -> Result<()> {
        let name = self.names.get(number)?;
        match name.last_in_dir {
            NONE => self
                .nodes
                .change(name.dir, |n| n.first = name.next_in_dir)?,
            last => self
                .names
                .change(last, |n| n.next_in_dir = name.next_in_dir)?,
        }
        if name.next_in_dir != NONE {
            let last = name.last_in_dir;
            self.names
                .change(name.next_in_dir, |n| n.last_in_dir = last)?;
        }
        match name.last_of_node {
            NONE => self
                .nodes
                .change(name.node, |n| n.name = name.next_of_node)?,
            last => self
                .names
                .change(last, |n| n.next_of_node = name.next_of_node)?,
        }
        if name.next_of_node != NONE {
            let last = name.last_of_node;
            self.names
                .change(name.next_of_node, |n| n.last_of_node = last)?;
        }
        let hash = self.hash(name.dir, Text::numbered(name.text));
        self.found.remove(hash, |found| Ok(found == number))
    }

    fn hash(&self, dir: u32, text: Text) -> u64 {
        self.hasher
            .hash_one(u64::from(dir) << 32 | u64::from(text.number()))
    }
}
