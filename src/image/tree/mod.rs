//! The tree of an image, in memory: what an index is made from.
//!
//! It is kept small, since all of an image is in memory then, and an image may have millions of
//! files: about 120 bytes for each. So names are numbers, and what is rare is kept elsewhere.

mod strings;

pub use strings::{Strings, Text};

use super::digest::Digest;
use super::entry::{Meta, Xattr};
use crate::vfs::{Error, Result};
use indexmap::IndexSet;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::BTreeMap;

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

/// What a node is, as it is kept.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// The nodes in it, by name; the order is that of the names' numbers.
    Dir(BTreeMap<Text, u32>),
    File {
        size: u64,
        place: Place,
    },
    Symlink(Text),
    CharDev(u64),
    BlockDev(u64),
    Fifo,
}

/// [`Content`], as it is kept: an object by its number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Empty,
    Packed { layer: u32, offset: u64 },
    Object(u32),
}

/// One file, under all its names.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub data: Data,
    pub mtime: i64,
    pub mtime_nsec: u32,
    pub uid: u32,
    pub gid: u32,
    /// The number of the set of its attributes.
    pub xattrs: Option<u32>,
    pub perm: u16,
    /// Directory and name, for each name that it has; the root has none, a directory has one.
    pub names: SmallVec<[(u32, Text); 1]>,
}

/// A tree, to which nodes are added. A node keeps its number; one that lost all its names is in it
/// no more, but for the root.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The diff IDs of the layers, lowest first.
    pub layers: Vec<Digest>,
    pub(super) nodes: Vec<Node>,
    pub(super) strings: Strings,
    /// Sets of extended attributes: names and values.
    pub(super) sets: IndexSet<Vec<(Text, Text)>>,
    pub(super) objects: IndexSet<Digest>,
}

impl Tree {
    /// Number of the root.
    pub const ROOT: u32 = 0;

    /// A tree of an empty directory.
    pub fn new(layers: Vec<Digest>, root: &Meta) -> Result<Tree> {
        let mut tree = Tree {
            layers,
            nodes: Vec::new(),
            strings: Strings::default(),
            sets: IndexSet::new(),
            objects: IndexSet::new(),
        };
        tree.push(Kind::Dir, root)?;
        Ok(tree)
    }

    /// Makes a node in a directory, where the name is free. Returns its number.
    pub fn add(&mut self, dir: u32, name: &[u8], kind: Kind, meta: &Meta) -> Result<u32> {
        let number = self.push(kind, meta)?;
        self.link(dir, name, number)?;
        Ok(number)
    }

    /// Gives a node one more name, which is free.
    pub fn link(&mut self, dir: u32, name: &[u8], number: u32) -> Result<()> {
        let text = self.strings.intern(name)?;
        match self.data_mut(dir) {
            Some(Data::Dir(children)) => children.insert(text, number),
            _ => return Err(Errno::ENOTDIR.into()),
        };
        let node = self.nodes.get_mut(number as usize).ok_or(Errno::ENOENT)?;
        node.names.push((dir, text));
        Ok(())
    }

    /// Takes a name away, and with it all that is found by it alone.
    pub fn unlink(&mut self, dir: u32, name: &[u8]) {
        let Some(text) = self.strings.find(name) else {
            return;
        };
        let removed = match self.data_mut(dir) {
            Some(Data::Dir(children)) => children.remove(&text),
            _ => None,
        };
        if let Some(number) = removed {
            self.forget(dir, text, number);
            self.clear(number);
        }
    }

    /// Removes all that is in a directory.
    pub fn clear(&mut self, dir: u32) {
        let mut dirs = vec![dir];
        // not by recursion: how deep a tree is, a tar decides
        while let Some(dir) = dirs.pop() {
            let Some(Data::Dir(children)) = self.data_mut(dir) else {
                continue;
            };
            for (text, number) in std::mem::take(children) {
                self.forget(dir, text, number);
                dirs.push(number);
            }
        }
    }

