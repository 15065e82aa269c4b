//! A [`Subject`] that is an engine in this process. It does what the kernel does before it asks a
//! file system: it resolves paths by lookups, refuses names that exist, takes set-id bits away at
//! chown.

use super::op::SLOTS;
use super::posix::{R, Stamp};
use super::subject::{Name, Stat, Subject, join};
use super::tree::{Entry, Tree};
use super::walk::check_dirent;
use std::collections::BTreeMap;
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
    taken: Vec<NodeId>,
    held: [Option<(NodeId, bool)>; SLOTS + 1],
    listing: Option<(NodeId, u64)>,
}

fn errno(e: vellum::vfs::Error) -> i32 {
    e.errno() as i32
}

/// An entry of a page: number, type, name, attributes, cookie.
type Listed = (NodeId, Kind, Vec<u8>, Option<Attr>, u64);

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

    fn give_back(&mut self) {
        if self.forgetful {
            for id in self.taken.drain(..) {
                self.engine.forget(id, 1);
            }
        }
    }

    fn look(&mut self, dir: NodeId, name: &[u8]) -> R<Option<Attr>> {
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

    fn read_all(&self, id: NodeId) -> R<Vec<u8>> {
        let mut out = Vec::new();
        let mut buf = [0; 5000];
        loop {
            let n = self
                .engine
                .read(id, out.len() as u64, &mut buf)
                .map_err(errno)?;
            if n == 0 {
                return Ok(out);
            }
            out.extend_from_slice(&buf[..n]);
        }
    }

    /// One page of a listing, as long as a small reader would ask for.
    fn page(&mut self, dir: NodeId, cookie: u64, plus: bool) -> R<Vec<Listed>> {
        let mut out: Vec<Listed> = Vec::new();
        self.engine
            .readdir(dir, cookie, plus, &mut |e| {
                if out.len() == 3 {
                    return false;
                }
                out.push((e.ino, e.kind, e.name.to_vec(), e.attr, e.cookie));
                true
            })
            .map_err(errno)?;
        for entry in &out {
            if entry.3.is_some() {
                self.taken.push(entry.0);
            }
        }
        Ok(out)
    }

    fn walk(&mut self, dir: NodeId, at: &str, out: &mut Tree) {
        let mut cookie = 0;
        let mut dots = Vec::new();
        // one directory is listed with attributes, the next without
        let plus = out.0.len().is_multiple_of(2);
        let mut subdirs = Vec::new();
        loop {
            let page = match self.page(dir, cookie, plus) {
                Ok(page) => page,
                Err(e) => {
                    out.0
                        .get_mut(at)
                        .unwrap()
                        .faults
                        .push(format!("list: errno {e}"));
                    return;
                }
            };
            let Some(last) = page.last() else { break };
            cookie = last.4;
            for listed in page {
                if listed.2 == b"." || listed.2 == b".." {
                    dots.push(listed.0);
                    continue;
                }
                let path = join(at, &listed.2.escape_ascii().to_string());
                let (mut entry, id) = self.listed(dir, &listed);
                if let (Kind::Dir, Some(id)) = (listed.1, id) {
                    subdirs.push((id, path.clone()));
                }
                if out.0.contains_key(&path) {
                    entry.faults.push("listed twice".into());
                }
                out.0.insert(path, entry);
            }
        }
        if dots.len() != 2 || dots[0] != dir {
            out.0
                .get_mut(at)
                .unwrap()
                .faults
                .push(format!(". and .. are {dots:?}"));
        }
        for (id, path) in subdirs {
            self.walk(id, &path, out);
        }
    }

    /// What a listed name stands for.
    fn listed(
        &mut self,
        dir: NodeId,
        (ino, kind, name, attr, _): &Listed,
    ) -> (Entry, Option<NodeId>) {
        let found = match self.look(dir, name) {
            Ok(Some(found)) => found,
            other => {
                return (
                    Entry::broken(ino.0, format!("listed, lookup: {other:?}")),
                    None,
                );
            }
        };
        let mut entry = self.entry(&found);
        check_dirent(&mut entry, ino.0, kind.mode());
        if attr.is_some_and(|a| {
            Attr {
                atime: found.atime,
                ..a
            } != found
        }) {
            entry
                .faults
                .push(format!("listed with {attr:?}, found with {found:?}"));
        }
        (entry, Some(found.ino))
    }

    fn entry(&mut self, attr: &Attr) -> Entry {
        let id = attr.ino;
        let mut faults = Vec::new();
        // before anything is read: that moves the time of access
        match self.engine.getattr(id) {
            Ok(again)
                if again
                    == (Attr {
                        atime: again.atime,
                        ..*attr
                    }) => {}
            other => faults.push(format!("lookup said {attr:?}, getattr {other:?}")),
        }
        let read = match attr.kind {
            Kind::File => self.read_all(id),
            Kind::Symlink => self.engine.readlink(id).map_err(errno),
            _ => Ok(Vec::new()),
        };
        let data = read.unwrap_or_else(|e| {
            faults.push(format!("read: errno {e}"));
            Vec::new()
        });
        if attr.kind == Kind::File && attr.size != data.len() as u64 {
            faults.push(format!("size {}, {} bytes", attr.size, data.len()));
        }
        let xattrs = self.xattrs(id).unwrap_or_else(|e| {
            faults.push(format!("xattrs: errno {e}"));
            BTreeMap::new()
        });
        Entry {
            mode: attr.kind.mode() | attr.perm,
            uid: attr.uid,
            gid: attr.gid,
            nlink: attr.nlink.into(),
            ino: id.0,
            rdev: attr.rdev,
            mtime: (attr.mtime.sec, attr.mtime.nsec.into()),
            data,
            xattrs,
            faults,
        }
    }

    fn xattrs(&self, id: NodeId) -> R<BTreeMap<Vec<u8>, Vec<u8>>> {
        let names = self.engine.listxattr(id).map_err(errno)?;
        names
            .split(|b| *b == 0)
            .filter(|n| !n.is_empty())
            .map(|n| Ok((n.to_vec(), self.engine.getxattr(id, n).map_err(errno)?)))
            .collect()
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
        let mut out = Tree::default();
        let root = self.engine.getattr(NodeId::ROOT).unwrap();
        let entry = self.entry(&root);
        out.0.insert(String::new(), entry);
        self.walk(NodeId::ROOT, "", &mut out);
        self.give_back();
        out
    }
}
