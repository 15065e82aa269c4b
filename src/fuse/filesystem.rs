//! One request, one engine call, one reply.

use super::adapter::{Adapter, FIRST_GENERATION, NO_HANDLE, Shared, has_trusted, hide_trusted};
use super::convert::{caller, file_attr, file_type, known_caller, no_entry, set_time};
use super::data;
use super::init::agree;
use super::opens::Way;
use super::reply::answer;
use crate::vfs::{Error, NodeId, SetAttr};
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileHandle, FopenFlags, INodeNo, IoctlFlags, KernelConfig,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

impl fuser::Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let agreed = agree(&self.options, config)?;
        self.agreed.get_or_init(|| agreed);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.engine.lookup(self.file(parent), name.as_bytes());
        answer("lookup", reply, found, |reply, attr| match attr {
            Some(attr) => self.entry(reply, &attr),
            None if self.ttl().is_zero() => reply.error(fuser::Errno::ENOENT),
            None => reply.entry(&self.ttl(), &no_entry(), FIRST_GENERATION),
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, lookups: u64) {
        self.engine.forget(self.file(ino), lookups);
        self.opens.forget(NodeId(ino.0), lookups);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let attr = self.engine.getattr(self.file(ino));
        answer("getattr", reply, attr, |r, a| {
            r.attr(&self.ttl(), &file_attr(&a));
        });
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            mode,
            uid,
            gid,
            size,
            atime: atime.map(set_time),
            mtime: mtime.map(set_time),
        };
        // not everybody's truncation leaves set-id bits
        let who = size.map_or_else(|| caller(req), |_| known_caller(req));
        let file = self.file(ino);
        let quick = self.engine.is_up(file, size.is_some())
            || self.engine.changes_nothing(file, &set).unwrap_or(false);
        self.soon(quick, move |s| {
            let attr = s.engine.setattr(&who, file, &set);
            answer("setattr", reply, attr, |r, a| {
                r.attr(&s.ttl(), &file_attr(&a));
            });
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.engine.readlink(self.file(ino));
        answer("readlink", reply, target, |r, t| r.data(&t));
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (who, parent) = (caller(req), self.file(parent));
        let made = self
            .engine
            .mknod(&who, parent, name.as_bytes(), mode, umask, rdev.into());
        answer("mknod", reply, made, |r, a| self.entry(r, &a));
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let parent = self.file(parent);
        let made = self
            .engine
            .mkdir(&caller(req), parent, name.as_bytes(), mode, umask);
        answer("mkdir", reply, made, |r, a| self.entry(r, &a));
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.engine.unlink(self.file(parent), name.as_bytes());
        answer("unlink", reply, done, |r, ()| r.ok());
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.engine.rmdir(self.file(parent), name.as_bytes());
        answer("rmdir", reply, done, |r, ()| r.ok());
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let (parent, target) = (self.file(parent), target.as_os_str().as_bytes());
        let made = self
            .engine
            .symlink(&caller(req), parent, name.as_bytes(), target);
        answer("symlink", reply, made, |r, a| self.entry(r, &a));
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (self.file(parent), self.file(to));
        let done = self
            .engine
            .rename(from, name.as_bytes(), to, to_name.as_bytes(), flags.bits());
        answer("rename", reply, done, |r, ()| r.ok());
    }

    fn link(&self, _req: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (file, parent, name) = (self.file(ino), self.file(parent), name.to_owned());
        self.soon(self.engine.is_up(file, false), move |s| {
            let made = s.engine.link(file, parent, name.as_bytes());
            answer("link", reply, made, |r, a| s.entry(r, &a));
        });
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.agreed().no_open {
            return reply.error(fuser::Errno::ENOSYS);
        }
        if !self.passthrough() {
            return reply.opened(NO_HANDLE, self.flags());
        }
        let write = flags.0 & libc::O_ACCMODE != libc::O_RDONLY;
        let quick = !write || self.engine.is_up(self.file(ino), true);
        self.soon(quick, move |s| {
            let way = s.open_way(NodeId(ino.0), write, |file| reply.open_backing(file));
            answer("open", reply, way, |r, way| match way {
                Way::Backed { id, .. } => r.opened_passthrough(NO_HANDLE, FopenFlags::empty(), &id),
                Way::Cached => r.opened(NO_HANDLE, s.flags()),
            });
        });
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        if self.agreed().no_open {
            // the kernel makes the file by MKNOD, and opens it without asking
            return reply.error(fuser::Errno::ENOSYS);
        }
        let made = self.engine.create(
            &caller(req),
            self.file(parent),
            name.as_bytes(),
            mode,
            umask,
        );
        let opened = made.and_then(|attr| {
            if !self.passthrough() {
                return Ok((attr, None));
            }
            let way = self.open_way(attr.ino, true, |file| reply.open_backing(file));
            if way.is_err() {
                self.engine.forget(attr.ino, 1);
            }
            Ok((attr, Some(way?)))
        });
        answer("create", reply, opened, |r, (attr, way)| {
            let (ttl, shown) = (self.ttl(), file_attr(&attr));
            match way {
                Some(Way::Backed { id, .. }) => r.created_passthrough(
                    &ttl,
                    &shown,
                    FIRST_GENERATION,
                    NO_HANDLE,
                    FopenFlags::empty(),
                    &id,
                ),
                _ => r.created(&ttl, &shown, FIRST_GENERATION, NO_HANDLE, self.flags()),
            }
        });
    }

    fn release(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        if self.passthrough() {
            self.opens.release(NodeId(ino.0));
        }
        reply.ok();
    }

    fn flush(&self, _r: &Request, _i: INodeNo, _f: FileHandle, _o: LockOwner, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS); // nothing is deferred
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (file, size) = (self.file(ino), size as usize);
        if let Some(reply) = data::read_now(self, file, offset, size, reply) {
            self.slowly(move |s| data::read(s, file, offset, size, reply));
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let file = self.file(ino);
        if self.engine.is_up(file, true) {
            return data::write(self, (ino, file), offset, data, kill, reply);
        }
        let data = data.to_vec();
        self.slowly(move |s| data::write(s, (ino, file), offset, &data, kill, reply));
    }

    fn fsync(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        if !self.options.fsync {
            return reply.error(fuser::Errno::ENOSYS);
        }
        let file = self.file(ino);
        self.slowly(move |s| {
            let done = s.engine.fsync(file, datasync);
            answer("fsync", reply, done, |r, ()| r.ok());
        });
    }

    fn fsyncdir(
        &self,
        req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        self.fsync(req, ino, fh, datasync, reply);
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if self.agreed().no_opendir {
            return reply.error(fuser::Errno::ENOSYS);
        }
        reply.opened(NO_HANDLE, FopenFlags::empty());
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let read = self
            .engine
            .readdir(self.file(ino), offset, false, &mut |entry| {
                !reply.add(
                    INodeNo(entry.ino.0),
                    entry.cookie,
                    file_type(entry.kind),
                    OsStr::from_bytes(entry.name),
                )
            });
        answer("readdir", reply, read, |r, ()| r.ok());
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let read = self.list_plus(ino, offset, &mut reply);
        answer("readdirplus", reply, read, |r, ()| r.ok());
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        answer("statfs", reply, self.engine.statfs(), |r, s| {
            r.statfs(
                s.blocks, s.bfree, s.bavail, s.files, s.ffree, s.bsize, s.namelen, s.frsize,
            );
        });
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        if !self.options.xattrs {
            return reply.error(fuser::Errno::ENOSYS);
        }
        let (who, file) = (caller(req), self.file(ino));
        let (name, value) = (name.to_owned(), value.to_vec());
        self.soon(self.engine.is_up(file, false), move |s| {
            let done = s
                .engine
                .setxattr(&who, file, name.as_bytes(), &value, flags);
            answer("setxattr", reply, done, |r, ()| r.ok());
        });
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.options.xattrs {
            return reply.error(fuser::Errno::ENOSYS);
        }
        let value = self.engine.getxattr(self.file(ino), name.as_bytes());
        answer("getxattr", reply, value, |r, v| Shared::sized(r, size, &v));
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.options.xattrs {
            return reply.error(fuser::Errno::ENOSYS);
        }
        let list = self.engine.listxattr(self.file(ino)).map(|mut list| {
            if has_trusted(&list) && known_caller(req).uid != 0 {
                hide_trusted(&mut list);
            }
            list
        });
        answer("listxattr", reply, list, |r, l| Shared::sized(r, size, &l));
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if !self.options.xattrs {
            return reply.error(fuser::Errno::ENOSYS);
        }
        let done = self.engine.removexattr(self.file(ino), name.as_bytes());
        answer("removexattr", reply, done, |r, ()| r.ok());
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _cmd: u32,
        _in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(fuser::Errno::ENOTTY);
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let file = self.file(ino);
        let who = known_caller(req);
        let done = self.engine.fallocate(&who, file, mode, offset, length);
        if who.uid != 0 {
            self.mode_changed(ino);
        }
        answer("fallocate", reply, done, |r, ()| r.ok());
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = u64::try_from(offset)
            .map_err(|_| Error::new(Errno::ENXIO))
            .and_then(|offset| self.engine.lseek(self.file(ino), offset, whence));
        answer("lseek", reply, found, |r, at| {
            r.offset(i64::try_from(at).unwrap_or(i64::MAX));
        });
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        ino_in: INodeNo,
        _fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = (self.file(ino_in), self.file(ino_out));
        let copied = self
            .engine
            .copy_file_range(from, offset_in, to, offset_out, len);
        answer("copy_file_range", reply, copied, |r, n| {
            r.written(u32::try_from(n).unwrap_or(u32::MAX));
        });
    }
}
