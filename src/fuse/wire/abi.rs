//! The structures of the kernel's `include/uapi/linux/fuse.h`, version 7.40 and up.
//!
//! Field names are the kernel's. Integers are of the machine, as the kernel is.
#![allow(missing_docs, reason = "the kernel's header says what each field is")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! read {
    ($($(#[$doc:meta])* struct $name:ident { $($field:ident: $type:ty),* $(,)? })*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        pub(in crate::fuse) struct $name { $(pub $field: $type),* })*
    };
}

read! {
    /// Before every request.
    struct InHeader {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32, padding: u32,
    }
    /// Before every answer. `error` is 0 or a negative errno, then nothing follows.
    struct OutHeader { len: u32, error: i32, unique: u64 }

    struct ForgetIn { nlookup: u64 }
    struct ForgetOne { nodeid: u64, nlookup: u64 }
    struct BatchForgetIn { count: u32, dummy: u32 }
    struct SetattrIn {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64,
        atime: i64, mtime: i64, ctime: i64, atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    struct MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32 }
    struct MkdirIn { mode: u32, umask: u32 }
    struct RenameIn { newdir: u64 }
    struct Rename2In { newdir: u64, flags: u32, padding: u32 }
    struct LinkIn { oldnodeid: u64 }
    struct OpenIn { flags: u32, open_flags: u32 }
    struct CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32 }
    struct ReadIn {
        fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32,
    }
    struct WriteIn {
        fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32,
    }
    struct FsyncIn { fh: u64, fsync_flags: u32, padding: u32 }
    /// Without FUSE_SETXATTR_EXT, which nobody here asks for.
    struct SetxattrIn { size: u32, flags: u32 }
    struct GetxattrIn { size: u32, padding: u32 }
    struct FallocateIn { fh: u64, offset: u64, length: u64, mode: u32, padding: u32 }
    struct LseekIn { fh: u64, offset: u64, whence: u32, padding: u32 }
    struct CopyFileRangeIn {
        fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64,
    }

    struct AttrOut { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: WireAttr }
    struct EntryOut {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nsec: u32, attr_valid_nsec: u32, attr: WireAttr,
    }
    /// `struct fuse_attr`.
    struct WireAttr {
        ino: u64, size: u64, blocks: u64, atime: i64, mtime: i64, ctime: i64,
        atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, nlink: u32, uid: u32, gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    struct StatxOut {
        attr_valid: u64,
        attr_valid_nsec: u32,
        flags: u32,
        spare: [u64; 2],
        stat: WireStatx,
    }
    /// `struct fuse_statx`.
    struct WireStatx {
        mask: u32,
        blksize: u32,
        attributes: u64,
        nlink: u32,
        uid: u32,
        gid: u32,
        mode: u16,
        spare0: u16,
        ino: u64,
        size: u64,
        blocks: u64,
        attributes_mask: u64,
        atime: WireTime,
        btime: WireTime,
        ctime: WireTime,
        mtime: WireTime,
        rdev_major: u32,
        rdev_minor: u32,
        dev_major: u32,
        dev_minor: u32,
        spare2: [u64; 14],
    }
    /// `struct fuse_sx_time`.
    struct WireTime {
        tv_sec: i64,
        tv_nsec: u32,
        reserved: i32,
    }
    struct OpenOut { fh: u64, open_flags: u32, backing_id: i32 }
    struct WriteOut { size: u32, padding: u32 }
    struct GetxattrOut { size: u32, padding: u32 }
    struct LseekOut { offset: u64 }
    struct StatfsOut {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64,
        bsize: u32, namelen: u32, frsize: u32, padding: u32, spare: [u32; 6],
    }
    /// Before a name in a listing.
    struct Dirent { ino: u64, off: u64, namelen: u32, kind: u32 }
}

/// The operation whose data makes up most of the request.
pub(in crate::fuse) const WRITE: u32 = opcode::WRITE;

/// `enum fuse_opcode`, as far as it is answered here.
pub(super) mod opcode {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const FLUSH: u32 = 25;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const IOCTL: u32 = 39;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
    pub const TMPFILE: u32 = 51;
    pub const STATX: u32 = 52;
}

/// `valid` of a SETATTR: which attributes to set.
pub(super) mod fattr {
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
}

/// `mask` of a STATX: what stat(2) shows.
pub(super) const STATX_BASIC_STATS: u32 = 0x7ff;
/// And when the file was made.
pub(super) const STATX_BTIME: u32 = 0x800;

/// `write_flags`: by someone whose write takes set-id bits away.
pub(super) const WRITE_KILL_SUIDGID: u32 = 1 << 2;

/// `fsync_flags`: the data is enough.
pub(super) const FSYNC_FDATASYNC: u32 = 1 << 0;

impl OutHeader {
    /// The header of an answer with `body` bytes to follow.
    pub fn new(unique: u64, error: Option<nix::errno::Errno>, body: usize) -> OutHeader {
        let len = size_of::<OutHeader>() + body;
        OutHeader {
            len: u32::try_from(len).unwrap_or(u32::MAX),
            error: error.map_or(0, |e| -(e as i32)),
            unique,
        }
    }
}
