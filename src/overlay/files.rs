//! Open files: a node, not a handle, owns the file its data is read from and written to, so that
//! the kernel need not say when it opens and closes one. The most recently used stay open.

use crate::sys::process::fd_budget;
use crate::vfs::NodeId;
use lru::LruCache;
use parking_lot::Mutex;
use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::Arc;

const SHARDS: usize = 8;
/// Files kept open at most, on each side.
const OPEN_FILES: usize = 2048;

/// The open files.
pub(super) struct Files {
    lower: Side,
    upper: Side,
}

struct Side([Mutex<LruCache<NodeId, Arc<File>>>; SHARDS]);

impl Side {
    fn new() -> Side {
        let size = fd_budget(20, OPEN_FILES).get().div_ceil(SHARDS);
        let size = NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN);
        Side(std::array::from_fn(|_| Mutex::new(LruCache::new(size))))
    }

    fn shard(&self, id: NodeId) -> &Mutex<LruCache<NodeId, Arc<File>>> {
        &self.0[(id.0 ^ (id.0 >> 16)) as usize % SHARDS]
    }

    fn get<E>(
        &self,
        id: NodeId,
        open: impl FnOnce() -> Result<Arc<File>, E>,
    ) -> Result<Arc<File>, E> {
        if let Some(file) = self.shard(id).lock().get(&id) {
            return Ok(file.clone());
        }
        let file = open()?;
        let evicted = self.shard(id).lock().push(id, file.clone());
        drop(evicted); // closed outside the lock
        Ok(file)
    }

    fn forget(&self, id: NodeId) {
        let gone = self.shard(id).lock().pop(&id);
        drop(gone);
    }
}

impl Files {
    pub(super) fn new() -> Files {
        Files {
            lower: Side::new(),
            upper: Side::new(),
        }
    }

    /// The file of a lower node, read-only.
    pub(super) fn lower<E>(
        &self,
        id: NodeId,
        open: impl FnOnce() -> Result<Arc<File>, E>,
    ) -> Result<Arc<File>, E> {
        self.lower.get(id, open)
    }

    /// The file of a node in the upper.
    pub(super) fn upper<E>(
        &self,
        id: NodeId,
        open: impl FnOnce() -> Result<Arc<File>, E>,
    ) -> Result<Arc<File>, E> {
        self.upper.get(id, open)
    }

    pub(super) fn forget_lower(&self, id: NodeId) {
        self.lower.forget(id);
    }

    pub(super) fn forget_upper(&self, id: NodeId) {
        self.upper.forget(id);
    }
}
