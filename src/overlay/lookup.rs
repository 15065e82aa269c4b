//! Finding names.

use super::Engine;
use super::node::{Node, Place};
use crate::lower::resolve_dir;
use crate::sys::{Loc, loc};
use crate::upper::{Upper, UpperEntry};
use crate::vfs::whiteout::{NAME_MAX, Redirect};
use crate::vfs::{Attr, Error, Kind, NodeId, Result};
use nix::errno::Errno;
use rustix::fs::Stat;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What a name stands for. One lookup (or reference) is counted; the receiver answers for it.
#[derive(Debug)]
pub(super) enum Child {
    /// A file with a node.
    Node(Arc<Node>),
    /// A file of the lower.
    Lower(Attr),
}

/// Which side shows a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// The upper, and what it says of the file.
    Upper(Stat),
    /// The lower: the upper has nothing of that name.
    Lower,
    /// The lower, as the directory has no upper part.
    Unasked,
}

impl Child {
    pub(super) fn id(&self) -> NodeId {
        match self {
            Child::Node(node) => node.id,
            Child::Lower(attr) => attr.ino,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Child::Node(node) => node.kind,
            Child::Lower(attr) => attr.kind,
        }
    }
}

impl Engine {
    /// Finds `name` in a directory; counts one lookup.
    pub fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Option<Attr>> {
        match self.look(parent, name) {
            // a file handle: the kernel knows no more than the number
            Err(e) if e.is(Errno::ESTALE) && name == b"." && self.search(parent)? => {
                let found = self.look(parent, name);
                self.forget(parent, 1);
                found
            }
            other => other,
        }
    }

    fn look(&self, parent: NodeId, name: &[u8]) -> Result<Option<Attr>> {
        let _ns = self.ns.read();
        match self.child_on(parent, name)? {
            None => Ok(None),
            Some((child, side)) => {
                let attr = self.child_attr(&child, side);
                if attr.is_err() {
                    self.forget_in_ns(child.id(), 1);
                }
                attr.map(Some)
            }
        }
    }

    /// Gives lookups back.
    pub fn forget(&self, id: NodeId, lookups: u64) {
        let _ns = self.ns.read();
        self.forget_in_ns(id, lookups);
    }

    pub(super) fn child_attr(&self, child: &Child, side: Side) -> Result<Attr> {
        match (child, side) {
            (Child::Node(node), Side::Upper(st)) => self.node_attr_of(node, Some(&st)),
            (Child::Node(node), _) => self.node_attr(node),
            (Child::Lower(attr), _) => self.lower_attr(*attr),
        }
    }

    /// Finds a name. With the namespace lock held.
    pub(super) fn child(&self, parent: NodeId, name: &[u8]) -> Result<Option<Child>> {
        let found = self.child_on(parent, name)?;
        Ok(found.map(|(child, _)| child))
    }

    /// Finds a name, and says which side it is on. With the namespace lock held.
    pub(super) fn child_on(&self, parent: NodeId, name: &[u8]) -> Result<Option<(Child, Side)>> {
        if name.len() > NAME_MAX {
            return Err(Error::new(Errno::ENAMETOOLONG));
        }
        if name == b"." || name == b".." {
            return Ok(Some((self.dot(parent, name)?, Side::Unasked)));
        }
        match self.nodes.get(parent) {
            Some(node) => self.child_of_on(&node, name),
            None => {
                let found = self.lower_child(parent, name)?;
                Ok(found.map(|child| (child, Side::Unasked)))
            }
        }
    }

    /// `.` and `..`, which file handles (NFS) ask for by name.
    fn dot(&self, id: NodeId, name: &[u8]) -> Result<Child> {
        let target = if name == b"." {
            id
        } else {
            self.parent_of(id)?
        };
        if let Some(node) = self.nodes.count(target) {
            return Ok(Child::Node(node));
        }
        self.lower.pin(target)?;
        let attr = self.lower.attr(target)?;
        // of a tree that knows its nodes for ever, the upper may hide this one, or have a copy that
        // nobody has met yet
        if self.lower.is_stateless() && self.upper.is_some() && !self.shows_somewhere(&attr)? {
            return Err(Error::new(Errno::ESTALE));
        }
        Ok(Child::Lower(attr))
    }

    /// The directory that a directory is in; the root is in itself.
    pub(super) fn parent_of(&self, id: NodeId) -> Result<NodeId> {
        if let Some(node) = self.nodes.get(id) {
            match &node.state.lock().place {
                Place::Root => return Ok(id),
                Place::Upper(parent, _) => return Ok(parent.id),
                Place::Held(_) | Place::LowerUnlinked => return Ok(id),
                Place::Lower => {}
            }
        }
        Ok(self.lower.place(id)?.map_or(id, |(parent, _)| parent))
    }

