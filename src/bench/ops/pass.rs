//! One pass over the tree, as the operations time it. Each gives how many things it did and a
//! check value of what it saw, whatever order it saw them in.

use crate::bench::failure::{Failure, Result, Step, go_on};
use crate::bench::latency::Watch;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Things done.
    pub count: usize,
    /// What was seen.
    pub check: u64,
}

impl Done {
    fn saw(&mut self, what: u64) {
        self.count += 1;
        self.check = self.check.wrapping_add(what);
    }

    /// Of two passes that each did a part.
    #[must_use]
    pub fn and(self, other: Done) -> Done {
        Done {
            count: self.count + other.count,
            check: self.check.wrapping_add(other.check),
        }
    }
}

/// What two trees with the same contents have in common in a file's attributes.
fn seen(st: &Stat) -> u64 {
    let size = match FileType::from_raw_mode(st.st_mode) {
        FileType::Directory => 0, // the file system's own affair
        _ => u64::try_from(st.st_size).unwrap_or(0),
    };
    size.wrapping_mul(0x1_0001)
        .wrapping_add(u64::from(st.st_mode))
}

fn lstat(root: BorrowedFd<'_>, name: &CStr) -> Result<Stat> {
    rustix::fs::statat(root, name, AtFlags::SYMLINK_NOFOLLOW).step(format_args!("lstat {name:?}"))
}

/// `lstat` of every name.
pub fn stat(root: BorrowedFd<'_>, names: &[CString], watch: &mut Watch) -> Result<Done> {
    let mut done = Done::default();
    for name in names {
        go_on()?;
        let st = watch.time(|| lstat(root, name))?;
        done.saw(seen(&st));
    }
    Ok(done)
}

/// How many of the names have this owner.
pub fn owned(root: BorrowedFd<'_>, names: &[CString], owner: u32) -> Result<usize> {
    let mut n = 0;
    for name in names {
        n += usize::from(lstat(root, name)?.st_uid == owner);
    }
    Ok(n)
}

/// `lstat` of names that are not there.
pub fn absent(root: BorrowedFd<'_>, names: &[CString], watch: &mut Watch) -> Result<Done> {
    let mut done = Done::default();
    for name in names {
        go_on()?;
        let found =
            watch.time(|| rustix::fs::statat(root, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Err(Errno::NOENT) => done.saw(1),
            Ok(_) => return Err(Failure::new(format!("{name:?} exists and must not"))),
            Err(e) => return Err(e).step(format_args!("lstat {name:?}")),
        }
    }
    Ok(done)
}

/// Opens and closes every file.
pub fn open_close(root: BorrowedFd<'_>, names: &[CString], watch: &mut Watch) -> Result<Done> {
    let mut done = Done::default();
    for name in names {
        go_on()?;
        watch.time(|| open(root, name).map(drop))?;
        done.saw(1);
    }
    Ok(done)
}

/// Opens, reads to the end and closes every file.
pub fn read_files(root: BorrowedFd<'_>, names: &[CString], watch: &mut Watch) -> Result<Done> {
    let mut done = Done::default();
    let mut buf = vec![0u8; 64 << 10];
    for name in names {
        go_on()?;
        let check = watch.time(|| {
            let fd = open(root, name)?;
            read_all(&fd, &mut buf).step(format_args!("read {name:?}"))
        })?;
        done.saw(check);
    }
    Ok(done)
}

/// Opens a file for reading.
pub fn open(root: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(root, name, flags, Mode::empty()).step(format_args!("open {name:?}"))
}

/// Reads to the end. The check has the length and the first word of each page.
pub fn read_all(fd: &OwnedFd, buf: &mut [u8]) -> Result<u64> {
    let (mut len, mut check) = (0u64, 0u64);
    loop {
        let n = rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut *buf))?;
        if n == 0 {
            return Ok(check.wrapping_add(len));
        }
        len += n as u64;
        check = fold(check, &buf[..n]);
    }
}

/// Folds the first word of each page into a check.
pub fn fold(mut check: u64, bytes: &[u8]) -> u64 {
    for page in bytes.chunks(PAGE) {
        if let Some(word) = page.first_chunk::<8>() {
            check = check.rotate_left(1) ^ u64::from_le_bytes(*word);
        }
    }
    check
}

/// What random reads and writes take at once.
pub const PAGE: usize = 4096;

/// Lists every directory of a list, without a look at what is in it.
pub fn list(root: BorrowedFd<'_>, dirs: &[CString], watch: &mut Watch) -> Result<Done> {
    let mut done = Done::default();
    for name in dirs {
        go_on()?;
        let names = watch.time(|| names_in(root, name))?;
        done = done.and(names);
    }
    Ok(done)
}

fn names_in(root: BorrowedFd<'_>, name: &CStr) -> Result<Done> {
    let mut done = Done::default();
    let fd = open_dir(root, name)?;
    let mut buf = [MaybeUninit::<u8>::uninit(); 32 << 10];
    let mut list = RawDir::new(&fd, &mut buf);
    while let Some(entry) = list.next() {
        let entry = entry.step(format_args!("list {name:?}"))?;
        let child = entry.file_name().to_bytes();
        if child != b"." && child != b".." {
            // FNV-1a: the same in every process
            let hash = child.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
                (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
            });
            done.saw(hash);
        }
    }
    Ok(done)
}

fn open_dir(at: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
        .step(format_args!("open the directory {name:?}"))
}

/// What `find -ls` does: lists every directory, `lstat`s every entry, reads every symlink.
pub fn find(root: BorrowedFd<'_>) -> Result<Done> {
    let mut done = Done::default();
    find_in(root, c".", &mut done)?;
    Ok(done)
}

fn find_in(at: BorrowedFd<'_>, name: &CStr, done: &mut Done) -> Result<()> {
    go_on()?;
    let fd = open_dir(at, name)?;
    let mut dirs: Vec<CString> = Vec::new();
    let mut buf = [MaybeUninit::<u8>::uninit(); 32 << 10];
    let mut list = RawDir::new(&fd, &mut buf);
    while let Some(entry) = list.next() {
        let entry = entry.step(format_args!("list {name:?}"))?;
        let child = entry.file_name();
        if child == c"." || child == c".." {
            continue;
        }
        let st = lstat(fd.as_fd(), child)?;
        done.saw(seen(&st));
        match FileType::from_raw_mode(st.st_mode) {
            FileType::Directory => dirs.push(child.to_owned()),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&fd, child, Vec::new())
                    .step(format_args!("readlink {child:?}"))?;
                done.check = done.check.wrapping_add(target.as_bytes().len() as u64);
            }
            _ => {}
        }
    }
    for dir in dirs {
        find_in(fd.as_fd(), &dir, done)?;
    }
    Ok(())
}
