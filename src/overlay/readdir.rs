//! Listing directories.
//!
//! Entries come in the order of their cookies ([`crate::vfs::cookie`]). A directory with an upper
//! part is listed from a snapshot, taken when a reader begins; a reader that comes back finds its
//! place by cookie in whatever snapshot there is, and entries that went away meanwhile are left
//! out when they come to be shown.

use super::Engine;
use super::lookup::{Child, Side};
use super::node::{Node, Place};
use crate::lower::Listing;
use crate::vfs::{DirEntry, Kind, NodeId, Result};
use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

/// The names in a directory at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    entries: Vec<Entry>,
    outdated: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    cookie: u64,
    kind: Kind,
    /// The lower's, of whose name the upper had nothing.
    below: bool,
    name: Box<[u8]>,
}

impl Snapshot {
    fn new(mut entries: Vec<Entry>) -> Snapshot {
        entries.sort_unstable_by(|a, b| (a.cookie, &a.name).cmp(&(b.cookie, &b.name)));
        // two names of one cookie would share a place to go on from
        let mut last = 0;
        for entry in &mut entries {
            entry.cookie = entry.cookie.max(last + 1);
            last = entry.cookie;
        }
        Snapshot {
            entries,
            outdated: AtomicBool::new(false),
        }
    }

    /// Says that names came or went.
    pub(super) fn outdate(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Acquire)
    }

    pub(super) fn subdirs(&self) -> u32 {
        let dirs = self.entries.iter().filter(|e| e.kind == Kind::Dir);
        dirs.count() as u32
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

type Emit<'a> = &'a mut dyn FnMut(&DirEntry<'_>) -> bool;

impl Engine {
    /// Lists a directory from after `cookie` on (0: from the start), `.` and `..` first, until
    /// `emit` returns false for an entry that it could not take. With `plus`, entries but `.` and
    /// `..` have attributes, and each one taken counts a lookup.
    pub fn readdir(&self, id: NodeId, cookie: u64, plus: bool, emit: Emit<'_>) -> Result<()> {
        let _ns = self.ns.read();
        let node = self.nodes.get(id);
        if node.as_ref().is_some_and(|n| n.kind != Kind::Dir) {
            return Err(crate::vfs::Error::new(nix::errno::Errno::ENOTDIR));
        }
        if !self.list_dots(id, cookie, emit)? {
            return Ok(());
        }
        let upper = node.as_ref().filter(|n| n.on_upper());
        let Some(node) = upper else {
            return self.list_lower(id, cookie, plus, emit);
        };
        let snapshot = if cookie == 0 {
            self.snapshot(node)?
        } else {
            let kept = node.state.lock().snapshot.clone();
            match kept {
                Some(kept) => kept,
                None => self.snapshot(node)?,
            }
        };
        // names change under the namespace lock for writing only: what is not outdated now stays so
        let below = {
            let state = node.state.lock();
            let shows = matches!(state.place, Place::Root | Place::Upper(..));
            state.lower.filter(|_| shows && !snapshot.is_outdated())
        };
        let first = snapshot.entries.partition_point(|e| e.cookie <= cookie);
        for entry in &snapshot.entries[first..] {
            let found = match below {
                Some(lower) if entry.below => {
                    let child = self.lower_child(lower, &entry.name)?;
                    child.map(|child| (child, Side::Lower))
                }
                _ => self.child_of_on(node, &entry.name)?,
            };
            let Some(found) = found else {
                continue;
            };
            if !self.list_child(found, entry.cookie, &entry.name, plus, emit)? {
                return Ok(());
            }
        }
        node.state.lock().snapshot = None; // read to its end: the memory is free
        Ok(())
    }

    fn list_dots(&self, id: NodeId, cookie: u64, emit: Emit<'_>) -> Result<bool> {
        for (at, name, which) in [(DOT, &b"."[..], false), (DOT_DOT, b"..", true)] {
            if cookie >= at {
                continue;
            }
            let ino = if which { self.parent_of(id)? } else { id };
            let entry = DirEntry {
                ino,
                cookie: at,
                kind: Kind::Dir,
                name,
                attr: None,
            };
            if !emit(&entry) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn list_lower(&self, id: NodeId, cookie: u64, plus: bool, emit: Emit<'_>) -> Result<()> {
        let listing = self.lower.list(id)?;
        let entries = listing.entries();
        let first = entries.partition_point(|e| e.cookie <= cookie);
        for entry in &entries[first..] {
            let name = listing.name(entry);
            let Some(child) = self.lower_child(id, name)? else {
                continue;
            };
            let found = (child, Side::Unasked);
            if !self.list_child(found, entry.cookie, name, plus, emit)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Shows one entry. Its lookup is kept only with `plus`, and only if the entry was taken.
    fn list_child(
        &self,
        (child, side): (Child, Side),
        cookie: u64,
        name: &[u8],
        plus: bool,
        emit: Emit<'_>,
    ) -> Result<bool> {
        let shown = self.child_attr(&child, side);
        let taken = shown.as_ref().is_ok_and(|attr| {
            emit(&DirEntry {
                ino: child.id(),
                cookie,
                kind: child.kind(),
                name,
                attr: plus.then_some(*attr),
            })
        });
        if !(plus && taken) {
            self.forget_in_ns(child.id(), 1);
        }
        shown.map(|_| taken)
    }

    /// The names in a directory that has an upper part, as of now.
    pub(super) fn snapshot(&self, node: &Arc<Node>) -> Result<Arc<Snapshot>> {
        let (place, lower, marks, kept) = {
            let s = node.state.lock();
            (
                s.place.clone(),
                s.lower,
                s.marks.clone(),
                s.snapshot.clone(),
            )
        };
        if let Some(kept) = kept
            && !kept.is_outdated()
        {
            return Ok(kept);
        }
        let mut entries = Vec::new();
        if matches!(place, Place::Root | Place::Upper(..)) {
            let lower = lower.map(|l| self.lower.list(l)).transpose()?;
            self.merge(node, &marks, lower.as_deref(), &mut entries)?;
        }
        let made = Arc::new(Snapshot::new(entries));
        node.state.lock().snapshot = Some(made.clone());
        Ok(made)
    }

    fn merge(
        &self,
        node: &Arc<Node>,
        marks: &crate::upper::DirMarks,
        lower: Option<&Listing>,
        entries: &mut Vec<Entry>,
    ) -> Result<()> {
        let fd = self.dir_fd(node)?;
        let mut covered: HashSet<Box<[u8]>> = HashSet::new();
        self.writable()?.for_each(fd.as_fd(), marks, |name, kind| {
            if lower.is_some_and(|l| l.find(name).is_some()) {
                covered.insert(name.into());
            }
            if let Some(kind) = kind {
                entries.push(Entry {
                    cookie: self.key.of(name),
                    kind,
                    below: false,
                    name: name.into(),
                });
            }
            Ok(())
        })?;
        let Some(lower) = lower else { return Ok(()) };
        for entry in lower.entries() {
            let name = lower.name(entry);
            if !covered.contains(name) {
                entries.push(Entry {
                    cookie: entry.cookie,
                    kind: entry.kind,
                    below: true,
                    name: name.into(),
                });
            }
        }
        Ok(())
    }
}
