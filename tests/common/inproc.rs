//! A [`Subject`] that is an engine in this process. It does what the kernel does before it asks a
//! file system: it resolves paths by lookups, refuses names that exist, takes set-id bits away at
//! chown.

use super::op::SLOTS;
use super::posix::{R, Stamp};
use super::subject::{Name, Stat, Subject};
use super::tree::Tree;
use vellum::overlay::Engine;
use vellum::vfs::{Attr, Caller, Kind, NodeId, SetAttr, SetTime, Time};

const ROOT: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 0,
};

/// An engine used by path.
pub struct InProcess {
    pub engine: Engine,
    /// Lookups are given back after every operation, as a kernel short of memory does. Otherwise
    /// they never are.
    forgetful: bool,
    /// Lookups to give back.
    pub(super) taken: Vec<NodeId>,
    held: [Option<(NodeId, bool)>; SLOTS + 1],
    listing: Option<(NodeId, u64)>,
}

pub(super) fn errno(e: vellum::vfs::Error) -> i32 {
    e.errno() as i32
}

impl InProcess {
    pub fn new(engine: Engine, forgetful: bool) -> InProcess {
        InProcess {
            engine,
            forgetful,
            taken: Vec::new(),
            held: Default::default(),
            listing: None,
        }
    }

    pub(super) fn give_back(&mut self) {
        if self.forgetful {
            for id in self.taken.drain(..) {
                self.engine.forget(id, 1);
            }
        }
    }

    pub(super) fn look(&mut self, dir: NodeId, name: &[u8]) -> R<Option<Attr>> {
        let found = self.engine.lookup(dir, name).map_err(errno)?;
        if let Some(attr) = &found {
            self.taken.push(attr.ino);
        }
        Ok(found)
    }

    fn find(&mut self, path: &str) -> R<Attr> {
        let mut at = self.engine.getattr(NodeId::ROOT).map_err(errno)?;
        for name in path.split('/').filter(|p| !p.is_empty()) {
            if at.kind != Kind::Dir {
                return Err(libc::ENOTDIR);
            }
            at = self.look(at.ino, name.as_bytes())?.ok_or(libc::ENOENT)?;
        }
        Ok(at)
    }

    fn parent<'p>(&mut self, path: &'p str) -> R<(NodeId, &'p [u8])> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let attr = self.find(dir)?;
        if attr.kind != Kind::Dir {
            return Err(libc::ENOTDIR);
        }
        Ok((attr.ino, name.as_bytes()))
    }

    /// The parent of a name that must not exist.
    fn free<'p>(&mut self, path: &'p str) -> R<(NodeId, &'p [u8])> {
        let (dir, name) = self.parent(path)?;
        match self.look(dir, name)? {
            Some(_) => Err(libc::EEXIST),
            None => Ok((dir, name)),
        }
    }

    /// What the kernel looks at before it asks: do the names exist, and may they.
    fn check_rename(&mut self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), flags: u32) -> R<()> {
        self.look(from.0, from.1)?.ok_or(libc::ENOENT)?;
        let target = self.look(to.0, to.1)?;
        if flags & libc::RENAME_NOREPLACE != 0 && target.is_some() {
            return Err(libc::EEXIST);
        }
        if flags & libc::RENAME_EXCHANGE != 0 && target.is_none() {
            return Err(libc::ENOENT);
        }
        Ok(())
    }

    fn held(&self, slot: usize) -> R<(NodeId, bool)> {
        self.held[slot].ok_or(libc::EBADF)
    }

    fn writer(&self, slot: usize, or: i32) -> R<NodeId> {
        match self.held(slot)? {
            (id, true) => Ok(id),
            (_, false) => Err(or),
        }
    }

    fn set(&mut self, id: NodeId, set: SetAttr) -> R<()> {
        self.engine.setattr(&ROOT, id, &set).map_err(errno)?;
        Ok(())
    }

    fn made(&mut self, made: vellum::vfs::Result<Attr>) -> R<()> {
        self.taken.push(made.map_err(errno)?.ino);
        Ok(())
    }
}

fn stat_of(a: &Attr) -> Stat {
    Stat {
        mode: a.kind.mode() | a.perm,
        uid: a.uid,
        gid: a.gid,
        nlink: a.nlink.into(),
        size: a.size,
        rdev: a.rdev,
        atime: (a.atime.sec, a.atime.nsec.into()),
        mtime: (a.mtime.sec, a.mtime.nsec.into()),
    }
}

fn set_time((sec, nsec): Stamp) -> Option<SetTime> {
    match nsec {
        libc::UTIME_OMIT => None,
        libc::UTIME_NOW => Some(SetTime::Now),
        _ => Some(SetTime::At(Time {
            sec,
            nsec: nsec as u32,
        })),
    }
}

/// Runs the body, then gives the lookups back, whatever came out.
macro_rules! then_forget {
    ($self:ident, $body:expr) => {{
        let mut body = || $body;
        let out = body();
        $self.give_back();
        out
    }};
}

