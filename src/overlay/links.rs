//! Files of a lower that have several names.
//!
//! When one is copied up, all its names that show are (the copy gets them all as hard links), so
//! it stays one file after a remount and for the kernel's overlayfs. As long as it is not, hiding
//! one of its names leaves the lower's link count one too high: the engine counts hidden names,
//! and marks the root of the upper so that the next mount counts them again.

use super::Engine;
use super::node::{Node, Place};
use crate::sys::Loc;
use crate::upper::UpperEntry;
use crate::vfs::{Kind, NodeId, Result};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The mark on the root: names of files with several are hidden somewhere.
pub(super) const MARK: &str = "vellum.links";

/// A directory of the lower, as the merged tree has it now.
pub(super) enum LowerDir {
    /// It has no upper part.
    Plain,
    /// It has.
    Merged(Arc<Node>),
}

impl Engine {
    /// How many names of a lower file are hidden by the upper.
    pub(super) fn hidden_links(&self, id: NodeId) -> Result<u32> {
        if let Some(n) = self.hidden.lock().get(&id) {
            return Ok(*n);
        }
        if !self.links_hidden.load(Ordering::Relaxed) || self.upper.is_none() {
            return Ok(0);
        }
        let all = self.lower.links(id)?;
        let mut hidden = 0;
        for (dir, name) in &all {
            let shows = self.shows_lower(*dir, name);
            self.lower.forget(*dir, 1);
            hidden += u32::from(!shows?);
        }
        self.hidden.lock().insert(id, hidden);
        Ok(hidden)
    }

    /// The names of a lower file that show, directories referenced.
    pub(super) fn shown_links(&self, id: NodeId) -> Result<Vec<(NodeId, Box<[u8]>)>> {
        let mut shown = Vec::new();
        for (dir, name) in self.lower.links(id)? {
            if self.shows_lower(dir, &name)? {
                shown.push((dir, name));
            } else {
                self.lower.forget(dir, 1);
            }
        }
        Ok(shown)
    }

    /// True if an entry of a lower directory shows in the merged tree.
    fn shows_lower(&self, dir: NodeId, name: &[u8]) -> Result<bool> {
        match self.locate(dir)? {
            None => Ok(false),
            Some(LowerDir::Plain) => Ok(true),
            Some(LowerDir::Merged(node)) => {
                let fd = self.dir_fd(&node)?;
                let marks = node.state.lock().marks.clone();
                let entry = self.writable()?.entry(fd.as_fd(), name, &marks)?;
                Ok(matches!(entry, UpperEntry::Absent))
            }
        }
    }

    /// Where a lower directory is in the merged tree, if it still is. Works for directories that
    /// nobody has looked up, too.
    pub(super) fn locate(&self, dir: NodeId) -> Result<Option<LowerDir>> {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut at = dir;
        let mut here = loop {
            if let Some(node) = self.nodes.get(at) {
                match node.state.lock().place {
                    Place::Root | Place::Upper(..) => break LowerDir::Merged(node.clone()),
                    Place::Held(_) | Place::LowerUnlinked => return Ok(None),
                    Place::Lower => {}
                }
            }
            match self.lower.place(at)? {
                None => break LowerDir::Plain,
                Some((parent, name)) => {
                    names.push(name);
                    at = parent;
                }
            }
        };
        while let Some(name) = names.pop() {
            let LowerDir::Merged(parent) = &here else {
                return Ok(Some(LowerDir::Plain));
            };
            let Some(child) = self.child_of(parent, &name)? else {
                return Ok(None);
            };
            let next = match &child {
                super::lookup::Child::Node(node)
                    if node.kind == Kind::Dir && node.state.lock().lower.is_some() =>
                {
                    LowerDir::Merged(node.clone())
                }
                super::lookup::Child::Node(_) => {
                    self.forget_in_ns(child.id(), 1);
                    return Ok(None);
                }
                super::lookup::Child::Lower(_) => LowerDir::Plain,
            };
            self.forget_in_ns(child.id(), 1);
            here = next;
        }
        Ok(Some(here))
    }

    /// The upper has just hidden a name of a lower file. Under the namespace lock, writing.
    pub(super) fn bury_lower(&self, id: NodeId, kind: Kind) -> Result<()> {
        let mut gone = true;
        if kind != Kind::Dir {
            let attr = self.lower.attr(id)?;
            if attr.nlink > 1 {
                // the name is hidden already: where the count is made anew, it is in it
                let counted = self.hidden.lock().get(&id).copied();
                let hidden = match counted {
                    Some(n) => n + 1,
                    None if self.links_hidden.load(Ordering::Relaxed) => self.hidden_links(id)?,
                    None => 1,
                };
                self.hidden.lock().insert(id, hidden);
                gone = hidden >= attr.nlink;
                self.mark_links_hidden()?;
            }
        }
        if gone {
            let node = self.adopt(id)?;
            node.state.lock().place = Place::LowerUnlinked;
        }
        Ok(())
    }

    fn mark_links_hidden(&self) -> Result<()> {
        if self.links_hidden.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let upper = self.writable()?;
        upper.set_mark(Loc::Fd(upper.root().as_fd()), MARK, b"y")
    }
}
