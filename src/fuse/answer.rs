//! One request, one engine call, one answer.

use super::adapter::{Adapter, has_trusted, hide_trusted};
use super::opens::Way;
use super::wire::{Body, Data, Name, NewMode, Op, Request};
use crate::vfs::{Attr, Caller, Error, NodeId, Result, SetAttr};
use nix::errno::Errno;

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer is said.
    Said,
    /// No answer is due.
    Silent,
    /// It may have to wait for a disk or a copy: to be asked again with [`Patience::Any`].
    Later,
}

/// Whether an answer may take long. Few threads hear the kernel, and they have to be there for the
/// next look-up; others have the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Only what is quick.
    None,
    /// As long as it takes.
    Any,
}

impl Adapter {
    /// Answers a request. An error is the whole answer: the body does not count then.
    pub(super) fn answer(
        &self,
        request: &Request<'_>,
        patience: Patience,
        body: &mut Body<'_>,
    ) -> Result<Outcome> {
        let Request { node, who, op, .. } = request;
        if !self.admits(who, op) {
            return Err(Error::new(Errno::EACCES));
        }
        let file = self.file(*node);
        if let Op::Setattr(set) = op
            && let Some(attr) = self.engine.unchanged_by(file, set)?
        {
            return body.attr(&attr, self.ttl()).map(|()| Outcome::Said);
        }
        if patience == Patience::None && self.is_slow(*node, op) {
            return Ok(Outcome::Later);
        }
        match *op {
            Op::Forget { lookups } => return Ok(self.forget([(*node, lookups)])),
            Op::BatchForget(nodes) => return Ok(self.forget(nodes.each())),
            Op::Interrupt => return Err(Error::new(Errno::ENOSYS)), // nothing can be interrupted
            Op::Read { offset, size } => return self.read(file, offset, size, patience, body),
            Op::Readdir { offset, size, plus } => self.list(file, offset, (size, plus), body),
            Op::Statfs => self.engine.statfs().and_then(|s| body.statfs(&s)),
            Op::Release => {
                if self.passthrough() {
                    self.opens.release(*node);
                }
                Ok(())
            }
            Op::Releasedir | Op::Destroy => Ok(()),
            Op::Opendir if self.agreed().no_opendir => Err(Error::new(Errno::ENOSYS)),
            Op::Opendir => body.opened(0, None),
            Op::Fsync { .. } | Op::Fsyncdir { .. } if !self.options.fsync => {
                Err(Error::new(Errno::ENOSYS))
            }
            Op::Fsync { data_only } | Op::Fsyncdir { data_only } => {
                self.engine.fsync(file, data_only)
            }
            Op::Flush => Err(Error::new(Errno::ENOSYS)), // nothing is deferred
            Op::Ioctl => Err(Error::new(Errno::ENOTTY)),
            Op::Unknown { .. } => Err(Error::new(Errno::ENOSYS)),
            Op::Setxattr { .. }
            | Op::Getxattr { .. }
            | Op::Listxattr { .. }
            | Op::Removexattr { .. } => self.xattr(file, request, body),
            Op::Open { flags } => self.open(*node, flags, body),
            Op::Getattr | Op::Setattr(_) | Op::Readlink | Op::Statx => {
                self.inode(file, request, body)
            }
            Op::Tmpfile { mode } => self.tmpfile(file, who, mode, body),
            Op::Write { .. }
            | Op::Fallocate { .. }
            | Op::Lseek { .. }
            | Op::CopyFileRange { .. } => self.data(file, request, body),
            Op::Lookup { .. }
            | Op::Symlink { .. }
            | Op::Mknod { .. }
            | Op::Mkdir { .. }
            | Op::Unlink { .. }
            | Op::Rmdir { .. }
            | Op::Rename { .. }
            | Op::Link { .. }
            | Op::Create { .. } => self.name(file, request, body),
        }
        .map(|()| Outcome::Said)
    }