impl Subject for InProcess {
    fn stat(&mut self, path: &str) -> R<Stat> {
        then_forget!(self, self.find(path).map(|a| stat_of(&a)))
    }
    fn create(&mut self, path: &str, mode: u32) -> R<()> {
        then_forget!(self, {
            let (dir, name) = self.free(path)?;
            let made = self.engine.create(&ROOT, dir, name, mode, 0);
            self.made(made)
        })
    }
    fn mkdir(&mut self, path: &str, mode: u32) -> R<()> {
        // the kernel takes set-id bits off the mode of mkdir(2): S_IRWXUGO | S_ISVTX is passed on
        let mode = mode & 0o1777;
        then_forget!(self, {
            let (dir, name) = self.free(path)?;
            let made = self.engine.mkdir(&ROOT, dir, name, mode, 0);
            self.made(made)
        })
    }
    fn mknod(&mut self, path: &str, mode: u32, rdev: u64) -> R<()> {
        then_forget!(self, {
            let (dir, name) = self.free(path)?;
            let made = self.engine.mknod(&ROOT, dir, name, mode, 0, rdev);
            self.made(made)
        })
    }
    fn symlink(&mut self, path: &str, target: &str) -> R<()> {
        then_forget!(self, {
            let (dir, name) = self.free(path)?;
            if target.is_empty() {
                return Err(libc::ENOENT);
            }
            let made = self.engine.symlink(&ROOT, dir, name, target.as_bytes());
            self.made(made)
        })
    }
    fn readlink(&mut self, path: &str) -> R<Vec<u8>> {
        then_forget!(self, {
            let id = self.find(path)?.ino;
            self.engine.readlink(id).map_err(errno)
        })
    }
    fn link(&mut self, from: &str, to: &str) -> R<()> {
        then_forget!(self, {
            let id = self.find(from)?.ino;
            let (dir, name) = self.free(to)?;
            let made = self.engine.link(id, dir, name);
            self.made(made)
        })
    }
    fn unlink(&mut self, path: &str) -> R<()> {
        then_forget!(self, {
            let (dir, name) = self.parent(path)?;
            self.engine.unlink(dir, name).map_err(errno)
        })
    }
    fn rmdir(&mut self, path: &str) -> R<()> {
        then_forget!(self, {
            let (dir, name) = self.parent(path)?;
            self.engine.rmdir(dir, name).map_err(errno)
        })
    }
    fn rename(&mut self, from: &str, to: &str, flags: u32) -> R<()> {
        then_forget!(self, {
            let (dir, name) = self.parent(from)?;
            let (to_dir, to_name) = self.parent(to)?;
            self.check_rename((dir, name), (to_dir, to_name), flags)?;
            let beneath = |path: &str, of: &str| {
                path.strip_prefix(of)
                    .is_some_and(|rest| rest.starts_with('/'))
            };
            if beneath(to, from) {
                return Err(libc::EINVAL);
            }
            if beneath(from, to) {
                return match flags & libc::RENAME_EXCHANGE {
                    0 => Err(libc::ENOTEMPTY),
                    _ => Err(libc::EINVAL),
                };
            }
            self.engine
                .rename(dir, name, to_dir, to_name, flags)
                .map_err(errno)
        })
    }
    fn chmod(&mut self, path: &str, mode: u32) -> R<()> {
        then_forget!(self, {
            let id = self.find(path)?.ino;
            let set = SetAttr {
                mode: Some(mode),
                ..SetAttr::default()
            };
            self.set(id, set)
        })
    }
    fn chown(&mut self, path: &str, uid: u32, gid: u32) -> R<()> {
        then_forget!(self, {
            let attr = self.find(path)?;
            let mut kept = attr.perm & !libc::S_ISUID;
            if attr.perm & libc::S_IXGRP != 0 {
                kept &= !libc::S_ISGID;
            }
            let set = SetAttr {
                uid: Some(uid),
                gid: Some(gid),
                mode: (attr.kind != Kind::Dir && kept != attr.perm).then_some(kept),
                ..SetAttr::default()
            };
            self.set(attr.ino, set)
        })
    }
    fn utimens(&mut self, path: &str, atime: Stamp, mtime: Stamp) -> R<()> {
        then_forget!(self, {
            let id = self.find(path)?.ino;
            let (atime, mtime) = (set_time(atime), set_time(mtime));
            if atime.is_none() && mtime.is_none() {
                return Ok(());
            }
            self.set(
                id,
                SetAttr {
                    atime,
                    mtime,
                    ..SetAttr::default()
                },
            )
        })
    }
    fn setxattr(&mut self, path: &str, name: &str, value: &[u8], flags: i32) -> R<()> {
        then_forget!(self, {
            let id = self.find(path)?.ino;
            self.engine
                .setxattr(&ROOT, id, name.as_bytes(), value, flags)
                .map_err(errno)
        })
    }
    fn getxattr(&mut self, path: &str, name: &str) -> R<Vec<u8>> {
        then_forget!(self, {
            let id = self.find(path)?.ino;
            self.engine.getxattr(id, name.as_bytes()).map_err(errno)
        })
    }
    fn removexattr(&mut self, path: &str, name: &str) -> R<()> {
        then_forget!(self, {
            let id = self.find(path)?.ino;
            self.engine.removexattr(id, name.as_bytes()).map_err(errno)
        })
    }
    fn copy_range(&mut self, from: &str, at: u64, to: &str, to_at: u64, len: usize) -> R<usize> {
        then_forget!(self, {
            let (from, to) = (self.find(from)?, self.find(to)?);
            // generic_copy_file_checks: past the end nothing is copied, and nobody is asked
            let len = (len as u64).min(from.size.saturating_sub(at));
            if from.ino == to.ino && at < to_at + len && to_at < at + len {
                return Err(libc::EINVAL);
            }
            if len == 0 {
                return Ok(0);
            }
            self.engine
                .copy_file_range(from.ino, at, to.ino, to_at, len)
                .map_err(errno)
        })
    }

