//! The engine's nodes: files that the upper has, or that are gone from the tree but still in use.
//!
//! A file that is in a lower only has no node here: its number is the lower's. So memory grows
//! with what was changed, not with what was looked at.

use super::readdir::Snapshot;
use crate::sys::Loc;
use crate::upper::DirMarks;
use crate::vfs::{Attr, Kind, NodeId, Time};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A file that the engine has to know about.
///
/// Its place changes only under the namespace lock held for writing.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its type.
    pub kind: Kind,
    /// Held while the file's data is copied up. Taken before the namespace lock.
    pub copy: Mutex<()>,
    /// The modification time that whoever made the file, or set it, was told; see
    /// [`Engine::write_back`](super::Engine::write_back). Held while it is set. Taken after the
    /// namespace lock, before the state.
    pub told_mtime: Mutex<Option<Time>>,
    /// The rest. Taken after the namespace lock; nothing is called under it but the node table.
    pub state: Mutex<State>,
}

/// What is known of a node.
#[derive(Debug, Default)]
pub struct State {
    /// Where it is.
    pub place: Place,
    /// Its lower part: what a directory merges with, where a file's data is or was. Pinned.
    pub lower: Option<NodeId>,
    /// Its inode in the upper, where that is known under another number.
    pub alias: Option<NodeId>,
    /// The data is still in the lower, the rest in the upper.
    pub metacopy: bool,
    /// Made by this mount, and given no attribute in `security.` since: it has no capability. The
    /// kernel asks for that at the first write to every file.
    pub no_capability: bool,
    /// Directories: the marks on the upper part.
    pub marks: DirMarks,
    /// Directories: the `ctime` on disk after a copy-up below moved it, and the one to show as
    /// long as it is that: for users nothing changed.
    pub kept_ctime: Option<(Time, Time)>,
    /// Directories: number of subdirectories, once counted.
    pub subdirs: Option<u32>,
    /// Directories: the listing that readers go through.
    pub snapshot: Option<Arc<Snapshot>>,
    /// Directories: whether there is a default ACL, once asked.
    pub default_acl: Option<bool>,
    /// Directories: whose group new entries get, once asked. Set only with the namespace lock held
    /// for writing: whoever changes owner or mode holds it for reading, and forgets this.
    pub group: Option<Group>,
    /// Of a file of a lower that has no name left: its attributes, as they are for ever.
    pub unlinked: Option<Box<Attr>>,
}

/// Where a file is.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// In the lower, where the lower says.
    #[default]
    Lower,
    /// It was in the lower, and all its names are hidden now; somebody may still use it.
    LowerUnlinked,
    /// The root of the upper.
    Root,
    /// In the upper, under (at least) this name.
    Upper(Arc<Node>, Box<[u8]>),
    /// In the upper, under no name that is known.
    Held(Held),
}

/// What keeps a file of the upper that has no name.
#[derive(Clone, Debug)]
pub enum Held {
    /// An fd for nothing but that (`O_PATH`).
    Path(Arc<OwnedFd>),
    /// The file, open for its data.
    Open(Arc<File>),
}

impl Held {
    /// Where it is.
    pub fn loc(&self) -> Loc<'_> {
        match self {
            Held::Path(fd) => Loc::Fd(fd.as_fd()),
            Held::Open(file) => Loc::Open(file.as_fd()),
        }
    }
}

/// Whose group the new entries of a directory get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// That of who makes them.
    Makers,
    /// The directory's, which has the setgid bit.
    Dirs(u32),
}

impl State {
    /// Owner, mode or ACL of a directory change: what its new entries get is to be asked again.
    pub fn forget_inherited(&mut self) {
        self.default_acl = None;
        self.group = None;
    }

    /// The `ctime` to show where `on_disk` is the one on disk.
    pub fn shown_ctime(&self, on_disk: Time) -> Time {
        match self.kept_ctime {
            Some((kept, shown)) if kept == on_disk => shown,
            _ => on_disk,
        }
    }
}

impl Node {
    /// A node at `place`.
    pub fn new(id: NodeId, kind: Kind, place: Place, lower: Option<NodeId>) -> Node {
        Node {
            id,
            kind,
            copy: Mutex::new(()),
            told_mtime: Mutex::new(None),
            state: Mutex::new(State {
                place,
                lower,
                ..State::default()
            }),
        }
    }

