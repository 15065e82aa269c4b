//! Files without a name (`O_TMPFILE`): they get one later, or never.

use super::Engine;
use super::node::{Group, Held, Node, Place};
use crate::sys::{Loc, Owned};
use crate::vfs::{Attr, Caller, Error, Kind, NodeId, Result};
use nix::errno::Errno;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

impl Engine {
    /// Makes a regular file without a name, with what a file made in `dir` inherits. EOPNOTSUPP
    /// where the upper's file system has no such files.
    pub fn tmpfile(&self, who: &Caller, dir: NodeId, mode: u32, umask: u32) -> Result<Attr> {
        let upper = self.writable()?;
        let _ns = self.ns.write();
        let dir = self.dir_upper(dir)?;
        let dir_fd = self.dir_fd(&dir)?;
        // the file system applies a default ACL, which takes the place of the umask
        let masked = match self.default_acl(&dir)? {
            Some(_) => mode & 0o7777,
            None => mode & 0o7777 & !umask,
        };
        upper.step("make a file without a name")?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*dir_fd, c".", flags, Mode::from_raw_mode(masked))?;
        let made = Loc::Fd(fd.as_fd()).stat()?;
        let gid = match self.group_in(&dir, &dir_fd)? {
            Group::Makers => self.config.ids.gid_of_made(who.gid, self.own.1)?,
            Group::Dirs(gid) => gid,
        };
        let owned = Owned {
            uid: self.config.ids.uid_of_made(who.uid, self.own.0)?,
            gid,
            perm: made.st_mode & 0o777 | masked & 0o7000,
            kind: Kind::File,
            rdev: 0,
        };
        self.ownership.set(Loc::Open(fd.as_fd()), &owned)?;
        let id = self.space.node(made.st_dev, made.st_ino);
        let held = Held::Open(Arc::new(File::from(fd)));
        let node = Node::new(id, Kind::File, Place::Held(held), None);
        let (node, fresh) = self.nodes.insert(node, 1);
        if !fresh {
            let why = "a new file has the number of one in use";
            return Err(Error::because(Errno::EIO, why));
        }
        let attr = self.node_attr(&node)?;
        *node.told_mtime.lock() = Some(attr.mtime);
        node.state.lock().no_capability = true;
        Ok(attr)
    }
}
