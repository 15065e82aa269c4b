//! Open files in `io=passthrough`: which backing file the kernel uses for which inode.
//!
//! The kernel allows one backing file per inode, for as long as any open uses it. A file that is
//! copied up while a reader has the lower's would need another one, and the kernel cannot take a
//! backing file back. Giving it the lower's again would let it write to the lower. So the file
//! gets a second node, an *alias*: the open that needs the upper's file is answered ESTALE, upon
//! which the kernel looks the name up again, finds the alias, and opens that. The old reader keeps
//! the lower's bytes, as with overlayfs; every later open sees the new ones.

use super::backing::BackingFile;
use crate::vfs::NodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Aliases are numbered from here; no engine has such numbers.
const ALIAS: u64 = 1 << 63;

/// How an inode's data travels while it is open.
#[derive(Clone, Debug)]
pub(super) enum Way {
    /// Through a file of the upper, or of a lower.
    Backed { upper: bool, file: Arc<BackingFile> },
    /// Through the daemon and the kernel's page cache.
    Cached,
}

#[derive(Debug)]
struct Open {
    way: Way,
    count: u64,
}

#[derive(Default, Debug)]
struct Aliases {
    /// From file to alias.
    of: HashMap<NodeId, NodeId>,
    /// From alias to file, with lookups.
    back: HashMap<NodeId, (NodeId, u64)>,
    next: u64,
}

/// The open files.
#[derive(Default, Debug)]
pub(super) struct Opens {
    open: Mutex<HashMap<NodeId, Open>>,
    /// Locked after `open`.
    aliases: Mutex<Aliases>,
    /// Number of aliases, so that asking costs nothing while there are none.
    aliased: AtomicUsize,
}

/// What to answer an open with.
#[derive(Debug)]
pub(super) enum Answer {
    /// This way; the open is counted.
    Go(Way),
    /// Look the name up again.
    Again,
}

impl Opens {
    /// The file that the kernel means by a node.
    pub(super) fn file(&self, node: NodeId) -> NodeId {
        if self.aliased.load(Ordering::Acquire) == 0 || node.0 & ALIAS == 0 {
            return node;
        }
        self.aliases.lock().back.get(&node).map_or(node, |b| b.0)
    }

    /// The node under which the kernel is to know a file from now on; counts one lookup.
    pub(super) fn node(&self, file: NodeId) -> NodeId {
        if self.aliased.load(Ordering::Acquire) == 0 {
            return file;
        }
        let mut aliases = self.aliases.lock();
        let Some(alias) = aliases.of.get(&file).copied() else {
            return file;
        };
        if let Some((_, lookups)) = aliases.back.get_mut(&alias) {
            *lookups += 1;
        }
        alias
    }

    /// Takes lookups of a node back.
    ///
    /// An alias without lookups stays while the old opens do, which made it necessary: the kernel
    /// gives back the lookup by which it has learnt of the alias, and only then looks it up to use
    /// it. Had it gone meanwhile, the caller's open would fail, for the kernel tries only once more.
    pub(super) fn forget(&self, node: NodeId, n: u64) {
        if self.aliased.load(Ordering::Acquire) == 0 || node.0 & ALIAS == 0 {
            return;
        }
        let open = self.open.lock();
        let mut aliases = self.aliases.lock();
        let Some((file, lookups)) = aliases.back.get_mut(&node) else {
            return;
        };
        *lookups = lookups.saturating_sub(n);
        if *lookups == 0 && !open.contains_key(file) {
            let file = *file;
            self.drop_alias(&mut aliases, file);
        }
    }

    fn drop_alias(&self, aliases: &mut Aliases, file: NodeId) {
        if let Some(alias) = aliases.of.remove(&file) {
            aliases.back.remove(&alias);
            self.aliased.fetch_sub(1, Ordering::Release);
        }
    }

    /// The last old open is gone.
    fn drop_idle_alias(&self, file: NodeId) {
        if self.aliased.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut aliases = self.aliases.lock();
        let lookups = aliases
            .of
            .get(&file)
            .and_then(|alias| aliases.back.get(alias))
            .map(|(_, lookups)| *lookups);
        if lookups == Some(0) {
            self.drop_alias(&mut aliases, file);
        }
    }

    fn alias(&self, file: NodeId) {
        let mut aliases = self.aliases.lock();
        if aliases.of.contains_key(&file) {
            return;
        }
        let alias = NodeId(ALIAS | aliases.next);
        aliases.next += 1;
        aliases.of.insert(file, alias);
        aliases.back.insert(alias, (file, 0));
        self.aliased.fetch_add(1, Ordering::Release);
    }

    /// Counts an open of `node`, which is `file`, whose data is in the upper or not. `register`
    /// gives the backing file to the kernel; `None`: it would not have it.
    pub(super) fn open(
        &self,
        node: NodeId,
        file: NodeId,
        upper: bool,
        register: impl FnOnce() -> Option<BackingFile>,
    ) -> Answer {
        let mut table = self.open.lock();
        if let Some(open) = table.get_mut(&node) {
            let fits = match &open.way {
                Way::Backed { upper: used, .. } => *used == upper,
                Way::Cached => true,
            };
            if !fits {
                drop(table);
                self.alias(file);
                return Answer::Again;
            }
            open.count += 1;
            return Answer::Go(open.way.clone());
        }
        let way = match register() {
            Some(backing) => Way::Backed {
                upper,
                file: Arc::new(backing),
            },
            None => Way::Cached,
        };
        let open = Open {
            way: way.clone(),
            count: 1,
        };
        table.insert(node, open);
        Answer::Go(way)
    }

    /// One open of `node` less.
    pub(super) fn release(&self, node: NodeId) {
        let mut table = self.open.lock();
        let Some(open) = table.get_mut(&node) else {
            return;
        };
        open.count -= 1;
        if open.count == 0 {
            let gone = table.remove(&node);
            drop(table);
            drop(gone); // tells the kernel
            self.drop_idle_alias(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_backing_file_stays_cached_while_open() {
        let opens = Opens::default();
        let n = NodeId(7);
        assert!(matches!(
            opens.open(n, n, false, || None),
            Answer::Go(Way::Cached)
        ));
        // copied up meanwhile: cached opens follow by themselves
        assert!(matches!(
            opens.open(n, n, true, || None),
            Answer::Go(Way::Cached)
        ));
        opens.release(n);
        opens.release(n);
        assert!(opens.open.lock().is_empty());
    }

    #[test]
    fn an_alias_without_lookups_waits_for_the_old_opens() {
        let opens = Opens::default();
        let file = NodeId(7);
        let Answer::Go(_) = opens.open(file, file, false, || None) else {
            panic!("a first open goes");
        };
        opens.alias(file);
        let alias = opens.node(file);
        opens.forget(alias, 1);
        assert_eq!(opens.node(file), alias);
        opens.forget(alias, 1);
        opens.release(file);
        assert_eq!(opens.node(file), file);
    }

    #[test]
    fn an_alias_lives_as_long_as_its_lookups() {
        let opens = Opens::default();
        let file = NodeId(7);
        opens.alias(file);
        let alias = opens.node(file);
        assert_ne!(alias, file);
        assert_eq!(opens.file(alias), file);
        assert_eq!(opens.node(file), alias);
        opens.forget(alias, 2);
        assert_eq!(opens.node(file), file);
    }
}