    /// What has to copy a file up first, or to wait for a disk.
    fn is_slow(&self, node: NodeId, op: &Op<'_>) -> bool {
        let up = |data| self.engine.is_up(self.file(node), data);
        match op {
            Op::Fsync { .. } | Op::Fsyncdir { .. } => self.options.fsync,
            Op::CopyFileRange { .. } => true,
            Op::Write { .. } | Op::Fallocate { .. } => !up(true),
            Op::Setxattr { .. } | Op::Removexattr { .. } => self.options.xattrs && !up(false),
            Op::Link { file, .. } => !self.engine.is_up(self.file(*file), false),
            Op::Open { flags } => self.passthrough() && writes(*flags) && !up(true),
            Op::Setattr(set) => !up(set.size.is_some()),
            _ => false, // Read tells by itself
        }
    }

    fn forget(&self, nodes: impl IntoIterator<Item = (NodeId, u64)>) -> Outcome {
        for (node, lookups) in nodes {
            self.engine.forget(self.file(node), lookups);
            self.opens.forget(node, lookups);
        }
        Outcome::Silent
    }

    /// Names: found, made, moved, removed.
    fn name(&self, dir: NodeId, request: &Request<'_>, body: &mut Body<'_>) -> Result<()> {
        let (engine, who) = (&self.engine, &request.who);
        let made: Attr = match request.op {
            Op::Lookup { name: Name(name) } => match engine.lookup(dir, name)? {
                Some(attr) => attr,
                None => return self.no_entry(body),
            },
            Op::Symlink {
                name: Name(name),
                target: Name(target),
            } => engine.symlink(who, dir, name, target)?,
            Op::Mknod {
                name: Name(name),
                mode,
                rdev,
            } => engine.mknod(who, dir, name, mode.mode, mode.umask, rdev.into())?,
            Op::Mkdir {
                name: Name(name),
                mode,
            } => engine.mkdir(who, dir, name, mode.mode, mode.umask)?,
            Op::Link {
                file,
                name: Name(name),
            } => engine.link(self.file(file), dir, name)?,
            Op::Create { .. } => return self.create(dir, request, body),
            Op::Unlink { name: Name(name) } => return engine.unlink(dir, name),
            Op::Rmdir { name: Name(name) } => return engine.rmdir(dir, name),
            Op::Rename {
                name: Name(name),
                to,
                to_name: Name(to_name),
                flags,
            } => return engine.rename(dir, name, self.file(to), to_name, flags),
            _ => return Err(Error::new(Errno::ENOSYS)),
        };
        self.entry(body, &made)
    }

    fn create(&self, dir: NodeId, request: &Request<'_>, body: &mut Body<'_>) -> Result<()> {
        let Op::Create {
            name: Name(name),
            mode,
        } = request.op
        else {
            return Err(Error::new(Errno::ENOSYS));
        };
        if self.agreed().no_open {
            // the kernel makes the file by MKNOD, and opens it without asking
            return Err(Error::new(Errno::ENOSYS));
        }
        let attr = self
            .engine
            .create(&request.who, dir, name, mode.mode, mode.umask)?;
        self.made_and_opened(&attr, body)
    }

    /// Answered even where the kernel opens files without asking: it cannot make such a file
    /// otherwise.
    fn tmpfile(&self, dir: NodeId, who: &Caller, mode: NewMode, body: &mut Body<'_>) -> Result<()> {
        let attr = self.engine.tmpfile(who, dir, mode.mode, mode.umask)?;
        self.made_and_opened(&attr, body)
    }

    fn made_and_opened(&self, attr: &Attr, body: &mut Body<'_>) -> Result<()> {
        let way = if self.passthrough() {
            // of a failed request, the kernel does not know the node
            self.open_way(attr.ino, true)
                .inspect_err(|_| self.engine.forget(attr.ino, 1))?
        } else {
            Way::Cached
        };
        self.entry(body, attr)?;
        self.opened(body, &way)
    }

    fn open(&self, node: NodeId, flags: u32, body: &mut Body<'_>) -> Result<()> {
        if self.agreed().no_open {
            return Err(Error::new(Errno::ENOSYS));
        }
        if !self.passthrough() {
            return self.opened(body, &Way::Cached);
        }
        let way = self.open_way(node, writes(flags))?;
        self.opened(body, &way)
    }

