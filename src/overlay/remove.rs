//! Names that go: unlink and rmdir.

use super::Engine;
use super::create::check_name;
use super::lookup::{Child, Side};
use super::node::{Held, Node, Place};
use crate::upper::{Upper, UpperEntry};
use crate::vfs::{Error, Kind, NodeId, Result};
use nix::errno::Errno;
use rustix::fs::OFlags;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

impl Engine {
    /// Removes a name of a file.
    pub fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        self.remove(parent, name, false)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        self.remove(parent, name, true)
    }

    fn remove(&self, parent: NodeId, name: &[u8], dir: bool) -> Result<()> {
        self.writable()?;
        check_name(name)?;
        let _ns = self.ns.write();
        let (child, side) = self
            .child_on(parent, name)?
            .ok_or(Error::new(Errno::ENOENT))?;
        let removed = self.remove_child(parent, name, dir, &child, side);
        self.forget_in_ns(child.id(), 1);
        removed
    }

    fn remove_child(
        &self,
        parent: NodeId,
        name: &[u8],
        dir: bool,
        child: &Child,
        side: Side,
    ) -> Result<()> {
        match (dir, child.kind()) {
            (true, Kind::Dir) | (false, _) => {}
            (true, _) => return Err(Error::new(Errno::ENOTDIR)),
        }
        if !dir && child.kind() == Kind::Dir {
            return Err(Error::new(Errno::EISDIR));
        }
        let upper = self.writable()?;
        if dir && !matches!(side, Side::Upper(_)) {
            self.check_empty(child)?; // before anything is copied up
        }
        let parent = self.dir_upper(parent)?;
        let fd = self.dir_fd(&parent)?;
        let side = match side {
            Side::Unasked => self.side(upper, &parent, fd.as_fd(), name)?,
            known => known,
        };
        parent.changes();
        match (side, child) {
            (Side::Upper(_), Child::Node(node)) => {
                let below = self.below(&parent, name)?.is_some();
                self.holding(node, &parent, name, || {
                    if dir && self.remove_bare(upper, node, fd.as_fd(), name, below)? {
                        return Ok(());
                    }
                    upper.remove(fd.as_fd(), name, child.kind(), below)
                })?;
            }
            (Side::Upper(_), Child::Lower(_)) => {
                return Err(Error::because(
                    Errno::EIO,
                    "upper: an entry came from nowhere",
                ));
            }
            (_, child) => self.hiding_lower(child, || upper.whiteout(fd.as_fd(), name))?,
        }
        parent.changed(-i32::from(dir));
        Ok(())
    }

    /// Which side shows a name.
    fn side(&self, upper: &Upper, parent: &Node, fd: BorrowedFd<'_>, name: &[u8]) -> Result<Side> {
        let marks = parent.state.lock().marks.clone();
        match upper.entry(fd, name, &marks)? {
            UpperEntry::Present(st) => Ok(Side::Upper(st)),
            UpperEntry::Absent => Ok(Side::Lower),
            UpperEntry::Whiteout => Err(Error::new(Errno::ENOENT)),
        }
    }

    /// Removes a directory of the upper that has nothing below it by one call, if there is nothing
    /// in it on disk: whoever removes a tree has emptied it. False: it is not gone, but shows no
    /// entry, and may be removed with what is in it.
    fn remove_bare(
        &self,
        upper: &Upper,
        node: &Arc<Node>,
        parent: BorrowedFd<'_>,
        name: &[u8],
        below: bool,
    ) -> Result<bool> {
        let bare = !below && node.state.lock().lower.is_none();
        if bare && upper.remove_empty(parent, name)? {
            return Ok(true);
        }
        self.check_empty(&Child::Node(node.clone()))?;
        Ok(false)
    }

    /// ENOTEMPTY unless the directory shows no entry.
    pub(super) fn check_empty(&self, child: &Child) -> Result<()> {
        let empty = match child {
            Child::Lower(attr) => self.lower.list(attr.ino)?.entries().is_empty(),
            Child::Node(node) if node.on_upper() => self.snapshot(node)?.is_empty(),
            Child::Node(node) => self.lower.list(node.id)?.entries().is_empty(),
        };
        if empty {
            Ok(())
        } else {
            Err(Error::new(Errno::ENOTEMPTY))
        }
    }

    /// Takes a file's name away by `step`, and keeps the file open so that it can be used on.
    /// If it has other names, a later look-up by one of them anchors it again.
    pub(super) fn holding(
        &self,
        node: &Arc<Node>,
        parent: &Node,
        name: &[u8],
        step: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if !node.is_at(parent, name) {
            return step();
        }
        let held = self.hold(node)?;
        step()?;
        node.state.lock().place = Place::Held(held);
        Ok(())
    }

    /// What keeps a file open; what is open already, if anything is.
    fn hold(&self, node: &Arc<Node>) -> Result<Held> {
        let open = match node.kind {
            Kind::File => self.files.open_upper(node.id).map(Held::Open),
            Kind::Dir => self.dirs.lock().peek(&node.id).cloned().map(Held::Path),
            _ => None,
        };
        if let Some(held) = open {
            return Ok(held);
        }
        let fd = self.with_loc(node, |l| l.open(OFlags::PATH | OFlags::NOFOLLOW))?;
        Ok(Held::Path(Arc::new(fd)))
    }
}