    /// Gives a node other attributes.
    pub fn describe(&mut self, number: u32, meta: &Meta) -> Result<()> {
        let xattrs = self.set(&meta.xattrs)?;
        let node = self.nodes.get_mut(number as usize).ok_or(Errno::ENOENT)?;
        node.mtime = meta.mtime;
        node.mtime_nsec = meta.mtime_nsec;
        node.uid = meta.uid;
        node.gid = meta.gid;
        node.xattrs = xattrs;
        node.perm = (meta.perm & 0o7777) as u16;
        Ok(())
    }

    /// What a directory has under a name.
    pub fn child(&self, dir: u32, name: &[u8]) -> Option<u32> {
        match self.data(dir)? {
            Data::Dir(children) => children.get(&self.strings.find(name)?).copied(),
            _ => None,
        }
    }

    /// The nodes in a directory, in any order.
    pub fn children(&self, dir: u32) -> impl Iterator<Item = (&[u8], u32)> + '_ {
        let children = match self.data(dir) {
            Some(Data::Dir(children)) => Some(children),
            _ => None,
        };
        let children = children.into_iter().flatten();
        children.map(|(text, number)| (self.strings.get(*text), *number))
    }

    /// True for a directory.
    pub fn is_dir(&self, number: u32) -> bool {
        matches!(self.data(number), Some(Data::Dir(_)))
    }

    fn push(&mut self, kind: Kind, meta: &Meta) -> Result<u32> {
        let data = match kind {
            Kind::Dir => Data::Dir(BTreeMap::new()),
            Kind::File { size, content } => {
                let place = match content {
                    Content::Empty => Place::Empty,
                    Content::Packed { layer, offset } => Place::Packed { layer, offset },
                    Content::Object(digest) => {
                        Place::Object(number_of(self.objects.insert_full(digest).0)?)
                    }
                };
                Data::File { size, place }
            }
            Kind::Symlink(target) => Data::Symlink(self.strings.intern(&target)?),
            Kind::CharDev(rdev) => Data::CharDev(rdev),
            Kind::BlockDev(rdev) => Data::BlockDev(rdev),
            Kind::Fifo => Data::Fifo,
        };
        let number = number_of(self.nodes.len())?;
        self.nodes.push(Node {
            data,
            mtime: 0,
            mtime_nsec: 0,
            uid: 0,
            gid: 0,
            xattrs: None,
            perm: 0,
            names: SmallVec::new(),
        });
        self.describe(number, meta)?;
        Ok(number)
    }

    fn set(&mut self, xattrs: &[Xattr]) -> Result<Option<u32>> {
        if xattrs.is_empty() {
            return Ok(None);
        }
        let mut set = Vec::with_capacity(xattrs.len());
        for (name, value) in xattrs {
            set.push((self.strings.intern(name)?, self.strings.intern(value)?));
        }
        let (at, _) = self.sets.insert_full(set);
        number_of(at).map(Some)
    }

    fn forget(&mut self, dir: u32, name: Text, number: u32) {
        if let Some(node) = self.nodes.get_mut(number as usize) {
            node.names.retain(|own| *own != (dir, name));
        }
    }

    fn data(&self, number: u32) -> Option<&Data> {
        self.nodes.get(number as usize).map(|node| &node.data)
    }

    fn data_mut(&mut self, number: u32) -> Option<&mut Data> {
        self.nodes
            .get_mut(number as usize)
            .map(|node| &mut node.data)
    }
}

fn number_of(at: usize) -> Result<u32> {
    // the last number stands for none in an index
    u32::try_from(at)
        .ok()
        .filter(|n| *n != u32::MAX)
        .ok_or_else(|| Error::because(Errno::EFBIG, "too many files"))
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn a_node_stays_small() {
        assert!(size_of::<Node>() <= 88, "{}", size_of::<Node>());
    }
}
