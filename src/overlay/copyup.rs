//! Copy-up: a file of the lower becomes one of the upper, with everything it has, at once or not
//! at all.
//!
//! A copy is made in the work directory with only the file's own lock held, synced, and then
//! published by one rename under the namespace lock. Directories come up without their content,
//! parents first, and keep mode, owner and times.

use super::Engine;
use super::keep::{keep_ctime, keep_times};
use super::node::{Held, Node, Place};
use crate::lower::path_of;
use crate::sys::loc::attr_of;
use crate::sys::{Loc, Owned, xattr};
use crate::upper::{Over, Staged, Upper};
use crate::vfs::error::Context;
use crate::vfs::whiteout::Redirect;
use crate::vfs::{Attr, Error, Kind, NodeId, Result, SetTime};
use nix::errno::Errno;
use rustix::fs::OFlags;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// What of a file has to be in the upper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Name and attributes.
    Meta,
    /// And this many bytes of data; the rest is about to be cut off.
    Data(u64),
}

impl Need {
    /// All the data.
    pub(super) const ALL: Need = Need::Data(u64::MAX);
}

impl Engine {
    /// Makes sure that a file is in the upper. Takes the namespace lock: none may be held.
    pub(super) fn copy_up(&self, id: NodeId, need: Need) -> Result<Arc<Node>> {
        self.writable()?;
        let known = self.nodes.get(id);
        let kind = match &known {
            Some(node) => node.kind,
            None => self.lower.attr(id)?.kind,
        };
        if kind == Kind::Dir {
            if let Some(node) = known
                && node.on_upper()
            {
                return Ok(node);
            }
            let _ns = self.ns.write();
            return match self.nodes.get(id) {
                Some(node) if matches!(node.state.lock().place, Place::LowerUnlinked) => {
                    self.copy_removed_dir(id)
                }
                _ => self.dir_upper(id),
            };
        }
        let node = match known {
            Some(node) => node,
            None => {
                let _ns = self.ns.write();
                self.adopt(id)?
            }
        };
        let _copying = node.copy.lock();
        let (place, metacopy) = {
            let state = node.state.lock();
            (state.place.clone(), state.metacopy)
        };
        match place {
            Place::Lower | Place::LowerUnlinked => self.copy_file(&node, need)?,
            Place::Root | Place::Upper(..) | Place::Held(_) => {
                if let (true, Need::Data(len)) = (metacopy, need) {
                    self.fill(&node, len)?;
                }
            }
        }
        drop(_copying);
        Ok(node)
    }

    /// A directory of the lower that was removed while it is in use: only an fd keeps the copy.
    fn copy_removed_dir(&self, id: NodeId) -> Result<Arc<Node>> {
        let upper = self.writable()?;
        let node = self.adopt(id)?;
        let attr = self.lower.attr(id)?;
        let (staged, fd) = upper.stage_dir(attr.perm)?;
        let ready = self.copy_attributes(upper, Loc::Open(fd.as_fd()), id, &attr);
        upper.discard(staged);
        ready?;
        node.state.lock().place = Place::Held(Held::Path(Arc::new(fd)));

        Ok(node)
    }

    /// Makes a node for a lower file. Under the namespace lock, writing.
    pub(super) fn adopt(&self, id: NodeId) -> Result<Arc<Node>> {
        match self.nodes.get(id) {
            Some(node) => Ok(node),
            None => self.adopt_as(id, self.lower.attr(id)?.kind),
        }
    }

    /// The same, of a type that is known.
    pub(super) fn adopt_as(&self, id: NodeId, kind: Kind) -> Result<Arc<Node>> {
        if let Some(node) = self.nodes.get(id) {
            return Ok(node);
        }
        // a tree that does not count looks its nodes up for ever
        let lookups = match self.lower.take_references(id)? {
            Some(n) => i64::try_from(n).unwrap_or(i64::MAX),
            None => i64::MAX,
        };
        let node = Node::new(id, kind, Place::Lower, Some(id));
        Ok(self.nodes.insert(node, lookups).0)
    }

