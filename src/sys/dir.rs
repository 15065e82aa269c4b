//! Listing a directory.

use super::Loc;
use crate::vfs::{Kind, Result};
use rustix::fs::{FileType, Mode, OFlags, RawDir};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

/// One entry as the file system beneath gives it. `kind` is `None` where it does not say.
#[derive(Clone, Copy, Debug)]
pub struct RawEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode number.
    pub ino: u64,
    /// The type, where the file system says it.
    pub kind: Option<Kind>,
}

impl RawEntry<'_> {
    /// The type, asked of the file in `dir` where the listing does not say it.
    pub fn kind_in(&self, dir: BorrowedFd<'_>) -> Result<Option<Kind>> {
        match self.kind {
            Some(kind) => Ok(Some(kind)),
            None => Ok(Kind::from_mode(Loc::At(dir, self.name).stat()?.st_mode)),
        }
    }
}

/// Calls `each` for every entry of the directory but `.` and `..`, in the file system's order.
/// `dir` may be `O_PATH`.
pub fn for_each(dir: BorrowedFd<'_>, each: impl FnMut(RawEntry<'_>) -> Result<()>) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // O_NOATIME keeps the lower's times as they are; only the owner may ask for it
    let fd = match rustix::fs::openat(dir, c".", flags | OFlags::NOATIME, Mode::empty()) {
        Err(rustix::io::Errno::PERM) => rustix::fs::openat(dir, c".", flags, Mode::empty())?,
        other => other?,
    };
    read(fd.as_fd(), each)
}

/// As [`for_each`], on a directory that was opened for reading and is read for the first time.
pub fn read(dir: BorrowedFd<'_>, mut each: impl FnMut(RawEntry<'_>) -> Result<()>) -> Result<()> {
    let mut buf = vec![MaybeUninit::<u8>::uninit(); 32 * 1024];
    let mut iter = RawDir::new(dir, &mut buf);
    while let Some(entry) = iter.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        each(RawEntry {
            name,
            ino: entry.ino(),
            kind: kind(entry.file_type()),
        })?;
    }
    Ok(())
}

fn kind(t: FileType) -> Option<Kind> {
    Some(match t {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDev,
        FileType::BlockDevice => Kind::BlockDev,
        FileType::Unknown => return None,
    })
}
