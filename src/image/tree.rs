//! The tree of an image, in memory: what an index is made from.

use super::digest::Digest;
use super::entry::Meta;
use serde::{Deserialize, Serialize};
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

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory, with the nodes in it by name.
    Dir(BTreeMap<Box<[u8]>, u32>),
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

/// One file, under all its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// What every file has.
    pub meta: Meta,
    /// Directory and name, for each name that it has; the root has none, a directory has one.
    pub names: Vec<(u32, Box<[u8]>)>,
}

/// A tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The diff IDs of the layers, lowest first.
    pub layers: Vec<Digest>,
    /// The nodes; the first is the root, a directory. Every other one has a name, and is numbered
    /// after the directory of its first name.
    pub nodes: Vec<Node>,
}

impl Tree {
    /// Number of the root.
    pub const ROOT: u32 = 0;
}