    /// The node of a directory, with an upper part; makes one, and its parents', if need be.
    /// Under the namespace lock, writing.
    pub(super) fn dir_upper(&self, id: NodeId) -> Result<Arc<Node>> {
        self.writable()?;
        let mut todo: Vec<(NodeId, Box<[u8]>)> = Vec::new();
        let mut at = id;
        let mut dir = loop {
            if let Some(node) = self.nodes.get(at) {
                let place = node.state.lock().place.clone();
                match place {
                    Place::Root | Place::Upper(..) => break node,
                    Place::Held(_) | Place::LowerUnlinked => return Err(Error::new(Errno::ENOENT)),
                    Place::Lower => {}
                }
            }
            let (parent, name) = self
                .lower
                .place(at)?
                .ok_or_else(|| Error::because(Errno::EIO, "the root has no upper part"))?;
            todo.push((at, name));
            at = parent;
        };
        while let Some((id, name)) = todo.pop() {
            dir = self.copy_dir(&dir, id, &name)?;
        }
        if dir.kind != Kind::Dir {
            return Err(Error::new(Errno::ENOTDIR));
        }
        Ok(dir)
    }

    fn copy_dir(&self, parent: &Arc<Node>, id: NodeId, name: &[u8]) -> Result<Arc<Node>> {
        // the upper may have its part already, and nobody has looked there yet
        if let Some(child) = self.child_of(parent, name)? {
            let found = child.id();
            let node = self.nodes.get(found);
            self.forget_in_ns(found, 1);
            if found != id {
                return Err(Error::new(Errno::ENOENT));
            }
            if let Some(node) = node
                && node.on_upper()
            {
                return Ok(node);
            }
        } else {
            return Err(Error::new(Errno::ENOENT));
        }
        let upper = self.writable()?;
        let attr = self.lower.attr(id)?;
        let (staged, made) = upper.stage_dir(attr.perm)?;
        let at = Loc::Open(made.as_fd());
        let ready = self
            .record_origin(upper, at, id, &attr)
            .and_then(|()| self.copy_attributes(upper, at, id, &attr))
            .and_then(|()| self.make_impure(parent))
            .and_then(|()| self.dir_fd(parent));
        let fd = match ready {
            Ok(fd) => fd,
            Err(e) => {
                upper.discard(staged);
                return Err(e);
            }
        };
        parent.changes();
        keep_times(parent, &fd, || {
            upper.publish(staged, fd.as_fd(), name, Over::Nothing)
        })
        .context(|| "copy-up of a directory")?;
        let st = at.stat()?;
        let own = self.space.node(st.st_dev, st.st_ino);
        let node = self.adopt_as(id, Kind::Dir)?;
        let mut state = node.state.lock();
        state.place = Place::Upper(parent.clone(), name.into());
        state.alias = Some(own);
        state.kept_ctime = Some((attr_of(&st, id)?.ctime, attr.ctime));
        drop(state);
        self.nodes.set_alias(own, id);
        let evicted = self.dirs.lock().push(id, Arc::new(made));
        drop(evicted); // closed outside the lock
        Ok(node)
    }

    /// Owner, mode, attributes, times: in the order in which none undoes another.
    fn copy_attributes(&self, upper: &Upper, to: Loc<'_>, from: NodeId, attr: &Attr) -> Result<()> {
        let owned = Owned {
            uid: attr.uid,
            gid: attr.gid,
            perm: attr.perm,
            kind: attr.kind,
            rdev: attr.rdev,
        };
        upper.own(to, &owned)?;
        let list = self.lower.list_xattr(from)?;
        for name in xattr::names(&list) {
            let Some(value) = self.lower.get_xattr(from, name)? else {
                continue;
            };
            let shown = self.ownership.xattr_shown(name.to_vec());
            let Some(disk) = shown.and_then(|name| self.ownership.xattr_on_disk(name)) else {
                continue;
            };
            if let Err(e) = xattr::set(to, &disk, &value, 0) {
                let must = name.starts_with(b"system.posix_acl_") || name.starts_with(b"security.");
                let acl_off = name.starts_with(b"system.posix_acl_") && !upper.config().acl;
                // as overlayfs: what the upper's file system has no place for is left behind,
                // but never what decides on access
                if e.is(Errno::EOPNOTSUPP) && (!must || acl_off) {
                    log::warn!(
                        "copy-up: {} is not kept: {e}",
                        String::from_utf8_lossy(name)
                    );
                    continue;
                }
                return Err(e.context(format!("copy-up of {}", String::from_utf8_lossy(name))));
            }
        }
        to.utimens(Some(SetTime::At(attr.atime)), Some(SetTime::At(attr.mtime)))
    }

