//! Layers: the tar that says what a step of an image's making added, changed and removed.
//!
//! A *layer* is a list of entries in the order of the tar. [`LayerReader`] takes one apart, whoever
//! wrote it: v7, ustar, GNU and PAX, with what they have for sparse files, long names, attributes
//! and whiteouts. [`LayerWriter`] writes one, always as POSIX PAX and always the same bytes for the
//! same entries, since an image is named by the digest of its layers.
//!
//! A tar is read as it stands or not at all. What cannot be understood, or says two things, is an
//! error that names the entry: half a layer is no layer.

mod acl;
mod data;
mod head;
mod header;
mod limits;
mod metas;
mod paths;
mod pax;
mod plain;
mod read;
mod sparse;
mod stream;
mod write;
mod xattrs;

#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use read::LayerReader;
pub use sparse::Segment;
pub use write::LayerWriter;

use crate::vfs::Error;
use nix::errno::Errno;
use std::fmt;

/// Bytes in a block, of which a tar is made.
const BLOCK: usize = 512;

/// What the tar says makes no sense.
fn invalid(why: impl fmt::Display) -> Error {
    Error::because(Errno::EINVAL, why)
}

/// A name as errors show it: on one line, and not without end.
pub(super) fn shown(name: &[u8]) -> String {
    const LONGEST: usize = 300;
    match name.get(..LONGEST) {
        Some(start) => format!("\"{}...\"", start.escape_ascii()),
        None => format!("\"{}\"", name.escape_ascii()),
    }
}
