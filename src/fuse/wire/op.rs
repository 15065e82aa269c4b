//! The operations that the kernel asks for.

use crate::vfs::{NodeId, SetAttr};
use std::fmt;

/// A name, as people can read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Name<'a>(pub &'a [u8]);

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Bytes of a file or attribute: there may be many, and they are nobody's business.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Data<'a>(pub &'a [u8]);

impl fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Nodes that the kernel forgets, with how many lookups of each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) struct Forgotten<'a>(pub(super) &'a [u8]);

impl fmt::Debug for Forgotten<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.each()).finish()
    }
}

/// The mode of a new file, before the mask that the caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fuse) struct NewMode {
    pub mode: u32,
    pub umask: u32,
}

/// An operation on the node that the request names, as `fuse.h` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fuse) enum Op<'a> {
    Lookup {
        name: Name<'a>,
    },
    Forget {
        lookups: u64,
    },
    BatchForget(Forgotten<'a>),
    Getattr,
    Setattr(SetAttr),
    Readlink,
    Symlink {
        name: Name<'a>,
        target: Name<'a>,
    },
    Mknod {
        name: Name<'a>,
        mode: NewMode,
        rdev: u32,
    },
    Mkdir {
        name: Name<'a>,
        mode: NewMode,
    },
    Unlink {
        name: Name<'a>,
    },
    Rmdir {
        name: Name<'a>,
    },
    Rename {
        name: Name<'a>,
        to: NodeId,
        to_name: Name<'a>,
        flags: u32,
    },
    /// A new name in the node that the request names, for `file`.
    Link {
        file: NodeId,
        name: Name<'a>,
    },
    Open {
        flags: u32,
    },
    Create {
        name: Name<'a>,
        mode: NewMode,
    },
    Read {
        offset: u64,
        size: u32,
    },
    Write {
        offset: u64,
        data: Data<'a>,
        kill: bool,
    },
    /// A file without a name, in the directory that the request names.
    Tmpfile {
        mode: NewMode,
    },
    /// As `Getattr`, with the time when the file was made.
    Statx,
    Statfs,
    Release,
    Flush,
    Fsync {
        data_only: bool,
    },
    Setxattr {
        name: Name<'a>,
        value: Data<'a>,
        flags: u32,
    },
    Getxattr {
        name: Name<'a>,
        size: u32,
    },
    Listxattr {
        size: u32,
    },
    Removexattr {
        name: Name<'a>,
    },
    Opendir,
    Readdir {
        offset: u64,
        size: u32,
        plus: bool,
    },
    Releasedir,
    Fsyncdir {
        data_only: bool,
    },
    Interrupt,
    Destroy,
    Ioctl,
    Fallocate {
        offset: u64,
        length: u64,
        mode: u32,
    },
    Lseek {
        offset: u64,
        whence: u32,
    },
    CopyFileRange {
        offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    },
    /// Nothing that is answered here.
    Unknown {
        opcode: u32,
    },
}
