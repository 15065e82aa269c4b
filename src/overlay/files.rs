//! Open files: a node, not a handle, owns the file its data is read from and written to, so that
//! the kernel need not say when it opens and closes one. The most recently used stay open.

use crate::lower::Source;
use crate::sys::process::fd_budget;
use crate::sys::recent::recent;
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
    lower: Side<Source>,
    upper: Side<Arc<File>>,
}

struct Side<T>([Mutex<LruCache<NodeId, T>>; SHARDS]);

impl<T: Clone> Side<T> {
    fn new() -> Side<T> {
        let size = fd_budget(20, OPEN_FILES).get().div_ceil(SHARDS);
        let size = NonZeroUsize::new(size).unwrap_or(NonZeroUsize::MIN);
        Side(std::array::from_fn(|_| Mutex::new(recent(size))))
    }

    fn shard(&self, id: NodeId) -> &Mutex<LruCache<NodeId, T>> {
        &self.0[(id.0 ^ (id.0 >> 16)) as usize % SHARDS]
    }

    /// What is open for a node; `open` opens it, and `keep` says whether it is to stay open.
    fn get<E>(
        &self,
        id: NodeId,
        open: impl FnOnce() -> Result<T, E>,
        keep: impl FnOnce(&T) -> bool,
    ) -> Result<T, E> {
        if let Some(file) = self.shard(id).lock().get(&id) {
            return Ok(file.clone());
        }
        let file = open()?;
        if !keep(&file) {
            return Ok(file);
        }
        let evicted = self.shard(id).lock().push(id, file.clone());
        drop(evicted); // closed outside the lock
        Ok(file)
    }

    /// What is open for a node, if it is.
    fn peek(&self, id: NodeId) -> Option<T> {
        self.shard(id).lock().peek(&id).cloned()
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

    /// Where the data of a lower node is, read-only. What many files lie in is kept open by the
    /// lower, and takes no room here.
    pub(super) fn lower<E>(
        &self,
        id: NodeId,
        open: impl FnOnce() -> Result<Source, E>,
    ) -> Result<Source, E> {
        self.lower
            .get(id, open, |source| source.own_file().is_some())
    }

    /// The file of a node in the upper.
    pub(super) fn upper<E>(
        &self,
        id: NodeId,
        open: impl FnOnce() -> Result<Arc<File>, E>,
    ) -> Result<Arc<File>, E> {
        self.upper.get(id, open, |_| true)
    }

    /// The file of a node in the upper, if it is open.
    pub(super) fn open_upper(&self, id: NodeId) -> Option<Arc<File>> {
        self.upper.peek(id)
    }

    /// Keeps the file of a new node, which was opened as it was made: whoever makes a file writes
    /// to it next.
    pub(super) fn made_upper(&self, id: NodeId, file: File) {
        let evicted = self.upper.shard(id).lock().push(id, Arc::new(file));
        drop(evicted); // closed outside the lock
    }

    pub(super) fn forget_lower(&self, id: NodeId) {
        self.lower.forget(id);
    }

    pub(super) fn forget_upper(&self, id: NodeId) {
        self.upper.forget(id);
    }
}
