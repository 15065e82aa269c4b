//! Attributes: showing them and setting them.

use super::Engine;
use super::copyup::Need;
use super::node::{Group, Node, Place};
use crate::sys::{Loc, loc, xattr};
use crate::vfs::{Attr, Caller, Error, Kind, NodeId, Result, SetAttr, SetTime, Time};
use nix::errno::Errno;
use rustix::fs::Stat;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

impl Engine {
    /// The attributes of a file.
    pub fn getattr(&self, id: NodeId) -> Result<Attr> {
        let _ns = self.ns.read();
        self.attr_in_ns(id)
    }

    /// When a file was made, where that is known. A copy was made when it was copied up.
    pub fn btime(&self, id: NodeId) -> Result<Option<Time>> {
        let _ns = self.ns.read();
        let lower = match self.nodes.get(id) {
            Some(node) if node.on_upper() => return self.with_loc(&node, |l| l.btime()),
            Some(node) => node.state.lock().lower,
            None => Some(id),
        };
        lower.map_or(Ok(None), |lower| self.lower.btime(lower))
    }

    pub(super) fn attr_in_ns(&self, id: NodeId) -> Result<Attr> {
        match self.nodes.get(id) {
            Some(node) => self.node_attr(&node),
            None => self.lower_attr(self.lower.attr(id)?),
        }
    }

    /// A lower file's attributes, as shown.
    pub(super) fn lower_attr(&self, mut attr: Attr) -> Result<Attr> {
        if attr.kind != Kind::Dir && attr.nlink > 1 {
            let hidden = self.hidden_links(attr.ino)?;
            attr.nlink = attr.nlink.saturating_sub(hidden).max(1);
        }
        self.shown(attr)
    }

    /// The attributes of a file with a node, as shown.
    pub(super) fn node_attr(&self, node: &Arc<Node>) -> Result<Attr> {
        self.node_attr_of(node, None)
    }

    /// The same, with what the upper has just said of it.
    pub(super) fn node_attr_of(&self, node: &Arc<Node>, said: Option<&Stat>) -> Result<Attr> {
        let (place, lower, metacopy, unlinked) = {
            let state = node.state.lock();
            let unlinked = state.unlinked.as_deref().copied();
            (state.place.clone(), state.lower, state.metacopy, unlinked)
        };
        let stale = || Error::new(Errno::ESTALE);
        let mut attr = match place {
            Place::Lower => return self.lower_attr(self.lower.attr(lower.ok_or_else(stale)?)?),
            Place::LowerUnlinked => unlinked.ok_or_else(stale)?,
            Place::Root | Place::Upper(..) | Place::Held(_) => {
                let st = said.map_or_else(|| self.stat(node), |st| Ok(*st))?;
                loc::attr_of(&st, node.id)?
            }
        };
        if node.kind == Kind::Dir {
            attr.ctime = node.state.lock().shown_ctime(attr.ctime);
        }
        let in_tree = matches!(place, Place::Root | Place::Upper(..));
        if node.kind == Kind::Dir && in_tree && lower.is_some() {
            attr.nlink = 2 + self.subdirs(node)?;
        }
        if metacopy && let Some(lower) = lower {
            attr.blocks = self.lower.attr(lower)?.blocks;
        }
        self.shown(attr)
    }

    pub(super) fn shown(&self, mut attr: Attr) -> Result<Attr> {
        self.config.ids.show(&mut attr);
        if attr.kind == Kind::Dir && self.config.static_nlink {
            attr.nlink = 1;
        }
        Ok(attr)
    }

    /// Number of subdirectories of a merged directory.
    fn subdirs(&self, node: &Arc<Node>) -> Result<u32> {
        if let Some(n) = node.state.lock().subdirs {
            return Ok(n);
        }
        let n = self.snapshot(node)?.subdirs();
        node.state.lock().subdirs = Some(n);
        Ok(n)
    }

    /// Changes attributes, and returns all of them.
    pub fn setattr(&self, who: &Caller, id: NodeId, set: &SetAttr) -> Result<Attr> {
        let upper = self.writable()?;
        let need = match set.size {
            Some(size) => Need::Data(size),
            None => Need::Meta,
        };
        if let Some(attr) = self.unchanged_by(id, set)? {
            return Ok(attr);
        }
        let node = self.copy_up(id, need)?;
        let _ns = self.ns.read();
        if set.uid.is_some() || set.gid.is_some() {
            upper.step("chown")?;
            self.set_owner(&node, set)?;
        }
        if let Some(mode) = set.mode {
            upper.step("chmod")?;
            self.with_inode(&node, |l| {
                self.ownership.change(l, None, None, Some(mode & 0o7777))
            })?;
            node.state.lock().forget_inherited();
        }
        if let Some(size) = set.size {
            upper.step("truncate")?;
            self.truncate(who, &node, size)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            upper.step("utimens")?;
            let mut told = node.told_mtime.lock();
            self.with_inode(&node, |l| l.utimens(set.atime, set.mtime))?;
            match set.mtime {
                Some(SetTime::At(time)) => *told = Some(time),
                Some(SetTime::Now) => {
                    let attr = self.node_attr(&node)?;
                    *told = Some(attr.mtime);
                    return Ok(attr);
                }
                None => {}
            }
        }
        self.node_attr(&node)
    }

