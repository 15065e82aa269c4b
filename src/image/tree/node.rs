//! What a tree keeps of a file, and of a name, as records.

use super::strings::Text;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A number that stands for none.
pub(in super::super) const NONE: u32 = u32::MAX;

/// The types of [`Node::kind`].
pub(in super::super) mod kind {
    pub const DIR: u8 = 1;
    pub const FILE: u8 = 2;
    pub const SYMLINK: u8 = 3;
    pub const CHAR_DEV: u8 = 4;
    pub const BLOCK_DEV: u8 = 5;
    pub const FIFO: u8 = 6;
}

/// Where the data of a file is: [`Node::place`].
const EMPTY: u8 = 0;
const PACKED: u8 = 1;
const OBJECT: u8 = 2;

/// What a node is: [`Kind`](super::Kind), as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Data {
    Dir,
    File { size: u64, place: Place },
    Symlink(Text),
    CharDev(u64),
    BlockDev(u64),
    Fifo,
}

/// [`Content`](super::Content), as it is kept: an object by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Place {
    Empty,
    Packed { layer: u32, offset: u64 },
    Object(Text),
}

/// One file, under all its names.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(in super::super) struct Node {
    pub mtime: i64,
    /// Of a file.
    size: u64,
    /// Of a packed file, where in the pack; of an object, its number; of a symlink, that of its
    /// target; of a device, its number.
    at: u64,
    pub mtime_nsec: u32,
    pub uid: u32,
    pub gid: u32,
    /// The number of the set of its attributes, or [`NONE`].
    pub xattrs: u32,
    /// Of a packed file.
    layer: u32,
    /// The layer that said last what it is.
    pub said_by: u32,
    /// The first in the list of what is in it, or [`NONE`].
    pub first: u32,
    /// The first in the list of its names, or [`NONE`].
    pub name: u32,
    pub perm: u16,
    pub kind: u8,
    place: u8,
    reserved: u32,
}

/// A name in a directory. It is in two lists: that of the directory, and that of the node.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(in super::super) struct Name {
    pub dir: u32,
    /// The name itself.
    pub text: u32,
    pub node: u32,
    pub next_in_dir: u32,
    pub last_in_dir: u32,
    pub next_of_node: u32,
    pub last_of_node: u32,
    /// That of the node.
    pub kind: u8,
    pub reserved: [u8; 3],
}

impl Node {
    /// Of what is told so far, without a name.
    pub fn new(data: Data) -> Node {
        let (kind, size, at) = match data {
            Data::Dir => (kind::DIR, 0, 0),
            Data::File { size, place } => {
                let at = match place {
                    Place::Empty => 0,
                    Place::Packed { offset, .. } => offset,
                    Place::Object(number) => number.number().into(),
                };
                (kind::FILE, size, at)
            }
            Data::Symlink(target) => (kind::SYMLINK, 0, target.number().into()),
            Data::CharDev(rdev) => (kind::CHAR_DEV, 0, rdev),
            Data::BlockDev(rdev) => (kind::BLOCK_DEV, 0, rdev),
            Data::Fifo => (kind::FIFO, 0, 0),
        };
        let (place, layer) = match data {
            Data::File { place, .. } => match place {
                Place::Empty => (EMPTY, 0),
                Place::Packed { layer, .. } => (PACKED, layer),
                Place::Object(_) => (OBJECT, 0),
            },
            _ => (EMPTY, 0),
        };
        Node {
            mtime: 0,
            size,
            at,
            mtime_nsec: 0,
            uid: 0,
            gid: 0,
            xattrs: NONE,
            layer,
            said_by: NONE,
            first: NONE,
            name: NONE,
            perm: 0,
            kind,
            place,
            reserved: 0,
        }
    }

    /// What it is.
    pub fn data(&self) -> Result<Data> {
        let text = || Text::numbered(self.at as u32);
        Ok(match self.kind {
            kind::DIR => Data::Dir,
            kind::FILE => {
                let place = match self.place {
                    PACKED => Place::Packed {
                        layer: self.layer,
                        offset: self.at,
                    },
                    OBJECT => Place::Object(text()),
                    _ => Place::Empty,
                };
                let size = self.size;
                Data::File { size, place }
            }
            kind::SYMLINK => Data::Symlink(text()),
            kind::CHAR_DEV => Data::CharDev(self.at),
            kind::BLOCK_DEV => Data::BlockDev(self.at),
            kind::FIFO => Data::Fifo,
            _ => return Err(Error::because(Errno::EINVAL, "a node of no type")),
        })
    }

    pub fn is_dir(&self) -> bool {
        self.kind == kind::DIR
    }
}

const _: () = {
    // an image may have millions
    assert!(size_of::<Node>() == 64);
    assert!(size_of::<Name>() == 32);
};
