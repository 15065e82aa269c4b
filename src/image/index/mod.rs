//! The index of an image: the merged tree of its layers in one file, mapped and read in place.
//!
//! It is made once, from a [`Tree`](super::tree::Tree), by [`write()`], and answers every question
//! of a mount but for the files' data: a look-up is one binary search, an inode one record. The
//! same tree gives the same bytes. `docs/index-format.md` describes them for those who want to
//! read one with other means.
//!
//! It is a cache: derived from the layers, and made again when its version is another one or it is
//! damaged. So a reader ([`Index`]) refuses what it does not know, and trusts nothing:
//!
//! * The superblock has a checksum, checked at open, and so has the table of the checksums of all
//!   blocks. A block of 4 KiB is checked when it is first touched. Damage on disk is an error
//!   (EIO) for what it concerns, and never other data.
//! * Whatever the bytes are, also with the right checksums: an answer or an error, no panic, no
//!   read outside the file, no loop. A directory has a higher number than the one it is in.

mod blocks;
mod check;
mod format;
mod order;
mod read;
mod seal;
#[cfg(test)]
mod tests;
mod write;

pub use blocks::Bytes;
pub use format::VERSION;
pub use read::{Entries, Entry, Index, Inode, Xattrs};
pub use write::write;