    /// What an inode says of itself.
    fn inode(&self, file: NodeId, request: &Request<'_>, body: &mut Body<'_>) -> Result<()> {
        let attr = match &request.op {
            Op::Readlink => return body.bytes(&self.engine.readlink(file)?),
            Op::Statx => {
                let attr = self.engine.getattr(file)?;
                return body.statx(&attr, self.engine.btime(file)?, self.ttl());
            }
            Op::Setattr(set) => {
                let who = truncater(&request.who, set);
                self.engine.setattr(&who, file, set)?
            }
            _ => self.engine.getattr(file)?,
        };
        body.attr(&attr, self.ttl())
    }

    fn read(
        &self,
        file: NodeId,
        offset: u64,
        size: u32,
        patience: Patience,
        body: &mut Body<'_>,
    ) -> Result<Outcome> {
        body.fill(size, |room| match patience {
            Patience::Any => Ok((self.engine.read(file, offset, room)?, Outcome::Said)),
            // what is in memory, or nothing
            Patience::None => Ok(match self.engine.read_now(file, offset, room)? {
                Some(n) => (n, Outcome::Said),
                None => (0, Outcome::Later),
            }),
        })
    }

    /// What changes or looks at the data of a file.
    fn data(&self, file: NodeId, request: &Request<'_>, body: &mut Body<'_>) -> Result<()> {
        match request.op {
            Op::Write {
                offset,
                data: Data(data),
                kill,
            } => {
                let written = match self.agreed().writeback {
                    true => self.engine.write_back(file, offset, data, kill),
                    false => self.engine.write(file, offset, data, kill),
                };
                if kill {
                    self.mode_changed(request.node);
                }
                body.written(written?)
            }
            Op::Fallocate {
                offset,
                length,
                mode,
            } => {
                let who = known(&request.who);
                let mode = mode.cast_signed();
                let done = self.engine.fallocate(&who, file, mode, offset, length);
                if who.uid != 0 {
                    self.mode_changed(request.node);
                }
                done
            }
            Op::Lseek { offset, whence } => {
                let whence = whence.cast_signed();
                let offset = i64::try_from(offset).map_err(|_| Error::new(Errno::ENXIO))?;
                let found = self.engine.lseek(file, offset.unsigned_abs(), whence)?;
                body.offset(found)
            }
            Op::CopyFileRange {
                offset,
                to,
                to_offset,
                len,
            } => {
                let to = self.file(to);
                let n = self
                    .engine
                    .copy_file_range(file, offset, to, to_offset, len)?;
                body.written(n)
            }
            _ => Err(Error::new(Errno::ENOSYS)),
        }
    }

    fn xattr(&self, file: NodeId, request: &Request<'_>, body: &mut Body<'_>) -> Result<()> {
        if !self.options.xattrs {
            return Err(Error::new(Errno::ENOSYS));
        }
        let (engine, who) = (&self.engine, &request.who);
        match request.op {
            Op::Setxattr {
                name: Name(name),
                value: Data(value),
                flags,
            } => engine.setxattr(who, file, name, value, flags.cast_signed()),
            Op::Getxattr {
                name: Name(name),
                size,
            } => body.sized(size, &engine.getxattr(file, name)?),
            Op::Listxattr { size } => {
                let mut list = engine.listxattr(file)?;
                if has_trusted(&list) && known(who).uid != 0 {
                    hide_trusted(&mut list);
                }
                body.sized(size, &list)
            }
            Op::Removexattr { name: Name(name) } => engine.removexattr(file, name),
            _ => Err(Error::new(Errno::ENOSYS)),
        }
    }
}

/// True if an open with these flags may write.
fn writes(flags: u32) -> bool {
    flags.cast_signed() & libc::O_ACCMODE != libc::O_RDONLY
}

/// Not everybody's truncation leaves set-id bits.
fn truncater(who: &Caller, set: &SetAttr) -> Caller {
    set.size.map_or(*who, |_| known(who))
}

/// Who asks, for requests that make no file: of a mount that may be id-mapped, the kernel leaves
/// the ids out of these. Who asks is then looked up by process; that costs a file of /proc, so it
/// is for where it matters. Nobody (`u32::MAX`), if the process cannot be found.
fn known(who: &Caller) -> Caller {
    let mut who = *who;
    if who.uid == u32::MAX {
        who.uid = fs_uid(who.pid).unwrap_or(u32::MAX);
    }
    who
}

/// The user id with which a process uses files.
fn fs_uid(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(3)?.parse().ok() // real, effective, saved, file system
}