    pub(super) fn child_of(&self, parent: &Arc<Node>, name: &[u8]) -> Result<Option<Child>> {
        let found = self.child_of_on(parent, name)?;
        Ok(found.map(|(child, _)| child))
    }

    /// The same, and which side it is on.
    pub(super) fn child_of_on(
        &self,
        parent: &Arc<Node>,
        name: &[u8],
    ) -> Result<Option<(Child, Side)>> {
        if parent.kind != Kind::Dir {
            return Err(Error::new(Errno::ENOTDIR));
        }
        let (place, lower, marks) = {
            let state = parent.state.lock();
            (state.place.clone(), state.lower, state.marks.clone())
        };
        let side = match place {
            Place::Held(_) | Place::LowerUnlinked => return Ok(None),
            Place::Lower => Side::Unasked,
            Place::Root | Place::Upper(..) => {
                let upper = self.writable()?;
                let fd = self.dir_fd(parent)?;
                match upper.entry(fd.as_fd(), name, &marks)? {
                    UpperEntry::Whiteout => return Ok(None),
                    UpperEntry::Present(st) => {
                        let child = self.upper_child(parent, fd.as_fd(), name, &st)?;
                        return Ok(Some((child, Side::Upper(st))));
                    }
                    UpperEntry::Absent => Side::Lower,
                }
            }
        };
        let found = lower.map_or(Ok(None), |lower| self.lower_child(lower, name))?;
        Ok(found.map(|child| (child, side)))
    }

    pub(super) fn lower_child(&self, dir: NodeId, name: &[u8]) -> Result<Option<Child>> {
        let Some(attr) = self.lower.lookup(dir, name)? else {
            return Ok(None);
        };
        // another name of a file that was changed
        if let Some(node) = self.nodes.count(attr.ino) {
            self.lower.forget(attr.ino, 1);
            return Ok(Some(Child::Node(node)));
        }
        Ok(Some(Child::Lower(attr)))
    }

    /// The node of a file in the upper.
    fn upper_child(
        &self,
        parent: &Arc<Node>,
        dir: BorrowedFd<'_>,
        name: &[u8],
        st: &Stat,
    ) -> Result<Child> {
        let own = self.space.node(st.st_dev, st.st_ino);
        if let Some(node) = self.nodes.count(self.nodes.alias(own)) {
            let mut state = node.state.lock();
            if matches!(state.place, Place::Held(_)) {
                // one of its names went, and here is another
                state.place = Place::Upper(parent.clone(), name.into());
            }
            drop(state);
            return Ok(Child::Node(node));
        }
        let kind = Kind::from_mode(st.st_mode)
            .ok_or_else(|| Error::because(Errno::EIO, "file of no type in the upper"))?;
        let node = if kind == Kind::Dir {
            self.load_dir(parent, dir, name, own)?
        } else {
            self.load_file(parent, dir, name, st, own, kind)?
        };
        let (id, lower) = (node.id, node.state.lock().lower);
        let (node, new) = self.nodes.insert(node, 1);
        if !new {
            if let Some(lower) = lower {
                self.lower.forget(lower, 1);
            }
            if node.kind != kind || node.state.lock().alias.unwrap_or(node.id) != own {
                self.forget_in_ns(id, 1);
                return Err(Error::because(
                    Errno::EIO,
                    format!(
                        "upper: {:?} claims the number of another file",
                        String::from_utf8_lossy(name)
                    ),
                ));
            }
        }
        self.nodes.set_alias(own, id);
        Ok(Child::Node(node))
    }

    fn load_dir(
        &self,
        parent: &Arc<Node>,
        dir: BorrowedFd<'_>,
        name: &[u8],
        own: NodeId,
    ) -> Result<Node> {
        let upper = self.writable()?;
        let fd = loc::open_dir(dir, name)?;
        let marks = upper.dir_marks(fd.as_fd())?;
        let around = parent.state.lock().marks.clone();
        let hidden = marks.opaque || upper.hides_below(dir, name, &around)?;
        let lower = match (&marks.redirect, hidden) {
            // a redirect speaks louder than the mark that hides the name it has now
            (Some(redirect), false) => self.redirected(parent, redirect)?,
            (_, true) => None,
            (None, false) => self.lower_dir(parent, name)?,
        };
        let place = Place::Upper(parent.clone(), name.into());
        let node = Node::new(lower.unwrap_or(own), Kind::Dir, place, lower);
        let mut state = node.state.lock();
        state.marks = marks;
        state.alias = (node.id != own).then_some(own);
        drop(state);
        Ok(node)
    }

    /// The lower directory of this name, referenced.
    fn lower_dir(&self, parent: &Node, name: &[u8]) -> Result<Option<NodeId>> {
        let Some(dir) = parent.state.lock().lower else {
            return Ok(None);
        };
        resolve_dir(&*self.lower, dir, &[name.to_vec()])
    }

