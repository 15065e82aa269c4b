//! Reading and writing.

use super::Engine;
use super::copyup::Need;
use super::node::{Node, Place};
use crate::lower::Source;
use crate::sys::Loc;
use crate::vfs::{Caller, Error, Kind, NodeId, Result, SetTime};
use nix::errno::Errno;
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Where a file's data is.
#[derive(Clone, Debug)]
pub struct Backing {
    /// The open file beneath, or the part of one.
    pub source: Source,
    /// It is the upper's; else it is open for reading only.
    pub upper: bool,
}

impl Engine {
    /// Reads at `offset`; short only at the end of the file.
    pub fn read(&self, id: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let source = self.source_to_read(id)?;
        let (start, len) = source.clip(offset, buf.len());
        let buf = &mut buf[..len];
        let mut done = 0;
        while done < buf.len() {
            match source.file().read_at(&mut buf[done..], start + done as u64) {
                Ok(0) => {
                    source.at_end_of_file()?;
                    break;
                }
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done)
    }

    /// As [`Engine::read`], of what is in memory; `None` when a disk would have to be waited for.
    pub fn read_now(&self, id: NodeId, offset: u64, buf: &mut [u8]) -> Result<Option<usize>> {
        let source = self.source_to_read(id)?;
        let (start, len) = source.clip(offset, buf.len());
        let buf = &mut buf[..len];
        let mut done = 0;
        let mut flags = ReadWriteFlags::NOWAIT;
        while done < buf.len() {
            let mut rest = [std::io::IoSliceMut::new(&mut buf[done..])];
            let at = start + done as u64;
            match rustix::io::preadv2(&**source.file(), &mut rest, at, flags) {
                Ok(0) => {
                    source.at_end_of_file()?;
                    break;
                }
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                // in memory anyway, unless all memory is short and it was swapped out
                Err(rustix::io::Errno::OPNOTSUPP)
                    if !flags.is_empty() && is_tmpfs(source.file()) =>
                {
                    flags = ReadWriteFlags::empty();
                }
                // not in memory; or this file system cannot tell
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::OPNOTSUPP) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Some(done))
    }

    /// True if a change of the file needs no copy-up: of its attributes, or also of its data.
    pub fn is_up(&self, id: NodeId, data: bool) -> bool {
        self.nodes
            .get(id)
            .is_some_and(|node| node.on_upper() && !(data && node.state.lock().metacopy))
    }

    /// Writes all of `data` at `offset`. `kill_suidgid`: by someone whose write takes setuid away.
    pub fn write(&self, id: NodeId, offset: u64, data: &[u8], kill_suidgid: bool) -> Result<usize> {
        let node = self.copy_up(id, Need::ALL)?;
        let _ns = self.ns.read();
        let file = self.upper_file(&node)?;
        self.write_to(&node, &file, offset, data, kill_suidgid)
    }

    fn write_to(
        &self,
        node: &Arc<Node>,
        file: &File,
        offset: u64,
        data: &[u8],
        kill_suidgid: bool,
    ) -> Result<usize> {
        self.writable()?.step("write")?;
        file.write_all_at(data, offset)?;
        if kill_suidgid {
            self.clear_suid(node)?;
        }
        Ok(data.len())
    }

    /// Writes for a caller who keeps modification times himself, as the kernel does with the
    /// writeback cache: he sends each that he changes. One that he does not change he does not
    /// send either, as when a file is written in the clock tick that made it; so a write that comes
    /// later must not move the time that he was told then.
    pub fn write_back(
        &self,
        id: NodeId,
        offset: u64,
        data: &[u8],
        kill_suidgid: bool,
    ) -> Result<usize> {
        let node = self.copy_up(id, Need::ALL)?;
        let _ns = self.ns.read();
        let file = self.upper_file(&node)?;
        let written = self.write_to(&node, &file, offset, data, kill_suidgid)?;
        let told = node.told_mtime.lock();
        if let Some(time) = *told {
            Loc::Open(file.as_fd()).utimens(None, Some(SetTime::At(time)))?;
        }
        Ok(written)
    }

    /// Reserves, punches, zeroes or shifts, as the upper's file system can.
    pub fn fallocate(
        &self,
        who: &Caller,
        id: NodeId,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        let node = self.copy_up(id, Need::ALL)?;
        let _ns = self.ns.read();
        let file = self.upper_file(&node)?;
        let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
        self.writable()?.step("fallocate")?;
        rustix::fs::fallocate(&*file, flags, offset, len)?;
        if who.uid != 0 {
            self.clear_suid(&node)?;
        }
        Ok(())
    }

    /// Finds data or a hole: `whence` is `SEEK_DATA` or `SEEK_HOLE`.
    pub fn lseek(&self, id: NodeId, offset: u64, whence: i32) -> Result<u64> {
        let source = self.source_to_read(id)?;
        if let Some(len) = source.part_len() {
            return seek_in_part(len, offset, whence);
        }
        let from = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Error::new(Errno::EINVAL)),
        };
        Ok(rustix::fs::seek(&**source.file(), from)?)
    }

    /// Copies between files without the data passing through the caller.
    pub fn copy_file_range(
        &self,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> Result<usize> {
        let node = self.copy_up(to, Need::ALL)?;
        let source = self.source_to_read(from)?;
        let _ns = self.ns.read();
        let target = self.upper_file(&node)?;
        self.writable()?.step("copy_file_range")?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(1 << 30);
        let (mut a, len) = source.clip(from_offset, len);
        let mut b = to_offset;
        if len == 0 {
            return Ok(0);
        }
        let copied = rustix::fs::copy_file_range(
            &**source.file(),
            Some(&mut a),
            &*target,
            Some(&mut b),
            len,
        )?;
        if copied == 0 {
            source.at_end_of_file()?;
        }
        Ok(copied)
    }

    /// Writes a file, or a directory's entries, down to the disk.
    pub fn fsync(&self, id: NodeId, datasync: bool) -> Result<()> {
        let _ns = self.ns.read();
        let Some(node) = self.nodes.get(id) else {
            return Ok(()); // a lower is never dirty
        };
        if !node.on_upper() {
            return Ok(());
        }
        if node.kind == Kind::Dir {
            let fd = self.with_loc(&node, |l| l.open(OFlags::RDONLY | OFlags::DIRECTORY))?;
            return Ok(rustix::fs::fsync(fd)?);
        }
        let file = self.upper_file(&node)?;
        if datasync {
            file.sync_data()?;
        } else {
            file.sync_all()?;
        }
        Ok(())
    }

    /// The file that holds the data now: `O_RDONLY` of a lower file, or one of the upper; with
    /// `write`, copied up and `O_RDWR`. A lower file may be a part of a file: that is for nobody to
    /// use who cannot tell where it ends.
    pub fn backing(&self, id: NodeId, write: bool) -> Result<Backing> {
        if !write {
            return self.backing_to_read(id);
        }
        let node = self.copy_up(id, Need::ALL)?;
        let _ns = self.ns.read();
        let file = self.upper_file(&node)?;
        Ok(Backing {
            source: Source::whole(file),
            upper: true,
        })
    }

    fn source_to_read(&self, id: NodeId) -> Result<Source> {
        self.backing_to_read(id).map(|backing| backing.source)
    }

    fn backing_to_read(&self, id: NodeId) -> Result<Backing> {
        let _ns = self.ns.read();
        let below = |source| Backing {
            source,
            upper: false,
        };
        let Some(node) = self.nodes.get(id) else {
            return self.files.lower(id, || self.lower.open(id)).map(below);
        };
        let (in_lower, lower) = {
            let state = node.state.lock();
            let in_lower =
                state.metacopy || matches!(state.place, Place::Lower | Place::LowerUnlinked);
            (in_lower, state.lower)
        };
        match (in_lower, lower) {
            (true, Some(lower)) => self
                .files
                .lower(lower, || self.lower.open(lower))
                .map(below),
            (true, None) => Err(Error::new(Errno::ESTALE)),
            (false, _) => Ok(Backing {
                source: Source::whole(self.upper_file(&node)?),
                upper: true,
            }),
        }
    }

    /// The open file of a node in the upper. With the namespace lock held.
    pub(super) fn upper_file(&self, node: &Arc<Node>) -> Result<Arc<File>> {
        match node.kind {
            Kind::File => {}
            Kind::Dir => return Err(Error::new(Errno::EISDIR)),
            _ => return Err(Error::new(Errno::EINVAL)),
        }
        self.files.upper(node.id, || {
            self.with_loc(node, |l| {
                let fd = match l.open(OFlags::RDWR) {
                    // immutable, or append-only: still to be read
                    Err(e) if e.is(Errno::EPERM) || e.is(Errno::EACCES) || e.is(Errno::EROFS) => {
                        l.open(OFlags::RDONLY)?
                    }
                    other => other?,
                };
                // what another program put there meanwhile must not be taken for this file
                let st = Loc::Fd(fd.as_fd()).stat()?;
                let own = self.space.node(st.st_dev, st.st_ino);
                if self.nodes.alias(own) != node.id {
                    return Err(Error::because(
                        Errno::EIO,
                        "the upper was changed from outside",
                    ));
                }
                Ok(Arc::new(File::from(fd)))
            })
        })
    }
}

/// Of a file system in memory, which does not say so when it is read.
fn is_tmpfs(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|s| s.f_type == libc::TMPFS_MAGIC)
}

/// What lies in a part of a file is all data: holes there would not be the file's own.
fn seek_in_part(len: u64, offset: u64, whence: i32) -> Result<u64> {
    match whence {
        _ if offset >= len => Err(Error::new(Errno::ENXIO)),
        libc::SEEK_DATA => Ok(offset),
        libc::SEEK_HOLE => Ok(len),
        _ => Err(Error::new(Errno::EINVAL)),
    }
}
