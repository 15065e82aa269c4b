//! A [`Subject`] that is a directory: the plain one, or a mount.

use super::op::SLOTS;
use super::posix::{self, R, Stamp, errno, io, lstat};
use super::subject::{Name, Stat, Subject};
use super::tree::Tree;
use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags, RawDir, RenameFlags};
use std::fs::File;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A directory and the files held open in it.
pub struct Real {
    root: PathBuf,
    held: [Option<(File, bool)>; SLOTS + 1],
    listing: Option<(OwnedFd, PathBuf)>,
    /// Names that are listed and not found are passed over. For kernel overlayfs, which lists a
    /// whiteout in a directory that only one layer has.
    pub ghosts: bool,
}

impl Real {
    pub fn new(root: &Path) -> Real {
        Real {
            root: root.to_owned(),
            held: Default::default(),
            listing: None,
            ghosts: false,
        }
    }

    /// Closes everything, so that it can be unmounted.
    pub fn close(&mut self) {
        self.held = Default::default();
        self.listing = None;
    }

    /// The full path, if all directories on the way are some.
    fn at(&self, path: &str) -> R<PathBuf> {
        let mut at = self.root.clone();
        let mut names = path.split('/').filter(|p| !p.is_empty()).peekable();
        while let Some(name) = names.next() {
            at.push(name);
            if names.peek().is_some() && lstat(&at)?.st_mode & libc::S_IFMT != libc::S_IFDIR {
                return Err(libc::ENOTDIR);
            }
        }
        Ok(at)
    }

    fn file(&self, slot: usize) -> R<&File> {
        self.held[slot].as_ref().map(|(f, _)| f).ok_or(libc::EBADF)
    }
}

fn mode(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & 0o7777)
}

fn stat_of(st: rustix::fs::Stat) -> Stat {
    Stat {
        mode: st.st_mode,
        uid: st.st_uid,
        gid: st.st_gid,
        nlink: st.st_nlink,
        size: st.st_size as u64,
        rdev: st.st_rdev,
        atime: (st.st_atime, st.st_atime_nsec as i64),
        mtime: (st.st_mtime, st.st_mtime_nsec as i64),
    }
}