    fn copy_file(&self, node: &Arc<Node>, need: Need) -> Result<()> {
        let upper = self.writable()?;
        let id = node.state.lock().lower.ok_or(Error::new(Errno::ESTALE))?;
        let attr = self.lower.attr(id)?;
        let metacopy = need == Need::Meta
            && upper.metacopy()
            && attr.kind == Kind::File
            && attr.size > 0
            && self.redirect_to(id)?.is_some();
        let staged = self.stage_copy(upper, id, &attr, need, metacopy)?;
        let _ns = self.ns.write();
        self.publish_copy(upper, node, id, &attr, staged)?;
        node.state.lock().metacopy = metacopy;
        if !metacopy {
            self.files.forget_lower(id);
        }
        Ok(())
    }

    /// The redirect that leads to a lower file; `None` if it is too long to be written down.
    pub(super) fn redirect_to(&self, id: NodeId) -> Result<Option<Vec<u8>>> {
        /// ext4 keeps one block of attributes; leave room for others.
        const LONGEST: usize = 3000;
        let path = Redirect::Absolute(path_of(&*self.lower, id)?).to_value();
        Ok((path.len() <= LONGEST).then_some(path))
    }

    fn stage_copy(
        &self,
        upper: &Upper,
        id: NodeId,
        attr: &Attr,
        need: Need,
        metacopy: bool,
    ) -> Result<Staged> {
        let (staged, file) = match attr.kind {
            Kind::File => {
                let (staged, file) = upper.stage_file(attr.perm)?;
                (staged, Some(file))
            }
            Kind::Symlink => {
                let target = self.lower.readlink(id)?;
                (upper.stage(attr.kind, attr.perm, 0, &target)?, None)
            }
            kind => {
                let on_disk = self.ownership.kind_on_disk(kind);
                (upper.stage(on_disk, attr.perm, attr.rdev, b"")?, None)
            }
        };
        match self.fill_staged(upper, &staged, file, id, attr, need, metacopy) {
            Ok(()) => Ok(staged),
            Err(e) => {
                upper.discard(staged);
                Err(e.context("copy-up"))
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one caller, one step of its work"
    )]
    fn fill_staged(
        &self,
        upper: &Upper,
        staged: &Staged,
        file: Option<File>,
        id: NodeId,
        attr: &Attr,
        need: Need,
        metacopy: bool,
    ) -> Result<()> {
        let at = match &file {
            Some(file) => Loc::Open(file.as_fd()),
            None => upper.staged(staged),
        };
        if let Some(file) = &file {
            if metacopy {
                rustix::fs::ftruncate(file, attr.size)?;
                upper.set_mark(at, "metacopy", b"")?;
                if let Some(path) = self.redirect_to(id)? {
                    upper.set_mark(at, "redirect", &path)?;
                }
            } else {
                let from = self.files.lower(id, || self.lower.open(id))?;
                let len = match need {
                    Need::Data(n) => n.min(attr.size),
                    Need::Meta => attr.size,
                };
                from.copy_to(file, len, len == attr.size)?;
            }
        }
        self.record_number(upper, at, id, attr.kind)?;
        self.record_origin(upper, at, id, attr)?;
        self.copy_attributes(upper, at, id, attr)?;
        if let Some(file) = file
            && !upper.config().volatile
        {
            file.sync_all()?;
        }
        Ok(())
    }

    /// Puts a copy where its original shows, under every name. Under the namespace lock, writing.
    fn publish_copy(
        &self,
        upper: &Upper,
        node: &Arc<Node>,
        id: NodeId,
        attr: &Attr,
        staged: Staged,
    ) -> Result<()> {
        let own = match upper.staged(&staged).stat() {
            Ok(st) => self.space.node(st.st_dev, st.st_ino),
            Err(e) => {
                upper.discard(staged);
                return Err(e);
            }
        };
        let place = self.place_copy(upper, node, id, attr, staged)?;
        let mut state = node.state.lock();
        state.place = place;
        state.alias = Some(own);
        drop(state);
        self.nodes.set_alias(own, node.id);
        Ok(())
    }

    fn place_copy(
        &self,
        upper: &Upper,
        node: &Arc<Node>,
        id: NodeId,
        attr: &Attr,
        staged: Staged,
    ) -> Result<Place> {
        let unlinked = matches!(node.state.lock().place, Place::LowerUnlinked);
        let names = if unlinked {
            Ok(Vec::new())
        } else if attr.nlink > 1 {
            self.shown_links(id)
        } else {
            self.lower.place(id).map(|p| p.into_iter().collect())
        };
        let names = match names {
            Ok(names) => names,
            Err(e) => {
                upper.discard(staged);
                return Err(e);
            }
        };
        // a directory that gets its node only now takes the references along from the lower
        let known: Vec<bool> = names
            .iter()
            .map(|(d, _)| self.nodes.get(*d).is_some())
            .collect();
        let placed = self.publish_names(upper, &names, staged);
        if attr.nlink > 1 {
            for ((dir, _), known) in names.iter().zip(known) {
                self.give_back(*dir, known);
            }
        }
        placed
    }

    fn publish_names(
        &self,
        upper: &Upper,
        names: &[(NodeId, Box<[u8]>)],
        staged: Staged,
    ) -> Result<Place> {
        let Some(((first_dir, first), others)) = names.split_first() else {
            // unlinked, but still in use: only an fd keeps it
            let held = upper.staged(&staged).open(OFlags::PATH | OFlags::NOFOLLOW);
            upper.discard(staged);
            return Ok(Place::Held(Held::Path(Arc::new(held?))));
        };
        if !others.is_empty() {
            return self.publish_links(upper, names, staged);
        }
        let (parent, fd) = match self.receiving_dir(*first_dir) {
            Ok(found) => found,
            Err(e) => {
                upper.discard(staged);
                return Err(e);
            }
        };
        parent.changes();
        keep_times(&parent, &fd, || {
            upper.publish(staged, fd.as_fd(), first, Over::Nothing)
        })?;
        Ok(Place::Upper(parent, first.clone()))
    }

    /// The upper part of a lower directory, ready to take a copy.
    pub(super) fn receiving_dir(&self, dir: NodeId) -> Result<(Arc<Node>, Arc<OwnedFd>)> {
        let parent = self.dir_upper(dir)?;
        let fd = self.dir_fd(&parent)?;
        self.make_impure(&parent)?;
        Ok((parent, fd))
    }

    /// Says that a directory may have children with numbers of lower files.
    pub(super) fn make_impure(&self, dir: &Arc<Node>) -> Result<()> {
        let upper = self.writable()?;
        if dir.state.lock().marks.impure || !upper.keeps_marks() {
            return Ok(());
        }
        let fd = self.dir_fd(dir)?;
        keep_ctime(dir, &fd, || upper.set_impure(fd.as_fd()))?;
        dir.state.lock().marks.impure = true;
        Ok(())
    }

    /// Brings the data of a metadata-only copy up. Readers go to the lower until the mark is off,
    /// so a crash on the way changes nothing.
    fn fill(&self, node: &Arc<Node>, len: u64) -> Result<()> {
        let upper = self.writable()?;
        let id = node.state.lock().lower.ok_or(Error::new(Errno::ESTALE))?;
        let from = self.files.lower(id, || self.lower.open(id))?;
        let to = {
            let _ns = self.ns.read();
            self.upper_file(node)?
        };
        let size = from.size()?;
        let at = Loc::Open(to.as_fd());
        let before = at.stat()?;
        // the kernel drops file capabilities at a write, and this is not the user's
        let caps = xattr::get(at, b"security.capability")?;
        upper.step("fill a metadata-only copy")?;
        let filled = from.copy_to(&to, len.min(size), len >= size);
        if filled.is_err() {
            // the mark still says where the data is; the room that half of it took is given back
            rustix::fs::ftruncate(&*to, 0)?;
            rustix::fs::ftruncate(&*to, before.st_size.cast_unsigned())?;
        }
        if let Some(caps) = caps {
            xattr::set(at, b"security.capability", &caps, 0)?;
        }
        let was = attr_of(&before, node.id)?;
        at.utimens(Some(SetTime::At(was.atime)), Some(SetTime::At(was.mtime)))?;
        filled?;
        if !upper.config().volatile {
            to.sync_all()?;
        }
        upper.remove_mark(at, "metacopy")?;
        node.state.lock().metacopy = false;
        self.files.forget_lower(id);
        Ok(())
    }
}
