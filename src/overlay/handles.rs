//! Files that are asked for by number alone.
//!
//! A file handle (`open_by_handle_at`, NFS) outlives what the kernel and the engine remember of a
//! file. Numbers stay, but they do not lead to a place: then the tree is walked until a file of
//! that number comes up. That is slow and rare; what is found is looked up as usual from there.

use super::Engine;
use crate::vfs::{Kind, NodeId, Result};

impl Engine {
    /// Looks for a file by its number in the whole tree. If it is there, one lookup is counted.
    /// No lock may be held.
    pub(super) fn search(&self, id: NodeId) -> Result<bool> {
        // one walk at a time: whoever asks for many stale handles waits for himself
        let _one = self.searching.lock();
        let mut todo = vec![NodeId::ROOT];
        let mut found = false;
        while let Some(dir) = todo.pop() {
            if !found {
                match self.search_dir(dir, id, &mut todo) {
                    Ok(hit) => found = hit,
                    // what cannot be read holds back nothing but itself
                    Err(e) => log::debug!("looking for file {}: {e}", id.0),
                }
            }
            if dir != NodeId::ROOT {
                self.forget(dir, 1);
            }
        }
        Ok(found)
    }

    /// Looks through one directory. Its subdirectories go to `todo`, each with a lookup.
    fn search_dir(&self, dir: NodeId, id: NodeId, todo: &mut Vec<NodeId>) -> Result<bool> {
        let mut found = false;
        let mut others = Vec::new();
        let read = self.readdir(dir, 0, true, &mut |entry| {
            if entry.attr.is_none() {
                return true; // `.` and `..`
            }
            if entry.ino == id && !found {
                found = true;
            } else if entry.kind == Kind::Dir {
                todo.push(entry.ino);
            } else {
                others.push(entry.ino);
            }
            true
        });
        for ino in others {
            self.forget(ino, 1);
        }
        if found {
            return Ok(true);
        }
        read.map(|()| false)
    }
}
