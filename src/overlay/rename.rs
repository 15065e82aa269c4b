//! Renaming: files and directories from any layer.
//!
//! A directory of the lower moves in O(1): its upper part carries a redirect to where the lower
//! has the rest. Marks go onto the source before it moves, where they change nothing yet, and the
//! target is made ready to be replaced; then one rename does it, whiteout at the old name included.

use super::Engine;
use super::copyup::Need;
use super::create::check_name;
use super::lookup::Child;
use super::node::{Node, Place};
use crate::upper::{Over, Upper, UpperEntry};
use crate::vfs::{Error, Kind, NodeId, Result};
use nix::errno::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// One end of a rename, made ready in the upper.
struct End {
    dir: Arc<Node>,
    fd: Arc<OwnedFd>,
    name: Box<[u8]>,
}

impl End {
    fn at(&self) -> (std::os::fd::BorrowedFd<'_>, &[u8]) {
        (self.fd.as_fd(), &self.name)
    }
}

impl Engine {
    /// Renames; `flags` are `RENAME_NOREPLACE`, `RENAME_EXCHANGE` and `RENAME_WHITEOUT` (after
    /// which the old name shows as missing, as after any rename here).
    pub fn rename(
        &self,
        parent: NodeId,
        name: &[u8],
        to: NodeId,
        to_name: &[u8],
        flags: u32,
    ) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        check_name(to_name)?;
        let known = libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE | libc::RENAME_WHITEOUT;
        let exchange = flags & libc::RENAME_EXCHANGE != 0;
        if flags & !known != 0 || exchange && flags != libc::RENAME_EXCHANGE {
            return Err(Error::new(Errno::EINVAL));
        }
        loop {
            let ns = self.ns.write();
            let from = self.child(parent, name)?.ok_or(Error::new(Errno::ENOENT))?;
            let target = match self.child(to, to_name) {
                Ok(target) => target,
                Err(e) => {
                    self.forget_in_ns(from.id(), 1);
                    return Err(e);
                }
            };
            let done = match (exchange, &target) {
                (true, None) => Err(Error::new(Errno::ENOENT)),
                (true, Some(target)) => self.swap((parent, name, &from), (to, to_name, target)),
                (false, Some(_)) if flags & libc::RENAME_NOREPLACE != 0 => {
                    Err(Error::new(Errno::EEXIST))
                }
                (false, target) => {
                    self.replace((parent, name, &from), (to, to_name, target.as_ref()))
                }
            };
            self.forget_in_ns(from.id(), 1);
            if let Some(target) = target {
                self.forget_in_ns(target.id(), 1);
            }
            match done {
                // a lower file, which somebody may have put there just now
                Err(e) if e.is(Errno::EAGAIN) => {}
                other => return other,
            }
            drop(ns);
            self.copy_up_named(parent, name)?;
            if exchange {
                self.copy_up_named(to, to_name)?;
            }
        }
    }

    /// Copies a file up by its name, with no lock held while its data is copied.
    fn copy_up_named(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let child = {
            let _ns = self.ns.read();
            self.child(parent, name)?.ok_or(Error::new(Errno::ENOENT))?
        };
        let id = child.id();
        let up = match child.kind() {
            Kind::Dir => Ok(()),
            _ => self.copy_up(id, Need::Meta).map(|_| ()),
        };
        self.forget(id, 1);
        up
    }

    /// The node of a rename's source, in the upper.
    fn source(&self, child: &Child) -> Result<Arc<Node>> {
        match child {
            _ if child.kind() == Kind::Dir => self.dir_upper(child.id()),
            Child::Node(node) if node.on_upper() => Ok(node.clone()),
            _ => Err(Error::new(Errno::EAGAIN)),
        }
    }

    /// The end that gets a name.
    fn new_end(&self, dir: NodeId, name: &[u8]) -> Result<End> {
        self.check_new_name(name)?;
        self.end(dir, name)
    }

    fn end(&self, dir: NodeId, name: &[u8]) -> Result<End> {
        let dir = self.dir_upper(dir)?;
        let fd = self.dir_fd(&dir)?;
        Ok(End {
            dir,
            fd,
            name: name.into(),
        })
    }

    fn replace(
        &self,
        (parent, name, child): (NodeId, &[u8], &Child),
        (to, to_name, target): (NodeId, &[u8], Option<&Child>),
    ) -> Result<()> {
        if target.is_some_and(|t| t.id() == child.id()) {
            return Ok(()); // two names of one file: POSIX leaves both
        }
        let is_dir = child.kind() == Kind::Dir;
        if let Some(target) = target {
            match (is_dir, target.kind() == Kind::Dir) {
                (true, false) => return Err(Error::new(Errno::ENOTDIR)),
                (false, true) => return Err(Error::new(Errno::EISDIR)),
                (true, true) => self.check_empty(target)?,
                (false, false) => {}
            }
        }
        if is_dir && self.is_within(to, child.id())? {
            return Err(Error::new(Errno::EINVAL));
        }
        let upper = self.writable()?;
        let source = self.source(child)?;
        let from = self.end(parent, name)?;
        let dest = self.new_end(to, to_name)?;
        from.dir.changes();
        dest.dir.changes();
        self.mark_for(upper, &source, &dest)?;
        let over = self.clear_target(upper, &dest, target)?;
        let whiteout = self.below(&from.dir, name)?.is_some();
        let step = || upper.rename(from.at(), dest.at(), source.kind, whiteout, over);
        match (target, over) {
            (Some(Child::Node(node)), Over::File | Over::Dir) => {
                self.holding(node, &dest.dir, to_name, step)?;
            }
            (Some(target), Over::Nothing) => self.hiding_lower(target, step)?,
            _ => step()?,
        }
        self.moved(&source, &from, &dest);
        from.dir.changed(-i32::from(is_dir));
        let replaced = target.is_some_and(|t| t.kind() == Kind::Dir);
        dest.dir.changed(i32::from(is_dir) - i32::from(replaced));
        Ok(())
    }

    fn swap(
        &self,
        (parent, name, child): (NodeId, &[u8], &Child),
        (to, to_name, other): (NodeId, &[u8], &Child),
    ) -> Result<()> {
        if child.id() == other.id() {
            return Ok(());
        }
        let dir = |c: &Child| c.kind() == Kind::Dir;
        if dir(child) && self.is_within(to, child.id())?
            || dir(other) && self.is_within(parent, other.id())?
        {
            return Err(Error::new(Errno::EINVAL));
        }
        let upper = self.writable()?;
        let (a, b) = (self.source(child)?, self.source(other)?);
        let (at_a, at_b) = (self.end(parent, name)?, self.end(to, to_name)?);
        self.mark_for(upper, &a, &at_b)?;
        self.mark_for(upper, &b, &at_a)?;
        at_a.dir.changes();
        at_b.dir.changes();
        upper.exchange(at_a.at(), at_b.at())?;
        let (was_a, was_b) = (a.is_at(&at_a.dir, name), b.is_at(&at_b.dir, to_name));
        let place = |node: &Arc<Node>, end: &End| {
            node.state.lock().place = Place::Upper(end.dir.clone(), end.name.clone());
        };
        if was_a {
            place(&a, &at_b);
        }
        if was_b {
            place(&b, &at_a);
        }
        let gain = i32::from(dir(other)) - i32::from(dir(child));
        at_a.dir.changed(gain);
        at_b.dir.changed(-gain);
        Ok(())
    }

    /// Writes the marks that a file needs where it is about to be. They change nothing where it is.
    fn mark_for(&self, upper: &Upper, node: &Arc<Node>, dest: &End) -> Result<()> {
        let (lower, alias, metacopy, opaque) = {
            let s = node.state.lock();
            (s.lower, s.alias, s.metacopy, s.marks.opaque)
        };
        if node.kind != Kind::Dir {
            if alias.is_some() || metacopy {
                self.make_impure(&dest.dir)?;
            }
            return self.mark_data(upper, node);
        }
        match lower {
            Some(lower) => {
                if !upper.redirects() {
                    return Err(Error::because(
                        Errno::EXDEV,
                        "redirects are switched off, or cannot be written down",
                    ));
                }
                let path = self.redirect_to(lower)?.ok_or_else(|| {
                    Error::because(Errno::EXDEV, "path in the lower is too long for a redirect")
                })?;
                self.make_impure(&dest.dir)?;
                self.with_loc(node, |l| upper.set_mark(l, "redirect", &path))
            }
            None if !opaque && self.below(&dest.dir, &dest.name)? == Some(Kind::Dir) => {
                self.with_loc(node, |l| upper.set_opaque(l))?;
                node.state.lock().marks.opaque = true;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Writes down where the data of a metadata-only copy is, before the copy gets another name.
    /// Ours say it from the start; the kernel's overlayfs leaves it out as long as the name is
    /// the same.
    pub(super) fn mark_data(&self, upper: &Upper, node: &Arc<Node>) -> Result<()> {
        let lower = {
            let state = node.state.lock();
            state.lower.filter(|_| state.metacopy)
        };
        let Some(lower) = lower else { return Ok(()) };
        let path = self.redirect_to(lower)?.ok_or_else(|| {
            Error::because(Errno::EXDEV, "path in the lower is too long for a redirect")
        })?;
        self.with_loc(node, |l| upper.set_mark(l, "redirect", &path))
    }

    /// Makes the target ready to be replaced: a directory must be empty on disk, too.
    fn clear_target(&self, upper: &Upper, dest: &End, target: Option<&Child>) -> Result<Over> {
        let marks = dest.dir.state.lock().marks.clone();
        match upper.entry(dest.fd.as_fd(), &dest.name, &marks)? {
            UpperEntry::Absent => Ok(Over::Nothing),
            UpperEntry::Whiteout => self.whiteout_place(&dest.fd, &dest.name),
            UpperEntry::Present(_) => match target {
                Some(Child::Node(node)) if node.kind == Kind::Dir => {
                    let fd = self.dir_fd(node)?;
                    let below = self.below(&dest.dir, &dest.name)? == Some(Kind::Dir);
                    // it shows nothing already; now that is written down, and its whiteouts can go
                    upper.make_empty(fd.as_fd(), dest.fd.as_fd(), &dest.name, below)?;
                    node.state.lock().marks.opaque = upper.keeps_marks();
                    Ok(Over::Dir)
                }
                Some(_) => Ok(Over::File),
                None => Err(Error::because(
                    Errno::EIO,
                    "upper: an entry came from nowhere",
                )),
            },
        }
    }

    fn moved(&self, node: &Arc<Node>, from: &End, dest: &End) {
        if node.is_at(&from.dir, &from.name) {
            node.state.lock().place = Place::Upper(dest.dir.clone(), dest.name.clone());
        }
    }

    /// True if directory `id` is `of`, or beneath it.
    fn is_within(&self, id: NodeId, of: NodeId) -> Result<bool> {
        let mut at = id;
        loop {
            if at == of {
                return Ok(true);
            }
            let up = self.parent_of(at)?;
            if up == at {
                return Ok(false);
            }
            at = up;
        }
    }
}