    /// The attributes of a file that is to get the modification time that it has already, where
    /// nothing has to be done for that. With the writeback cache, the kernel sends it when it has
    /// moved the time of change, as at every unlink and rename: no reason to copy a lower file up,
    /// nor to write to one that is gone but for those who use it. The time of change is then the
    /// kernel's to remember, as long as it does.
    pub fn unchanged_by(&self, id: NodeId, set: &SetAttr) -> Result<Option<Attr>> {
        let times = SetAttr {
            mtime: set.mtime,
            ..SetAttr::default()
        };
        let (Some(SetTime::At(mtime)), true) = (set.mtime, *set == times) else {
            return Ok(None);
        };
        self.writable()?;
        let _ns = self.ns.read();
        let attr = match self.nodes.get(id) {
            None => self.lower_attr(self.lower.attr(id)?)?,
            Some(node) => {
                let in_tree = matches!(node.state.lock().place, Place::Root | Place::Upper(..));
                if in_tree {
                    return Ok(None);
                }
                let attr = self.node_attr(&node)?;
                if node.on_upper() && attr.nlink > 0 {
                    return Ok(None); // it has other names
                }
                attr
            }
        };
        Ok((attr.mtime == mtime).then_some(attr))
    }

    fn set_owner(&self, node: &Arc<Node>, set: &SetAttr) -> Result<()> {
        let map = |id: Option<u32>, on_disk: &dyn Fn(u32) -> Result<Option<u32>>| {
            id.map(on_disk).transpose().map(Option::flatten)
        };
        let uid = map(set.uid, &|id| self.config.ids.uid_on_disk(id))?;
        let gid = map(set.gid, &|id| self.config.ids.gid_on_disk(id))?;
        self.with_inode(node, |l| self.ownership.change(l, uid, gid, None))?;
        node.state.lock().forget_inherited();
        Ok(())
    }

    fn truncate(&self, who: &Caller, node: &Arc<Node>, size: u64) -> Result<()> {
        match node.kind {
            Kind::File => {}
            Kind::Dir => return Err(Error::new(Errno::EISDIR)),
            _ => return Err(Error::new(Errno::EINVAL)),
        }
        let file = self.upper_file(node)?;
        rustix::fs::ftruncate(&*file, size)?;
        if who.uid != 0 {
            self.clear_suid(node)?;
        }
        Ok(())
    }

    /// Takes the setuid bit away, and the setgid bit where it means that; as a write by someone
    /// without CAP_FSETID does.
    pub(super) fn clear_suid(&self, node: &Arc<Node>) -> Result<()> {
        self.with_inode(node, |l| {
            let mode = self.ownership.stat(l)?.st_mode & 0o7777;
            let mut kept = mode & !libc::S_ISUID;
            if mode & libc::S_IXGRP != 0 {
                kept &= !libc::S_ISGID;
            }
            if kept != mode {
                self.ownership.change(l, None, None, Some(kept))?;
            }
            Ok(())
        })
    }

    /// The target of a symlink.
    pub fn readlink(&self, id: NodeId) -> Result<Vec<u8>> {
        let _ns = self.ns.read();
        match self.nodes.get(id) {
            Some(node) if node.on_upper() => self.with_loc(&node, |l| l.readlink()),
            _ => self.lower.readlink(id),
        }
    }

    /// The default ACL of a directory in the upper.
    pub(super) fn default_acl(&self, dir: &Arc<Node>) -> Result<Option<Vec<u8>>> {
        if !self.writable()?.config().acl || dir.state.lock().default_acl == Some(false) {
            return Ok(None);
        }
        let fd = self.dir_fd(dir)?;
        let acl = xattr::get(Loc::Fd(fd.as_fd()), b"system.posix_acl_default")?;
        dir.state.lock().default_acl = Some(acl.is_some());
        Ok(acl)
    }

    /// Whose group a new entry of a directory in the upper gets. Under the namespace lock, writing.
    pub(super) fn group_in(&self, dir: &Arc<Node>, fd: &OwnedFd) -> Result<Group> {
        if let Some(group) = dir.state.lock().group {
            return Ok(group);
        }
        let st = self.ownership.stat(Loc::Fd(fd.as_fd()))?;
        let group = match st.st_mode & libc::S_ISGID {
            0 => Group::Makers,
            _ => Group::Dirs(st.st_gid),
        };
        dir.state.lock().group = Some(group);
        Ok(group)
    }
}