    /// The lower directory that a redirect names, referenced.
    fn redirected(&self, parent: &Node, redirect: &Redirect) -> Result<Option<NodeId>> {
        match redirect {
            Redirect::Sibling(name) => self.lower_dir(parent, name),
            Redirect::Absolute(_) if !self.layered => Ok(None),
            Redirect::Absolute(path) => resolve_dir(&*self.lower, NodeId::ROOT, path),
        }
    }

    fn load_file(
        &self,
        parent: &Arc<Node>,
        dir: BorrowedFd<'_>,
        name: &[u8],
        st: &Stat,
        own: NodeId,
        kind: Kind,
    ) -> Result<Node> {
        let mut id = own;
        let mut lower = None;
        let mut metacopy = false;
        // the kernel's overlayfs calls no directory impure for a copy of one name of several, and the
        // data of that may be in the lower
        let may_be_metacopy = kind == Kind::File && st.st_size > 0;
        if parent.state.lock().marks.impure || may_be_metacopy {
            let marks = self.writable()?.file_marks(Loc::At(dir, name))?;
            if let Some(ino) = marks.ino
                && ino.inode == st.st_ino
                && ino.layers == self.lower.fingerprint()
            {
                id = ino.node;
            }
            if marks.metacopy && kind == Kind::File {
                metacopy = true;
                lower = Some(self.data_below(parent, name, marks.redirect)?);
            }
        }
        let place = Place::Upper(parent.clone(), name.into());
        let node = Node::new(id, kind, place, lower);
        let mut state = node.state.lock();
        state.metacopy = metacopy;
        state.alias = (id != own).then_some(own);
        drop(state);
        Ok(node)
    }

    /// The lower file with the data of a metadata-only copy, referenced.
    fn data_below(&self, parent: &Node, name: &[u8], redirect: Option<Redirect>) -> Result<NodeId> {
        let missing = || {
            Error::because(
                Errno::EIO,
                format!(
                    "upper: the data of {:?} is in no layer",
                    String::from_utf8_lossy(name)
                ),
            )
        };
        let (dir, name) = match redirect {
            Some(Redirect::Absolute(mut path)) => {
                let name = path.pop().ok_or_else(missing)?;
                (resolve_dir(&*self.lower, NodeId::ROOT, &path)?, name)
            }
            other => {
                let dir = parent.state.lock().lower;
                if let Some(dir) = dir {
                    self.lower.pin(dir)?;
                }
                match other {
                    Some(Redirect::Sibling(name)) => (dir, name),
                    _ => (dir, name.to_vec()),
                }
            }
        };
        let dir = dir.ok_or_else(missing)?;
        let found = self.lower.lookup(dir, &name);
        self.lower.forget(dir, 1);
        match found? {
            Some(attr) if attr.kind == Kind::File => Ok(attr.ino),
            Some(attr) => {
                self.lower.forget(attr.ino, 1);
                Err(missing())
            }
            None => Err(missing()),
        }
    }

    /// Gives lookups back. With the namespace lock held.
    pub(super) fn forget_in_ns(&self, id: NodeId, n: u64) {
        match self.nodes.forget(id, n) {
            None => {
                if id != NodeId::ROOT {
                    self.lower.forget(id, n);
                    self.files.forget_lower(id);
                }
            }
            Some(false) => {}
            Some(true) => self.drop_unused(id),
        }
    }

    /// Removes a node that is not needed any more, and then its parents as far as they are not.
    fn drop_unused(&self, id: NodeId) {
        let mut id = id;
        loop {
            let Some(node) = self.nodes.get(id) else {
                return;
            };
            let needed = {
                let state = node.state.lock();
                match state.place {
                    Place::Root => true,
                    // where a merged directory is now is written nowhere else; nor is, where the
                    // upper keeps no marks, which number a copy has
                    Place::Upper(..) => {
                        let merged = node.kind == Kind::Dir && state.lower.is_some();
                        let marks = self.upper.as_ref().is_some_and(Upper::keeps_marks);
                        merged || !marks && state.alias.is_some()
                    }
                    Place::Held(_) | Place::LowerUnlinked | Place::Lower => false,
                }
            };
            if needed {
                return;
            }
            let held = self.nodes.remove_unused(id, 1);
            let Some(gone) = held else { return };
            drop(node);
            let (place, lower, alias) = {
                let mut state = gone.state.lock();
                (std::mem::take(&mut state.place), state.lower, state.alias)
            };
            if let Some(alias) = alias {
                self.nodes.drop_alias(alias);
            }
            if let Some(lower) = lower {
                self.lower.forget(lower, 1);
                self.files.forget_lower(lower);
            }
            self.files.forget_upper(id);
            drop(self.dirs.lock().pop(&id));
            match place {
                Place::Upper(parent, _) => {
                    id = parent.id;
                    drop(parent);
                    if self.nodes.forget(id, 0) != Some(true) {
                        return;
                    }
                }
                _ => return,
            }
        }
    }
}
