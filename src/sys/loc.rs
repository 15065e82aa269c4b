//! Where a file is: a name in an open directory, or an open file that may have no name left.
//!
//! All access below works on one of the two, never on a joined path, so a tree that is renamed
//! meanwhile, or a path longer than PATH_MAX, makes no difference.

use crate::vfs::{Attr, Kind, NodeId, Result, SetTime, Time};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Where a file is.
#[derive(Clone, Copy, Debug)]
pub enum Loc<'a> {
    /// This name in this directory; never followed when it is a symlink.
    At(BorrowedFd<'a>, &'a [u8]),
    /// This very inode; `O_PATH` is enough.
    Fd(BorrowedFd<'a>),
    /// This very inode, open for reading or writing: no path is walked to it.
    Open(BorrowedFd<'a>),
}

impl Loc<'_> {
    /// The magic path of an inode, for the calls that take no fd or refuse `O_PATH`.
    fn proc_path(fd: BorrowedFd<'_>) -> String {
        format!("/proc/self/fd/{}", fd.as_raw_fd())
    }

    /// A path to the file, for the calls that take nothing else.
    pub(super) fn path(&self) -> Vec<u8> {
        match self {
            Loc::At(dir, name) => {
                let mut path = Loc::proc_path(*dir).into_bytes();
                path.push(b'/');
                path.extend_from_slice(name);
                path
            }
            Loc::Fd(fd) | Loc::Open(fd) => Loc::proc_path(*fd).into_bytes(),
        }
    }

    /// `fstatat` that does not follow.
    pub fn stat(&self) -> Result<Stat> {
        Ok(match self {
            Loc::At(dir, name) => rustix::fs::statat(dir, *name, AtFlags::SYMLINK_NOFOLLOW)?,
            Loc::Fd(fd) | Loc::Open(fd) => rustix::fs::fstat(fd)?,
        })
    }

    /// Opens the file; a symlink in the last place is an error (ELOOP) unless `O_PATH` is asked.
    pub fn open(&self, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(match self {
            Loc::At(dir, name) => {
                rustix::fs::openat(dir, *name, flags | OFlags::NOFOLLOW, Mode::empty())?
            }
            Loc::Fd(fd) | Loc::Open(fd) => {
                rustix::fs::openat(CWD, Loc::proc_path(*fd), flags, Mode::empty())?
            }
        })
    }

    /// Sets the permission bits. Symlinks have none to set.
    pub fn chmod(&self, perm: u32) -> Result<()> {
        let mode = Mode::from_raw_mode(perm & 0o7777);
        match self {
            Loc::At(dir, name) => rustix::fs::chmodat(dir, *name, mode, AtFlags::empty())?,
            Loc::Fd(fd) => {
                rustix::fs::chmodat(CWD, Loc::proc_path(*fd), mode, AtFlags::empty())?;
            }
            Loc::Open(fd) => rustix::fs::fchmod(fd, mode)?,
        }
        Ok(())
    }

    /// Sets owner and group; `None` leaves one.
    pub fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Loc::At(dir, name) => {
                rustix::fs::chownat(dir, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Loc::Fd(fd) => rustix::fs::chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH)?,
            Loc::Open(fd) => rustix::fs::fchown(fd, uid, gid)?,
        }
        Ok(())
    }

    /// Sets access and modification time; `None` leaves one.
    pub fn utimens(&self, atime: Option<SetTime>, mtime: Option<SetTime>) -> Result<()> {
        let times = Timestamps {
            last_access: timespec(atime),
            last_modification: timespec(mtime),
        };
        match self {
            Loc::At(dir, name) => {
                rustix::fs::utimensat(dir, *name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Loc::Fd(fd) => match rustix::fs::utimensat(fd, c"", &times, AtFlags::EMPTY_PATH) {
                // since Linux 5.8
                Err(rustix::io::Errno::INVAL) => {
                    rustix::fs::utimensat(CWD, Loc::proc_path(*fd), &times, AtFlags::empty())?;
                }
                done => done?,
            },
            Loc::Open(fd) => rustix::fs::futimens(fd, &times)?,
        }
        Ok(())
    }

    /// The target of a symlink.
    pub fn readlink(&self) -> Result<Vec<u8>> {
        let target = match self {
            Loc::At(dir, name) => rustix::fs::readlinkat(dir, *name, Vec::new())?,
            // an empty path reads the link that the O_PATH fd is on
            Loc::Fd(fd) | Loc::Open(fd) => rustix::fs::readlinkat(fd, c"", Vec::new())?,
        };
        Ok(target.into_bytes())
    }

    /// When it was made, where the file system keeps that.
    pub fn btime(&self) -> Result<Option<Time>> {
        use rustix::fs::{StatxFlags, statx};
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let st = match self {
            Loc::At(dir, name) => statx(dir, *name, flags, StatxFlags::BTIME)?,
            Loc::Fd(fd) | Loc::Open(fd) => {
                statx(fd, c"", flags | AtFlags::EMPTY_PATH, StatxFlags::BTIME)?
            }
        };
        let known = st.stx_mask & StatxFlags::BTIME.bits() != 0;
        Ok(known.then_some(Time {
            sec: st.stx_btime.tv_sec,
            nsec: st.stx_btime.tv_nsec,
        }))
    }

    /// Gives the file another name.
    pub fn link(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        match self {
            Loc::At(from, old) => rustix::fs::linkat(from, *old, dir, name, AtFlags::empty())?,
            Loc::Fd(fd) | Loc::Open(fd) => {
                rustix::fs::linkat(CWD, Loc::proc_path(*fd), dir, name, AtFlags::SYMLINK_FOLLOW)?
            }
        }
        Ok(())
    }
}

fn timespec(t: Option<SetTime>) -> Timespec {
    match t {
        None => Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        Some(SetTime::Now) => Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        },
        Some(SetTime::At(t)) => Timespec {
            tv_sec: t.sec,
            tv_nsec: t.nsec.into(),
        },
    }
}

