//! The nodes of directory layers that somebody refers to: small entries, gone when forgotten.
//!
//! Lock order: a shard's lock is the innermost of all; nothing is called under it.

use super::listing::Listing;
use super::merge::Part;
use crate::vfs::{Error, NodeId, Result};
use nix::errno::Errno;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// A directory of the merged tree.
#[derive(Debug)]
pub struct DirNode {
    /// Its number.
    pub id: NodeId,
    /// Where it is; the root is nowhere.
    pub place: Option<(Arc<DirNode>, Box<[u8]>)>,
    /// The layers' shares, topmost first; never empty.
    pub parts: Box<[Part]>,
    /// Its listing, once it was needed.
    pub listing: OnceLock<Arc<Listing>>,
}

/// What a number stands for.
#[derive(Clone, Debug)]
pub enum Node {
    /// A directory.
    Dir(Arc<DirNode>),
    /// Another file: the entry at this index in the directory's listing.
    File(Arc<DirNode>, u32),
}

struct Slot {
    node: Node,
    references: u64,
}

const SHARDS: usize = 16;

/// Numbers to nodes.
#[derive(Default)]
pub struct Table {
    shards: [Mutex<HashMap<NodeId, Slot>>; SHARDS],
}

impl Table {
    fn shard(&self, id: NodeId) -> &Mutex<HashMap<NodeId, Slot>> {
        &self.shards[(id.0 ^ (id.0 >> 16)) as usize % SHARDS]
    }

    /// The node of a number; ESTALE when nobody refers to it.
    pub fn get(&self, id: NodeId) -> Result<Node> {
        match self.shard(id).lock().get(&id) {
            Some(slot) => Ok(slot.node.clone()),
            None => Err(Error::new(Errno::ESTALE)),
        }
    }

    /// Counts a reference to `id`; `make` says what it is if it was not known.
    pub fn count(&self, id: NodeId, make: impl FnOnce() -> Node) -> Node {
        let mut shard = self.shard(id).lock();
        let slot = shard.entry(id).or_insert_with(|| Slot {
            node: make(),
            references: 0,
        });
        slot.references += 1;
        slot.node.clone()
    }

    /// Counts a reference to a known node.
    pub fn pin(&self, id: NodeId) -> Result<()> {
        match self.shard(id).lock().get_mut(&id) {
            Some(slot) => {
                slot.references += 1;
                Ok(())
            }
            None => Err(Error::new(Errno::ESTALE)),
        }
    }

    /// Gives references back; the last one removes the node.
    pub fn forget(&self, id: NodeId, n: u64) {
        let mut shard = self.shard(id).lock();
        let gone = match shard.get_mut(&id) {
            Some(slot) => {
                slot.references = slot.references.saturating_sub(n);
                slot.references == 0
            }
            None => false,
        };
        let dropped = if gone { shard.remove(&id) } else { None };
        drop(shard);
        drop(dropped); // outside the lock: it may end a chain of directories
    }

    /// Takes all references but one.
    pub fn take(&self, id: NodeId) -> Result<u64> {
        match self.shard(id).lock().get_mut(&id) {
            Some(slot) => Ok(std::mem::replace(&mut slot.references, 1)),
            None => Err(Error::new(Errno::ESTALE)),
        }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }
}