impl Subject for Real {
    fn stat(&mut self, path: &str) -> R<Stat> {
        lstat(&self.at(path)?).map(stat_of)
    }
    fn create(&mut self, path: &str, m: u32) -> R<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::open(self.at(path)?, flags, mode(m)).map_err(errno)?;
        Ok(())
    }
    fn mkdir(&mut self, path: &str, m: u32) -> R<()> {
        rustix::fs::mkdir(self.at(path)?, mode(m)).map_err(errno)
    }
    fn mknod(&mut self, path: &str, m: u32, rdev: u64) -> R<()> {
        let kind = FileType::from_raw_mode(m);
        rustix::fs::mknodat(CWD, self.at(path)?, kind, mode(m), rdev).map_err(errno)
    }
    fn symlink(&mut self, path: &str, target: &str) -> R<()> {
        rustix::fs::symlink(target, self.at(path)?).map_err(errno)
    }
    fn readlink(&mut self, path: &str) -> R<Vec<u8>> {
        let target = std::fs::read_link(self.at(path)?).map_err(io)?;
        Ok(target.as_os_str().as_bytes().to_vec())
    }
    fn link(&mut self, from: &str, to: &str) -> R<()> {
        let from = self.at(from)?;
        lstat(&from)?; // the kernel looks here before it looks at the way to the new name
        let to = self.at(to)?;
        rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty()).map_err(errno)
    }
    fn unlink(&mut self, path: &str) -> R<()> {
        rustix::fs::unlinkat(CWD, self.at(path)?, AtFlags::empty()).map_err(errno)
    }
    fn rmdir(&mut self, path: &str) -> R<()> {
        rustix::fs::unlinkat(CWD, self.at(path)?, AtFlags::REMOVEDIR).map_err(errno)
    }
    fn rename(&mut self, from: &str, to: &str, flags: u32) -> R<()> {
        let (from, to) = (self.at(from)?, self.at(to)?);
        let flags = RenameFlags::from_bits_retain(flags);
        rustix::fs::renameat_with(CWD, from, CWD, to, flags).map_err(errno)
    }
    fn chmod(&mut self, path: &str, m: u32) -> R<()> {
        posix::chmod(&self.at(path)?, m)
    }
    fn chown(&mut self, path: &str, uid: u32, gid: u32) -> R<()> {
        posix::lchown(&self.at(path)?, uid, gid)
    }
    fn utimens(&mut self, path: &str, atime: Stamp, mtime: Stamp) -> R<()> {
        posix::utimens(&self.at(path)?, atime, mtime)
    }
    fn setxattr(&mut self, path: &str, name: &str, value: &[u8], flags: i32) -> R<()> {
        posix::set_xattr(&self.at(path)?, name.as_bytes(), value, flags)
    }
    fn getxattr(&mut self, path: &str, name: &str) -> R<Vec<u8>> {
        posix::get_xattr(&self.at(path)?, name.as_bytes())
    }
    fn removexattr(&mut self, path: &str, name: &str) -> R<()> {
        rustix::fs::lremovexattr(self.at(path)?, name).map_err(errno)
    }
    fn copy_range(&mut self, from: &str, at: u64, to: &str, to_at: u64, len: usize) -> R<usize> {
        let from = File::open(self.at(from)?).map_err(io)?;
        let to = File::options().write(true).open(self.at(to)?).map_err(io)?;
        let (mut a, mut b) = (at, to_at);
        rustix::fs::copy_file_range(from, Some(&mut a), to, Some(&mut b), len).map_err(errno)
    }

    fn hold(&mut self, slot: usize, path: &str, write: bool) -> R<()> {
        let file = File::options()
            .read(true)
            .write(write)
            .open(self.at(path)?)
            .map_err(io)?;
        self.held[slot] = Some((file, write));
        Ok(())
    }
    fn release(&mut self, slot: usize) -> R<()> {
        self.held[slot].take().map(|_| ()).ok_or(libc::EBADF)
    }
    fn held_stat(&mut self, slot: usize) -> R<Stat> {
        rustix::fs::fstat(self.file(slot)?)
            .map(stat_of)
            .map_err(errno)
    }
    fn held_read(&mut self, slot: usize) -> R<Vec<u8>> {
        let file = self.file(slot)?;
        let mut out = Vec::new();
        let mut buf = [0; 65536];
        loop {
            match file.read_at(&mut buf, out.len() as u64).map_err(io)? {
                0 => return Ok(out),
                n => out.extend_from_slice(&buf[..n]),
            }
        }
    }
    fn held_write(&mut self, slot: usize, at: u64, data: &[u8]) -> R<usize> {
        self.file(slot)?.write_at(data, at).map_err(io)
    }
    fn held_append(&mut self, slot: usize, data: &[u8]) -> R<usize> {
        let flags = rustix::io::ReadWriteFlags::APPEND;
        rustix::io::pwritev2(self.file(slot)?, &[IoSlice::new(data)], 0, flags).map_err(errno)
    }
    fn held_truncate(&mut self, slot: usize, len: u64) -> R<()> {
        rustix::fs::ftruncate(self.file(slot)?, len).map_err(errno)
    }
    fn held_punch(&mut self, slot: usize, at: u64, len: u64) -> R<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(self.file(slot)?, flags, at, len).map_err(errno)
    }
    fn held_chmod(&mut self, slot: usize, m: u32) -> R<()> {
        rustix::fs::fchmod(self.file(slot)?, mode(m)).map_err(errno)
    }
    fn held_setxattr(&mut self, slot: usize, name: &str, value: &[u8]) -> R<()> {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::fsetxattr(self.file(slot)?, name, value, flags).map_err(errno)
    }
    fn held_sync(&mut self, slot: usize) -> R<()> {
        self.file(slot)?.sync_all().map_err(io)
    }

    fn list_open(&mut self, path: &str) -> R<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = self.at(path)?;
        // O_DIRECTORY | O_NOFOLLOW says ELOOP of a symlink where others say ENOTDIR
        if lstat(&path)?.st_mode & libc::S_IFMT != libc::S_IFDIR {
            return Err(libc::ENOTDIR);
        }
        let fd = rustix::fs::open(&path, flags, Mode::empty()).map_err(errno)?;
        self.listing = Some((fd, path));
        Ok(())
    }
    fn list_some(&mut self) -> R<Vec<Name>> {
        let (fd, path) = self.listing.as_ref().ok_or(libc::EBADF)?;
        loop {
            let (mut names, any) = page(fd)?;
            names.retain(|(n, _)| !self.ghosts || lstat(&path.join(n)).is_ok());
            if !names.is_empty() || !any {
                return Ok(names);
            }
        }
    }

    fn tree(&mut self) -> Tree {
        let mut tree = super::walk::tree(&self.root);
        let ghost = |faults: &[String]| faults.contains(&"lstat: errno 2".into());
        tree.0.retain(|_, e| !self.ghosts || !ghost(&e.faults));
        tree
    }
}

/// One `getdents` of few entries: the names but `.` and `..`, and whether there were any at all.
fn page(fd: &OwnedFd) -> R<(Vec<Name>, bool)> {
    let mut buf = [MaybeUninit::uninit(); 112];
    let mut raw = RawDir::new(fd.as_fd(), &mut buf);
    let (mut out, mut any) = (Vec::new(), false);
    while let Some(entry) = raw.next() {
        let entry = entry.map_err(errno)?;
        any = true;
        let name = entry.file_name().to_str().unwrap().to_owned();
        let kind = entry.file_type().as_raw_mode();
        let last = raw.is_buffer_empty();
        if name != "." && name != ".." {
            out.push((name, kind));
        }
        if last {
            break;
        }
    }
    Ok((out, any))
}