/// Opens a directory for use as an anchor: nothing but look-ups through it.
pub fn open_dir(parent: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    Ok(rustix::fs::openat(
        parent,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens the directory `path` (components joined by `/`, empty for `root` itself) beneath
/// `root`, following no link on the way. Any length: long paths go in steps.
pub fn open_beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    const STEP: usize = 3000; // well under PATH_MAX with a component of 255
    let mut rest = path;
    let mut at: Option<OwnedFd> = None;
    loop {
        let from = at.as_ref().map_or(root, AsFd::as_fd);
        if rest.len() <= STEP {
            let last: &[u8] = if rest.is_empty() { b"." } else { rest };
            return open_step(from, last);
        }
        let cut = rest[..STEP].iter().rposition(|b| *b == b'/').unwrap_or(0);
        let step = open_step(from, &rest[..cut])?;
        rest = &rest[cut + 1..];
        at = Some(step);
    }
}

/// Opens `path` as a process sees it that has `root` for its root: no link leads out of it, and none of a mounted
/// /proc leads anywhere.
pub fn open_in_root(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 1000;
    loop {
        let flags = flags | OFlags::CLOEXEC;
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // at a "..", while something was renamed or mounted anywhere: the kernel could not be sure
            Err(rustix::io::Errno::AGAIN) if tries > 0 => tries -= 1,
            opened => return Ok(opened?),
        }
    }
}

/// Opens the directory `path` beneath `root` for reading, following no link, by one system call.
/// `None`: it cannot be done by one, or not at all; [`open_beneath`] says which.
pub fn read_beneath(root: BorrowedFd<'_>, path: &[u8]) -> Option<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    read_quietly(|more| rustix::fs::openat2(root, path, flags | more, Mode::empty(), resolve))
}

/// As [`read_beneath`], for a name in a directory.
pub fn read_dir(parent: impl AsFd, name: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    read_quietly(|more| rustix::fs::openat(&parent, name, flags | more, Mode::empty()))
}

/// Opens with O_NOATIME, which keeps a layer's times as they are, where that may be asked for: by the owner only.
fn read_quietly(open: impl Fn(OFlags) -> rustix::io::Result<OwnedFd>) -> Option<OwnedFd> {
    open(OFlags::NOATIME)
        .or_else(|e| match e {
            rustix::io::Errno::PERM => open(OFlags::empty()),
            e => Err(e),
        })
        .ok()
}

fn open_step(from: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(from, path, flags, Mode::empty(), resolve) {
        Ok(fd) => Ok(fd),
        // seccomp filters from before openat2 answer EPERM
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            let mut at: Option<OwnedFd> = None;
            for part in path.split(|b| *b == b'/') {
                let next = open_dir(at.as_ref().map_or(from, AsFd::as_fd), part)?;
                at = Some(next);
            }
            at.ok_or(crate::vfs::Error::new(nix::errno::Errno::ENOENT))
        }
        Err(e) => Err(e.into()),
    }
}