    /// True if the node is under this name of this directory.
    pub fn is_at(&self, dir: &Node, name: &[u8]) -> bool {
        matches!(&self.state.lock().place, Place::Upper(p, n) if p.id == dir.id && **n == *name)
    }

    /// True if it is in the upper.
    pub fn on_upper(&self) -> bool {
        matches!(
            self.state.lock().place,
            Place::Root | Place::Upper(..) | Place::Held(_)
        )
    }

    /// Forgets the listing of a directory in which a name is about to change, or to move to the upper. To be
    /// called before that, with the namespace lock held for writing: a listing says which side shows a name, and
    /// what fails in the middle may have moved it all the same.
    pub fn changes(&self) {
        if let Some(snapshot) = &self.state.lock().snapshot {
            snapshot.outdate();
        }
    }

    /// The same after `subdirs` came (or went).
    pub fn changed(&self, subdirs: i32) {
        self.changes();
        let mut state = self.state.lock();
        state.subdirs = state.subdirs.and_then(|n| n.checked_add_signed(subdirs));
    }
}

struct Slot {
    node: Arc<Node>,
    lookups: i64,
}

const SHARDS: usize = 16;

/// Numbers to nodes, and how often the kernel has looked each up.
#[derive(Default)]
pub struct Nodes {
    shards: [Mutex<HashMap<NodeId, Slot>>; SHARDS],
    /// Inode number in the upper to node, where they differ.
    aliases: Mutex<HashMap<NodeId, NodeId>>,
}

impl Nodes {
    fn shard(&self, id: NodeId) -> &Mutex<HashMap<NodeId, Slot>> {
        &self.shards[(id.0 ^ (id.0 >> 16)) as usize % SHARDS]
    }

    /// The node of a number.
    pub fn get(&self, id: NodeId) -> Option<Arc<Node>> {
        self.shard(id).lock().get(&id).map(|s| s.node.clone())
    }

    /// The node of a number; one lookup more.
    pub fn count(&self, id: NodeId) -> Option<Arc<Node>> {
        let mut shard = self.shard(id).lock();
        let slot = shard.get_mut(&id)?;
        slot.lookups = slot.lookups.saturating_add(1);
        Some(slot.node.clone())
    }

    /// Adds a node with `lookups` lookups, or counts them for the one that is there already.
    /// True if the node is the one given.
    pub fn insert(&self, node: Node, lookups: i64) -> (Arc<Node>, bool) {
        let mut shard = self.shard(node.id).lock();
        match shard.get_mut(&node.id) {
            Some(slot) => {
                slot.lookups = slot.lookups.saturating_add(lookups);
                (slot.node.clone(), false)
            }
            None => {
                let node = Arc::new(node);
                let slot = Slot {
                    node: node.clone(),
                    lookups,
                };
                shard.insert(node.id, slot);
                (node, true)
            }
        }
    }

    /// Takes `n` lookups off. `Some(true)`: none is left; `None`: no such node.
    pub fn forget(&self, id: NodeId, n: u64) -> Option<bool> {
        let mut shard = self.shard(id).lock();
        let slot = shard.get_mut(&id)?;
        slot.lookups = slot
            .lookups
            .saturating_sub(i64::try_from(n).unwrap_or(i64::MAX));
        Some(slot.lookups <= 0)
    }

    /// Removes a node that has no lookups left and that only the table and `holders` others hold.
    pub fn remove_unused(&self, id: NodeId, holders: usize) -> Option<Arc<Node>> {
        let mut shard = self.shard(id).lock();
        let slot = shard.get(&id)?;
        if slot.lookups > 0 || Arc::strong_count(&slot.node) > 1 + holders {
            return None;
        }
        shard.remove(&id).map(|s| s.node)
    }

    /// The number under which inode `upper` of the upper is known.
    pub fn alias(&self, upper: NodeId) -> NodeId {
        *self.aliases.lock().get(&upper).unwrap_or(&upper)
    }

    /// Says that inode `upper` of the upper is known as `id`.
    pub fn set_alias(&self, upper: NodeId, id: NodeId) {
        if upper != id {
            self.aliases.lock().insert(upper, id);
        }
    }

    /// Forgets the aliases of a node that is gone.
    pub fn drop_alias(&self, upper: NodeId) {
        self.aliases.lock().remove(&upper);
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().len()).sum()
    }
}
