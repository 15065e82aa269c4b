//! Files of a lower that have several names.
//!
//! When one is copied up, all its names that show are (the copy gets them all as hard links), so
//! it stays one file after a remount and for the kernel's overlayfs. As long as it is not, hiding
//! one of its names leaves the lower's link count one too high: the engine counts hidden names,
//! and marks the root of the upper so that the next mount counts them again.

use super::Engine;
use super::keep::keep_times;
use super::lookup::Child;
use super::node::{Node, Place};
use crate::lower::{path_of, resolve_dir};
use crate::sys::Loc;
use crate::upper::{Intent, Staged, Upper, UpperEntry};
use crate::vfs::whiteout::Redirect;
use crate::vfs::{Attr, Error, Kind, NodeId, Result};
use nix::errno::Errno;
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

    /// True if the lower's node itself shows, under any of its names.
    pub(super) fn shows_somewhere(&self, attr: &Attr) -> Result<bool> {
        if attr.kind == Kind::Dir {
            return Ok(matches!(self.locate(attr.ino)?, Some(LowerDir::Plain)));
        }
        let names = match attr.nlink {
            0 | 1 => self.lower.place(attr.ino)?.into_iter().collect(),
            _ => self.lower.links(attr.ino)?,
        };
        for (dir, name) in names {
            if self.shows_lower(dir, &name)? {
                return Ok(true);
            }
        }
        Ok(false)
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
        self.meet_moved()?;
        let mut names: Vec<(NodeId, Box<[u8]>)> = Vec::new();
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
                    names.push((at, name));
                    at = parent;
                }
            }
        };
        while let Some((id, name)) = names.pop() {
            let LowerDir::Merged(parent) = &here else {
                return Ok(Some(LowerDir::Plain));
            };
            let Some(child) = self.child_of(parent, &name)? else {
                return Ok(None);
            };
            let next = match &child {
                // what was moved was met above: another directory that is here now is not it
                Child::Node(node)
                    if node.kind == Kind::Dir && node.state.lock().lower == Some(id) =>
                {
                    LowerDir::Merged(node.clone())
                }
                Child::Node(_) => {
                    self.forget_in_ns(child.id(), 1);
                    return Ok(None);
                }
                Child::Lower(_) => LowerDir::Plain,
            };
            self.forget_in_ns(child.id(), 1);
            here = next;
        }
        Ok(Some(here))
    }

    /// Hides a name of a lower file by `step`. Under the namespace lock, writing.
    pub(super) fn hiding_lower(
        &self,
        child: &Child,
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let id = child.id();
        let attr = match child {
            Child::Lower(attr) => *attr,
            Child::Node(_) => self.lower.attr(id)?,
        };
        let names = match attr.kind {
            Kind::Dir => 1,
            _ => attr.nlink,
        };
        let mut hidden = 1;
        if names > 1 {
            let counted = self.hidden.lock().get(&id).copied();
            // before the name goes: no moment without the mark
            let first = self.mark_links_hidden()?;
            step()?;
            hidden = match counted {
                Some(n) => n + 1,
                None if first => 1,
                // the name is hidden by now, and so is in the count
                None => self.hidden_links(id)?,
            };
            self.hidden.lock().insert(id, hidden);
        } else {
            step()?;
        }
        if hidden >= names {
            let node = self.adopt_as(id, attr.kind)?;
            let mut state = node.state.lock();
            state.place = Place::LowerUnlinked;
            state.unlinked = Some(Box::new(Attr { nlink: 0, ..attr }));
        }
        Ok(())
    }

    /// Publishes the copy of a file with several names under each of them: all or, after a failure
    /// or a crash, none that differs. Under the namespace lock, writing.
    pub(super) fn publish_links(
        &self,
        upper: &Upper,
        names: &[(NodeId, Box<[u8]>)],
        staged: Staged,
    ) -> Result<Place> {
        let ready = names
            .iter()
            .map(|(dir, _)| self.receiving_dir(*dir))
            .collect::<Result<Vec<_>>>();
        let path = names
            .first()
            .ok_or(Error::new(Errno::EIO))
            .and_then(|(dir, name)| {
                let mut path = path_of(&*self.lower, *dir)?;
                path.push(name.to_vec());
                Ok(Redirect::Absolute(path).to_value())
            });
        let (ready, path) = match ready.and_then(|ready| Ok((ready, path?))) {
            Ok(both) => both,
            Err(e) => {
                upper.discard(staged);
                return Err(e);
            }
        };
        let intent = upper.intend(staged, &path)?;
        for (parent, _) in &ready {
            parent.changes();
        }
        let mut done = 0;
        let linked: Result<()> =
            ready
                .iter()
                .zip(names)
                .try_for_each(|((parent, fd), (_, name))| {
                    keep_times(parent, fd, || upper.link_copy(&intent, fd.as_fd(), name))?;
                    done += 1;
                    Ok(())
                });
        if linked.is_err() {
            for ((parent, fd), (_, name)) in ready.iter().zip(names).take(done) {
                keep_times(parent, fd, || {
                    upper.remove(fd.as_fd(), name, Kind::File, false)
                })?;
            }
        }
        upper.end_intent(intent)?;
        linked?;
        let first = ready.into_iter().zip(names).next();
        let ((parent, _), (_, name)) = first.ok_or(Error::new(Errno::EIO))?;
        Ok(Place::Upper(parent, name.clone()))
    }

    /// Finishes what an earlier mount began: a copy gets the names that still show its original.
    pub(super) fn finish_intents(&self) -> Result<()> {
        let Some(upper) = &self.upper else {
            return Ok(());
        };
        let _ns = self.ns.write();
        for intent in upper.intents()? {
            if let Err(e) = self.finish(upper, &intent) {
                return Err(e.context("finishing a copy-up that an earlier mount began"));
            }
            upper.end_intent(intent)?;
        }
        Ok(())
    }

    /// Gives a reference back that [`crate::lower::Lower::links`] counted on a directory. One that
    /// got its node only since (it had none: not `known`) took the reference along.
    pub(super) fn give_back(&self, dir: NodeId, known: bool) {
        if known {
            self.lower.forget(dir, 1);
        } else {
            self.forget_in_ns(dir, 1);
        }
    }

    fn finish(&self, upper: &Upper, intent: &Intent) -> Result<()> {
        let Some(Redirect::Absolute(mut path)) = Redirect::parse(&intent.of()?) else {
            return Ok(()); // not ours
        };
        let Some(name) = path.pop() else {
            return Ok(());
        };
        let Some(dir) = resolve_dir(&*self.lower, NodeId::ROOT, &path)? else {
            return Ok(()); // another stack of layers: nothing shows what was copied
        };
        let found = self.lower.lookup(dir, &name);
        self.lower.forget(dir, 1);
        let Some(attr) = found? else {
            return Ok(());
        };
        let names = self.shown_links(attr.ino);
        self.lower.forget(attr.ino, 1);
        for (dir, name) in names? {
            let known = self.nodes.get(dir).is_some();
            let linked = self.receiving_dir(dir).and_then(|(parent, fd)| {
                keep_times(&parent, &fd, || upper.link_copy(intent, fd.as_fd(), &name))
            });
            self.give_back(dir, known);
            linked?;
        }
        Ok(())
    }

    /// True if nothing was hidden before, in this mount or an earlier one.
    fn mark_links_hidden(&self) -> Result<bool> {
        if self.links_hidden.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let upper = self.writable()?;
        upper.set_mark(Loc::Fd(upper.root().as_fd()), MARK, b"y")?;
        self.links_hidden.store(true, Ordering::Relaxed);
        Ok(true)
    }
}
