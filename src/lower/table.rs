//! The nodes of directory layers that somebody refers to: small entries, gone when forgotten.
//!
//! Lock order: a shard's lock is the innermost of all; nothing is called under it.

use super::listing::Listing;
use super::merge::Part;
use crate::vfs::{Error, NodeId, Result};
use nix::errno::Errno;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock, Weak};

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
    /// Its subdirectories that are known, by the place of their entries in the listing.
    pub known: Mutex<HashMap<u32, Weak<DirNode>>>,
    /// How many names in it were asked for, as far as that matters.
    pub asked: AtomicU32,
}

impl DirNode {
    /// A directory that nothing is known of yet but where it is.
    pub fn new(
        id: NodeId,
        place: Option<(Arc<DirNode>, Box<[u8]>)>,
        parts: Vec<Part>,
        listing: Option<Listing>,
    ) -> DirNode {
        DirNode {
            id,
            place,
            parts: parts.into(),
            listing: listing
                .map(Arc::new)
                .map_or_else(OnceLock::new, OnceLock::from),
            known: Mutex::default(),
            asked: AtomicU32::new(0),
        }
    }
}

/// What a number stands for.
#[derive(Clone, Debug)]
pub enum Node {
    /// A directory.
    Dir(Arc<DirNode>),
    /// Another file: the entry at this index in the directory's listing.
    File(Arc<DirNode>, u32),
}

impl Node {
    /// The directory it is in.
    fn parent(&self) -> Option<&Arc<DirNode>> {
        match self {
            Node::Dir(dir) => dir.place.as_ref().map(|(parent, _)| parent),
            Node::File(parent, _) => Some(parent),
        }
    }
}

struct Slot {
    node: Node,
    /// [`u32::MAX`] stands for more than can be counted: such a node stays.
    references: u32,
    /// Nodes in this directory that are in the table. A node's parents stay as long as it does:
    /// copy-up asks for its path, and the kernel may forget a parent first (a file with two names
    /// was found by one, and is in use by the other).
    children: u32,
}

impl Slot {
    fn new(node: Node) -> Slot {
        Slot {
            node,
            references: 0,
            children: 0,
        }
    }
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
        let mut new = false;
        let node = {
            let mut shard = self.shard(id).lock();
            let slot = shard.entry(id).or_insert_with(|| {
                new = true;
                Slot::new(make())
            });
            slot.references = slot.references.saturating_add(1);
            slot.node.clone()
        };
        let mut child = new.then(|| node.clone());
        while let Some(parent) = child.as_ref().and_then(Node::parent).cloned() {
            child = self.add_child(parent);
        }
        node
    }

    /// Counts a child of a directory; returns the directory if it was not known.
    fn add_child(&self, dir: Arc<DirNode>) -> Option<Node> {
        dir.place.as_ref()?; // the root is not in the table
        let mut shard = self.shard(dir.id).lock();
        let mut new = None;
        let slot = shard.entry(dir.id).or_insert_with(|| {
            let node = Node::Dir(dir);
            new = Some(node.clone());
            Slot::new(node)
        });
        slot.children += 1;
        new
    }

    /// Counts a reference to a known node.
    pub fn pin(&self, id: NodeId) -> Result<()> {
        match self.shard(id).lock().get_mut(&id) {
            Some(slot) => {
                slot.references = slot.references.saturating_add(1);
                Ok(())
            }
            None => Err(Error::new(Errno::ESTALE)),
        }
    }

    /// Gives references back; the last one removes the node, and then its parents as far as
    /// nothing else needs them.
    pub fn forget(&self, id: NodeId, n: u64) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let mut gone = self.release(id, |slot| match slot.references {
            u32::MAX => {}
            counted => slot.references = counted.saturating_sub(n),
        });
        while let Some(node) = gone {
            gone = node.parent().and_then(|parent| {
                self.release(parent.id, |slot| {
                    slot.children = slot.children.saturating_sub(1)
                })
            });
            // `node` is dropped here, outside the lock: it may end a chain of directories
        }
    }

    fn release(&self, id: NodeId, less: impl FnOnce(&mut Slot)) -> Option<Node> {
        let mut shard = self.shard(id).lock();
        let slot = shard.get_mut(&id)?;
        less(slot);
        if slot.references > 0 || slot.children > 0 {
            return None;
        }
        shard.remove(&id).map(|slot| slot.node)
    }

    /// Takes all references but one.
    pub fn take(&self, id: NodeId) -> Result<u64> {
        match self.shard(id).lock().get_mut(&id) {
            Some(slot) => Ok(std::mem::replace(&mut slot.references, 1).into()),
            None => Err(Error::new(Errno::ESTALE)),
        }
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_stays_small() {
        let size = size_of::<(NodeId, Slot)>();
        assert!(
            size <= 32,
            "{size} bytes: there is one for each file that the kernel knows"
        );
    }

    #[test]
    fn a_node_that_was_counted_too_often_stays() {
        let table = Table::default();
        let dir = Arc::new(DirNode::new(NodeId(1), None, Vec::new(), None));
        let file = NodeId(7);
        table.count(file, || Node::File(dir, 0));
        if let Some(slot) = table.shard(file).lock().get_mut(&file) {
            slot.references = u32::MAX - 1;
        }
        table.pin(file).unwrap();
        table.pin(file).unwrap();
        table.forget(file, 5_000_000_000);
        assert!(table.get(file).is_ok());
    }
}
