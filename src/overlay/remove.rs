//! Names that go: unlink and rmdir.

use super::Engine;
use super::create::check_name;
use super::lookup::Child;
use super::node::{Node, Place};
use crate::upper::UpperEntry;
use crate::vfs::{Error, Kind, NodeId, Result};
use nix::errno::Errno;
use rustix::fs::OFlags;
use std::os::fd::AsFd;
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
        let child = self.child(parent, name)?.ok_or(Error::new(Errno::ENOENT))?;
        let removed = self.remove_child(parent, name, dir, &child);
        self.forget_in_ns(child.id(), 1);
        removed
    }

    fn remove_child(&self, parent: NodeId, name: &[u8], dir: bool, child: &Child) -> Result<()> {
        match (dir, child.kind()) {
            (true, Kind::Dir) => self.check_empty(child)?,
            (true, _) => return Err(Error::new(Errno::ENOTDIR)),
            (false, Kind::Dir) => return Err(Error::new(Errno::EISDIR)),
            (false, _) => {}
        }
        let upper = self.writable()?;
        let parent = self.dir_upper(parent)?;
        let fd = self.dir_fd(&parent)?;
        let below = self.below(&parent, name)?.is_some();
        let marks = parent.state.lock().marks.clone();
        match upper.entry(fd.as_fd(), name, &marks)? {
            UpperEntry::Present(_) => {
                let Child::Node(node) = child else {
                    return Err(Error::because(
                        Errno::EIO,
                        "upper: an entry came from nowhere",
                    ));
                };
                self.holding(node, &parent, name, || {
                    upper.remove(fd.as_fd(), name, child.kind(), below)
                })?;
            }
            UpperEntry::Absent => {
                self.hiding_lower(child, || upper.whiteout(fd.as_fd(), name))?;
            }
            UpperEntry::Whiteout => return Err(Error::new(Errno::ENOENT)),
        }
        parent.changed(-i32::from(dir));
        Ok(())
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
        let fd = self.with_loc(node, |l| l.open(OFlags::PATH | OFlags::NOFOLLOW))?;
        step()?;
        node.state.lock().place = Place::Held(Arc::new(fd));
        Ok(())
    }
}
