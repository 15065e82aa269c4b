//! Read-only merged trees: what the engine sees beneath the upper, whatever the number of layers.
//!
//! A [`Lower`] is one tree. Each directory has one place in it, each file one place for every
//! name; all are known by [`NodeId`], the number that the mount shows. The engine does not know
//! how many layers there are. Invariant: nothing here can write; every file is opened `O_RDONLY`.

mod ahead;
pub mod dirs;
mod empty;
mod layer;
mod links;
mod listing;
mod merge;
mod names;
mod shares;
mod source;
mod table;

pub use dirs::DirsLower;
pub use empty::EmptyLower;
pub use layer::{DirMarks, LayerEntry, aufs_opaque, dir_marks, entry as layer_entry, metacopy};
pub use listing::{Listing, ListingEntry, RawListing};
pub use source::Source;

use crate::vfs::{Attr, Error, NodeId, Result, Time};
use nix::errno::Errno;
use std::sync::Arc;

/// A read-only tree.
///
/// References: [`Lower::lookup`] counts one for the node it returns; [`Lower::pin`] one more;
/// [`Lower::forget`] gives them back. A node without references may be gone (ESTALE).
/// The root needs none.
pub trait Lower: Send + Sync {
    /// Attributes of a node.
    fn attr(&self, id: NodeId) -> Result<Attr>;

    /// When a node was made, where that is known.
    fn btime(&self, _id: NodeId) -> Result<Option<Time>> {
        Ok(None)
    }

    /// Finds `name` in directory `dir`, and counts a reference to it.
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<Option<Attr>>;

    /// True if `dir` has an entry `name`, with its type; costs no look at the entry itself.
    fn contains(&self, dir: NodeId, name: &[u8]) -> Result<Option<crate::vfs::Kind>>;

    /// The whole directory.
    fn list(&self, dir: NodeId) -> Result<Arc<Listing>>;

    /// Counts a reference to a node that is known.
    fn pin(&self, id: NodeId) -> Result<()>;

    /// Gives `n` references back.
    fn forget(&self, id: NodeId, n: u64);

    /// Takes over all references to `id` as a number for the caller to count from.
    /// The node stays pinned once. `None`: this tree does not count.
    fn take_references(&self, id: NodeId) -> Result<Option<u64>>;

    /// The directory that holds the node, and its name there. A file with several names has one
    /// of them told. The root has none.
    fn place(&self, id: NodeId) -> Result<Option<(NodeId, Box<[u8]>)>>;

    /// Every name of a file with several, as directory and name. References to the directories
    /// are counted; the caller gives them back.
    fn links(&self, id: NodeId) -> Result<Vec<(NodeId, Box<[u8]>)>>;

    /// The target of a symlink.
    fn readlink(&self, id: NodeId) -> Result<Vec<u8>>;

    /// Where the data is; the file is open `O_RDONLY`.
    fn open(&self, id: NodeId) -> Result<Source>;

    /// True if nodes are known for ever, whoever refers to them: then that this tree knows a
    /// number does not tell that the file shows.
    fn is_stateless(&self) -> bool {
        false
    }

    /// The names of the extended attributes, each ended by a NUL; marks of layers are left out.
    fn list_xattr(&self, id: NodeId) -> Result<Vec<u8>>;

    /// An extended attribute.
    fn get_xattr(&self, id: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>>;

    /// What the mark `origin` says of a copy of the node, so that the kernel's overlayfs shows the
    /// copy by the number of its original. `None` where there is nothing to say.
    fn origin(&self, _id: NodeId) -> Option<Vec<u8>> {
        None
    }

    /// Statistics of the file system of the topmost layer.
    fn statfs(&self) -> Result<crate::vfs::StatFs>;

    /// A number that changes when the stack is another one.
    fn fingerprint(&self) -> u64;
}

/// Finds a directory by its path from the root, and counts a reference to it.
pub fn resolve_dir(lower: &dyn Lower, from: NodeId, path: &[Vec<u8>]) -> Result<Option<NodeId>> {
    let mut at = from;
    lower.pin(at)?;
    for part in path {
        // asked first, so that no attributes are made of a file that is in the way
        let next = match lower.contains(at, part) {
            Ok(Some(crate::vfs::Kind::Dir)) => lower.lookup(at, part),
            Ok(_) => Ok(None),
            Err(e) => Err(e),
        };
        lower.forget(at, 1);
        match next? {
            Some(attr) if attr.kind == crate::vfs::Kind::Dir => at = attr.ino,
            Some(attr) => {
                lower.forget(attr.ino, 1);
                return Ok(None);
            }
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

/// The path of a node from the root.
pub fn path_of(lower: &dyn Lower, id: NodeId) -> Result<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    let mut at = id;
    while let Some((dir, name)) = lower.place(at)? {
        parts.push(name.into_vec());
        at = dir;
        if parts.len() > 100_000 {
            return Err(Error::because(Errno::ELOOP, "a layer's tree has a loop"));
        }
    }
    parts.reverse();
    Ok(parts)
}
