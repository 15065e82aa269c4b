//! New names: files, directories, links.

use super::Engine;
use super::copyup::Need;
use super::node::{Group, Node, Place};
use crate::sys::{Loc, Owned, loc};
use crate::upper::{Over, Upper, UpperEntry};
use crate::vfs::whiteout::{AufsName, NAME_MAX, aufs_name};
use crate::vfs::{Attr, Caller, Error, Kind, NodeId, Result};
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A file to be made.
struct New<'a> {
    kind: Kind,
    mode: u32,
    umask: u32,
    rdev: u64,
    target: &'a [u8],
}

/// What a new entry gets from its maker and its directory.
struct Inherited {
    /// The directory's default ACL.
    acl: Option<Vec<u8>>,
    perm: u32,
    uid: u32,
    gid: u32,
    /// The group is the directory's.
    setgid: bool,
}

impl Engine {
    /// Makes a regular file.
    pub fn create(
        &self,
        who: &Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
    ) -> Result<Attr> {
        self.make(
            who,
            parent,
            name,
            &New {
                kind: Kind::File,
                mode,
                umask,
                rdev: 0,
                target: b"",
            },
        )
    }

    /// Makes a file of any type but directory and symlink; `mode` says which.
    pub fn mknod(
        &self,
        who: &Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
        rdev: u64,
    ) -> Result<Attr> {
        let kind = match Kind::from_mode(mode) {
            Some(Kind::Dir | Kind::Symlink) => return Err(Error::new(Errno::EINVAL)),
            Some(kind) => kind,
            None if mode & libc::S_IFMT == 0 => Kind::File,
            None => return Err(Error::new(Errno::EINVAL)),
        };
        if kind == Kind::CharDev && rdev == 0 {
            return Err(Error::because(
                Errno::EPERM,
                "a character device 0:0 is how a missing file is written down",
            ));
        }
        self.make(
            who,
            parent,
            name,
            &New {
                kind,
                mode,
                umask,
                rdev,
                target: b"",
            },
        )
    }

    /// Makes a directory.
    pub fn mkdir(
        &self,
        who: &Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        umask: u32,
    ) -> Result<Attr> {
        self.make(
            who,
            parent,
            name,
            &New {
                kind: Kind::Dir,
                mode,
                umask,
                rdev: 0,
                target: b"",
            },
        )
    }

