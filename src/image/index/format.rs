//! The layout of an index: superblock, records, and how they are numbered.
//!
//! All integers are little-endian. Records have no padding but what is named so, and none crosses
//! a block. Reserved fields are zero.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What a file begins with.
pub(super) const MAGIC: [u8; 8] = *b"VELLUMIX";

/// The version of the format. Another one is another format: no reader guesses.
pub const VERSION: u32 = 1;

/// What one checksum is of; the last block may be shorter.
pub(super) const BLOCK: usize = 4096;

/// Sections begin at multiples of this.
pub(super) const ALIGN: usize = 64;

/// A number that stands for none.
pub(super) const NONE: u32 = u32::MAX;

/// The sections, in the order of the section table and of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// [`InodeRecord`]s; the first is the root.
    Inodes,
    /// [`EntryRecord`]s: each directory's in a row, sorted by hash, then name.
    Entries,
    /// [`LinkRecord`]s, sorted by inode: all names of the files that have several.
    Links,
    /// [`SetRecord`]s.
    Sets,
    /// [`XattrRecord`]s: each set's in a row, sorted by name.
    Xattrs,
    /// The diff IDs of the layers, lowest first: 32 bytes each.
    Layers,
    /// The digests of the objects, sorted: 32 bytes each.
    Objects,
    /// Names, targets of symlinks, values: bytes that records point into.
    Strings,
}

impl Section {
    pub(super) const ALL: [Section; 8] = [
        Section::Inodes,
        Section::Entries,
        Section::Links,
        Section::Sets,
        Section::Xattrs,
        Section::Layers,
        Section::Objects,
        Section::Strings,
    ];

    /// Size of one record.
    pub(super) const fn record(self) -> usize {
        match self {
            Section::Inodes => size_of::<InodeRecord>(),
            Section::Entries => size_of::<EntryRecord>(),
            Section::Links => size_of::<LinkRecord>(),
            Section::Sets => size_of::<SetRecord>(),
            Section::Xattrs => size_of::<XattrRecord>(),
            Section::Layers | Section::Objects => 32,
            Section::Strings => 1,
        }
    }
}

/// Where a section is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Extent {
    /// Its first byte in the file.
    pub(super) offset: U64,
    /// Number of records.
    pub(super) count: U64,
}

/// The first 256 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Superblock {
    pub(super) magic: [u8; 8],
    pub(super) version: U32,
    /// [`BLOCK`].
    pub(super) block: U32,
    /// Length of the whole file.
    pub(super) length: U64,
    /// Where the table of checksums begins; blocks are counted up to there. It ends the file.
    pub(super) sums: U64,
    /// The CRC-32C of that table.
    pub(super) sums_sum: U32,
    pub(super) reserved: U32,
    /// SHA-256 of all between the superblock and the table of checksums.
    pub(super) identity: [u8; 32],
    pub(super) sections: [Extent; 8],
    pub(super) reserved2: [u8; 52],
    /// The CRC-32C of the superblock up to here.
    pub(super) sum: U32,
}

/// A file, of any kind.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct InodeRecord {
    /// As `st_mode`: type and permission.
    pub(super) mode: U32,
    pub(super) uid: U32,
    pub(super) gid: U32,
    pub(super) nlink: U32,
    pub(super) mtime: I64,
    pub(super) mtime_nsec: U32,
    /// The set of its attributes, or [`NONE`].
    pub(super) xattrs: U32,
    /// Of a file, its size; of a symlink, the length of its target; else 0.
    pub(super) size: U64,
    /// Of a directory, the number of its first entry; of a symlink, where in the strings its
    /// target is; of a device, its number; of a packed file, where in the pack it begins; of an
    /// object, its number; else 0.
    pub(super) at: U64,
    /// Of a directory, how many entries it has; of a packed file, the number of the layer; else 0.
    pub(super) count: U32,
    /// The directory of its first name; of the root, itself.
    pub(super) parent: U32,
    /// Where in the strings its first name is.
    pub(super) name_at: U32,
    pub(super) name_len: u8,
    /// [`EMPTY`], [`PACKED`] or [`OBJECT`].
    pub(super) content: u8,
    pub(super) reserved: U16,
}

/// It has no data.
pub(super) const EMPTY: u8 = 0;
/// Its data is in a pack.
pub(super) const PACKED: u8 = 1;
/// Its data is an object.
pub(super) const OBJECT: u8 = 2;

/// A name in a directory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct EntryRecord {
    /// [`hash`] of the name.
    pub(super) hash: U32,
    pub(super) inode: U32,
    pub(super) name_at: U32,
    pub(super) name_len: u8,
    /// The type bits of the file's mode, shifted right by 12: as `d_type`.
    pub(super) kind: u8,
    pub(super) reserved: U16,
}

/// One of several names of a file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct LinkRecord {
    pub(super) inode: U32,
    pub(super) dir: U32,
    pub(super) name_at: U32,
    pub(super) name_len: u8,
    pub(super) reserved: [u8; 3],
}

/// A set of extended attributes, as many files share.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SetRecord {
    pub(super) first: U32,
    pub(super) count: U32,
}

/// An extended attribute.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct XattrRecord {
    pub(super) name_at: U32,
    pub(super) value_at: U32,
    pub(super) value_len: U32,
    pub(super) name_len: U16,
    pub(super) reserved: U16,
}

/// What directory tables are sorted by.
pub(super) fn hash(name: &[u8]) -> u32 {
    crc32c::crc32c(name)
}

/// What the checksum of a block is of, where the table of checksums begins at `sums`. The first
/// block is summed up from the end of the superblock on, which has a checksum of its own.
pub(super) fn block_range(block: usize, sums: usize) -> std::ops::Range<usize> {
    let start = block.saturating_mul(BLOCK);
    start.max(size_of::<Superblock>()).min(sums)..start.saturating_add(BLOCK).min(sums)
}

const _: () = {
    assert!(size_of::<Superblock>() == 256);
    assert!(size_of::<InodeRecord>() == 64);
    assert!(size_of::<EntryRecord>() == 16);
    assert!(size_of::<LinkRecord>() == 16);
    assert!(size_of::<SetRecord>() == 8);
    assert!(size_of::<XattrRecord>() == 16);
};