    fn hold(&mut self, slot: usize, path: &str, write: bool) -> R<()> {
        let id = self.find(path)?.ino;
        self.taken.pop(); // this lookup stays
        self.give_back();
        if let Some((old, _)) = self.held[slot].replace((id, write)) {
            self.engine.forget(old, 1);
        }
        Ok(())
    }
    fn release(&mut self, slot: usize) -> R<()> {
        let (id, _) = self.held[slot].take().ok_or(libc::EBADF)?;
        self.engine.forget(id, 1);
        Ok(())
    }
    fn held_stat(&mut self, slot: usize) -> R<Stat> {
        let (id, _) = self.held(slot)?;
        self.engine.getattr(id).map(|a| stat_of(&a)).map_err(errno)
    }
    fn held_read(&mut self, slot: usize) -> R<Vec<u8>> {
        self.read_all(self.held(slot)?.0)
    }
    fn held_write(&mut self, slot: usize, at: u64, data: &[u8]) -> R<usize> {
        let id = self.writer(slot, libc::EBADF)?;
        self.engine.write(id, at, data, false).map_err(errno)
    }
    fn held_append(&mut self, slot: usize, data: &[u8]) -> R<usize> {
        let id = self.writer(slot, libc::EBADF)?;
        let end = self.engine.getattr(id).map_err(errno)?.size;
        self.engine.write(id, end, data, false).map_err(errno)
    }
    fn held_truncate(&mut self, slot: usize, len: u64) -> R<()> {
        let id = self.writer(slot, libc::EINVAL)?;
        let set = SetAttr {
            size: Some(len),
            ..SetAttr::default()
        };
        self.set(id, set)
    }
    fn held_punch(&mut self, slot: usize, at: u64, len: u64) -> R<()> {
        let id = self.writer(slot, libc::EBADF)?;
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        self.engine
            .fallocate(&ROOT, id, mode, at, len)
            .map_err(errno)
    }
    fn held_chmod(&mut self, slot: usize, mode: u32) -> R<()> {
        let (id, _) = self.held(slot)?;
        let set = SetAttr {
            mode: Some(mode),
            ..SetAttr::default()
        };
        self.set(id, set)
    }
    fn held_setxattr(&mut self, slot: usize, name: &str, value: &[u8]) -> R<()> {
        let (id, _) = self.held(slot)?;
        self.engine
            .setxattr(&ROOT, id, name.as_bytes(), value, 0)
            .map_err(errno)
    }
    fn held_sync(&mut self, slot: usize) -> R<()> {
        let (id, _) = self.held(slot)?;
        self.engine.fsync(id, false).map_err(errno)
    }

    fn list_open(&mut self, path: &str) -> R<()> {
        if let Some((old, _)) = self.listing.take() {
            self.engine.forget(old, 1);
        }
        let attr = self.find(path)?;
        if attr.kind != Kind::Dir {
            self.give_back();
            return Err(libc::ENOTDIR);
        }
        if attr.ino != NodeId::ROOT {
            self.taken.pop(); // an open directory is looked up for as long
        }
        self.give_back();
        self.listing = Some((attr.ino, 0));
        Ok(())
    }
    fn list_some(&mut self) -> R<Vec<Name>> {
        loop {
            let (dir, cookie) = self.listing.ok_or(libc::EBADF)?;
            let page = self.page(dir, cookie, false)?;
            let Some(last) = page.last() else {
                return Ok(Vec::new());
            };
            self.listing = Some((dir, last.4));
            let names: Vec<Name> = page
                .into_iter()
                .filter(|e| e.2 != b"." && e.2 != b"..")
                .map(|e| (String::from_utf8(e.2).unwrap(), e.1.mode()))
                .collect();
            if !names.is_empty() {
                return Ok(names);
            }
        }
    }

    fn tree(&mut self) -> Tree {
        self.whole_tree()
    }
}