/// The attributes in `st`, shown under number `ino`.
pub fn attr_of(st: &Stat, ino: NodeId) -> Result<Attr> {
    let kind = Kind::from_mode(st.st_mode)
        .ok_or_else(|| crate::vfs::Error::because(nix::errno::Errno::EIO, "file of no type"))?;
    Ok(Attr {
        ino,
        kind,
        perm: st.st_mode & 0o7777,
        nlink: u32::try_from(st.st_nlink).unwrap_or(u32::MAX),
        uid: st.st_uid,
        gid: st.st_gid,
        rdev: st.st_rdev,
        size: u64::try_from(st.st_size).unwrap_or(0),
        blocks: u64::try_from(st.st_blocks).unwrap_or(0),
        blksize: u32::try_from(st.st_blksize).unwrap_or(4096),
        atime: time(st.st_atime, st.st_atime_nsec),
        mtime: time(st.st_mtime, st.st_mtime_nsec),
        ctime: time(st.st_ctime, st.st_ctime_nsec),
    })
}

fn time(sec: i64, nsec: impl TryInto<u32>) -> Time {
    Time {
        sec,
        nsec: nsec.try_into().unwrap_or(0),
    }
}

/// True for the device number 0:0, overlayfs's whiteout.
pub fn is_whiteout(st: &Stat) -> bool {
    st.st_mode & libc::S_IFMT == libc::S_IFCHR && st.st_rdev == 0
}

/// Statistics of the file system that `fd` is on.
pub fn statfs(fd: BorrowedFd<'_>) -> Result<crate::vfs::StatFs> {
    let s = rustix::fs::fstatvfs(fd)?;
    let u32_of = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(crate::vfs::StatFs {
        blocks: s.f_blocks,
        bfree: s.f_bfree,
        bavail: s.f_bavail,
        files: s.f_files,
        ffree: s.f_ffree,
        bsize: u32_of(s.f_bsize),
        namelen: u32_of(s.f_namemax),
        frsize: u32_of(s.f_frsize),
    })
}

/// True if `dir` is the directory of `of`, or lies beneath it.
pub fn is_inside(dir: BorrowedFd<'_>, of: &Stat) -> Result<bool> {
    let mut at = open_dir(dir, b".")?;
    loop {
        let st = Loc::Fd(at.as_fd()).stat()?;
        if (st.st_dev, st.st_ino) == (of.st_dev, of.st_ino) {
            return Ok(true);
        }
        let up = open_dir(&at, b"..")?;
        let parent = Loc::Fd(up.as_fd()).stat()?;
        if (parent.st_dev, parent.st_ino) == (st.st_dev, st.st_ino) {
            return Ok(false);
        }
        at = up;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn renames_elsewhere_do_not_keep_a_path_from_being_opened() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root/a/b")).unwrap();
        fs::write(dir.path().join("root/file"), "").unwrap();
        let root = fs::File::open(dir.path().join("root")).unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    fs::rename(&from, &to).unwrap();
                    fs::rename(&to, &from).unwrap();
                }
            });
            let path = [&b"a/b/../../".repeat(10)[..], b"../../file"].concat();
            let open = |_| open_in_root(root.as_fd(), &path, OFlags::PATH).map(drop);
            let failed = (0..300).map(open).find_map(Result::err);
            stop.store(true, Ordering::Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }
}