    /// Makes a symlink.
    pub fn symlink(
        &self,
        who: &Caller,
        parent: NodeId,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attr> {
        self.make(
            who,
            parent,
            name,
            &New {
                kind: Kind::Symlink,
                mode: 0o777,
                umask: 0,
                rdev: 0,
                target,
            },
        )
    }

    fn make(&self, who: &Caller, parent: NodeId, name: &[u8], new: &New<'_>) -> Result<Attr> {
        let upper = self.writable()?;
        check_name(name)?;
        let _ns = self.ns.write();
        let dir = self.dir_upper(parent)?;
        let fd = self.dir_fd(&dir)?;
        let gets = self.inherited(who, &dir, &fd, new)?;
        let (file, opaque) = self.make_at(upper, &dir, &fd, name, new, &gets)?;
        dir.changed(i32::from(new.kind == Kind::Dir));
        let at = match &file {
            Some(file) => Loc::Open(file.as_fd()),
            None => Loc::At(fd.as_fd(), name),
        };
        let st = self.ownership.stat(at)?;
        let own = self.space.node(st.st_dev, st.st_ino);
        let node = Node::new(own, new.kind, Place::Upper(dir.clone(), name.into()), None);
        {
            let mut state = node.state.lock();
            state.marks.opaque = opaque;
            state.subdirs = Some(0);
            state.no_capability = true;
            // what is there to inherit comes from the directory
            let none = dir.state.lock().default_acl == Some(false);
            state.default_acl = none.then_some(false);
        }
        let (node, fresh) = self.nodes.insert(node, 1);
        if !fresh {
            return Err(Error::because(
                Errno::EIO,
                "a new file has the number of one in use",
            ));
        }
        if let Some(file) = file {
            self.files.made_upper(node.id, file);
        }
        let attr = self.shown(loc::attr_of(&st, node.id)?)?;
        *node.told_mtime.lock() = Some(attr.mtime);
        Ok(attr)
    }

    /// What the lower has under a name, hidden or not.
    pub(super) fn below(&self, dir: &Node, name: &[u8]) -> Result<Option<Kind>> {
        let lower = dir.state.lock().lower;
        match lower {
            Some(lower) => self.lower.contains(lower, name),
            None => Ok(None),
        }
    }

    /// What a new entry is put over; EEXIST if the name is taken.
    pub(super) fn free_place(
        &self,
        upper: &Upper,
        dir: &Arc<Node>,
        fd: &OwnedFd,
        name: &[u8],
    ) -> Result<Over> {
        self.check_new_name(name)?;
        let marks = dir.state.lock().marks.clone();
        match upper.entry(fd.as_fd(), name, &marks)? {
            UpperEntry::Present(_) => Err(Error::new(Errno::EEXIST)),
            UpperEntry::Whiteout => Ok(self.whiteout_place(fd, name)?),
            UpperEntry::Absent if self.below(dir, name)?.is_some() => {
                Err(Error::new(Errno::EEXIST))
            }
            UpperEntry::Absent => Ok(Over::Nothing),
        }
    }

    /// A whiteout of AUFS's form leaves the name itself free, and hides only what is below.
    pub(super) fn whiteout_place(&self, fd: &OwnedFd, name: &[u8]) -> Result<Over> {
        let there = crate::vfs::error::absent_ok(Loc::At(fd.as_fd(), name).stat())?;
        Ok(if there.is_some() {
            Over::Whiteout
        } else {
            Over::Nothing
        })
    }

    /// What a new entry gets from its maker and its directory.
    fn inherited(
        &self,
        who: &Caller,
        dir: &Arc<Node>,
        fd: &OwnedFd,
        new: &New<'_>,
    ) -> Result<Inherited> {
        let acl = match new.kind {
            Kind::Symlink => None,
            _ => self.default_acl(dir)?,
        };
        let perm = match &acl {
            Some(_) => new.mode & 0o7777,
            None => new.mode & 0o7777 & !new.umask,
        };
        let (setgid, gid) = match self.group_in(dir, fd)? {
            Group::Dirs(gid) => (true, gid),
            Group::Makers => (false, self.config.ids.gid_of_made(who.gid, self.own.1)?),
        };
        Ok(Inherited {
            acl,
            perm,
            uid: self.config.ids.uid_of_made(who.uid, self.own.0)?,
            gid,
            setgid,
        })
    }

    /// Makes the entry. Returns the file, where it was opened, and whether a directory hides what
    /// the lower has there.
    fn make_at(
        &self,
        upper: &Upper,
        dir: &Arc<Node>,
        fd: &OwnedFd,
        name: &[u8],
        new: &New<'_>,
        gets: &Inherited,
    ) -> Result<(Option<File>, bool)> {
        self.check_new_name(name)?;
        let below = self.below(dir, name)?;
        let ours = gets.uid == self.own.0 && (gets.setgid || gets.gid == self.own.1);
        let plain = ours && !self.ownership.is_overridden();
        if plain && below.is_none() {
            // nobody looks whether the name is free: if it is not, the call says so
            match Engine::make_plain(upper, fd.as_fd(), name, new, gets.perm) {
                Err(e) if e.is(Errno::EEXIST) => {} // perhaps a whiteout, which hides nothing
                made => return Ok((made?, false)),
            }
        }
        let over = self.free_place(upper, dir, fd, name)?;
        let opaque = new.kind == Kind::Dir && below == Some(Kind::Dir);
        if plain && over == Over::Nothing && !opaque {
            let made = Engine::make_plain(upper, fd.as_fd(), name, new, gets.perm)?;
            return Ok((made, false));
        }
        let (staged, file) = match (&gets.acl, new.kind) {
            (Some(acl), kind) => {
                let staged = upper.stage_under_acl(acl, kind, gets.perm, new.rdev)?;
                (staged, None)
            }
            (None, Kind::File) => {
                let (staged, file) = upper.stage_file(gets.perm)?;
                (staged, Some(file))
            }
            (None, kind) => {
                let kind = self.ownership.kind_on_disk(kind);
                (upper.stage(kind, gets.perm, new.rdev, new.target)?, None)
            }
        };
        let at = match &file {
            Some(file) => Loc::Open(file.as_fd()),
            None => upper.staged(&staged),
        };
        let ready = self.dress(upper, at, new, gets, opaque);
        if let Err(e) = ready {
            upper.discard(staged);
            return Err(e);
        }
        upper.publish(staged, fd.as_fd(), name, over)?;
        Ok((file, opaque))
    }

    /// Right in the tree: nothing to cover, and the owner is who we are.
    fn make_plain(
        upper: &Upper,
        fd: BorrowedFd<'_>,
        name: &[u8],
        new: &New<'_>,
        perm: u32,
    ) -> Result<Option<File>> {
        match new.kind {
            Kind::File => return upper.create_file(fd, name, perm).map(Some),
            Kind::Symlink => {
                upper.step("symlink")?;
                rustix::fs::symlinkat(new.target, fd, name)?;
            }
            kind => upper.create(fd, name, kind, perm, new.rdev)?,
        }
        Ok(None)
    }

    fn dress(
        &self,
        upper: &Upper,
        at: Loc<'_>,
        new: &New<'_>,
        gets: &Inherited,
        opaque: bool,
    ) -> Result<()> {
        // what a default ACL made of the mode is on the file already
        let perm = match gets.acl {
            None => gets.perm,
            Some(_) => at.stat()?.st_mode & 0o777 | new.mode & 0o7000,
        };
        let inherited = if gets.setgid && new.kind == Kind::Dir {
            libc::S_ISGID
        } else {
            0
        };
        let owned = Owned {
            uid: gets.uid,
            gid: gets.gid,
            perm: perm | inherited,
            kind: new.kind,
            rdev: new.rdev,
        };
        match gets.acl {
            Some(_) => self.ownership.set(at, &owned)?,
            None => upper.own(at, &owned)?,
        }
        if opaque {
            upper.set_opaque(at)?;
        }
        Ok(())
    }

    /// Gives a file another name.
    pub fn link(&self, id: NodeId, parent: NodeId, name: &[u8]) -> Result<Attr> {
        let upper = self.writable()?;
        check_name(name)?;
        let node = self.copy_up(id, Need::Meta)?;
        if node.kind == Kind::Dir {
            return Err(Error::new(Errno::EPERM));
        }
        let _ns = self.ns.write();
        let dir = self.dir_upper(parent)?;
        let fd = self.dir_fd(&dir)?;
        let over = self.free_place(upper, &dir, &fd, name)?;
        if node.state.lock().alias.is_some() || node.state.lock().metacopy {
            self.make_impure(&dir)?;
        }
        self.mark_data(upper, &node)?;
        match over {
            Over::Nothing => {
                upper.step("link")?;
                self.with_loc(&node, |l| l.link(fd.as_fd(), name))?;
            }
            _ => {
                let staged = self.with_loc(&node, |l| upper.stage_link(l, node.kind))?;
                upper.publish(staged, fd.as_fd(), name, over)?;
            }
        }
        let mut state = node.state.lock();
        if matches!(state.place, Place::Held(_)) {
            state.place = Place::Upper(dir.clone(), name.into());
        }
        drop(state);
        dir.changed(0);
        self.nodes.count(node.id);
        self.node_attr(&node)
    }
}

/// Names that no directory can hold.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(Error::new(Errno::ENAMETOOLONG));
    }
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0)
    {
        return Err(Error::new(Errno::EINVAL));
    }
    Ok(())
}

impl Engine {
    /// Refuses names that, at the next mount, would say that another is missing.
    pub(super) fn check_new_name(&self, name: &[u8]) -> Result<()> {
        if !self.writable()?.names_are_marks() || aufs_name(name) == AufsName::Plain {
            return Ok(());
        }
        Err(Error::because(
            Errno::EPERM,
            "in this upper, a name that begins with .wh. is how a missing file is written down",
        ))
    }
}
