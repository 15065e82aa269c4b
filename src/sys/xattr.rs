//! Extended attributes of a [`Loc`].

use super::loc::Loc;
use crate::vfs::Result;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// How the calls below get at a file.
enum Way<'a> {
    Open(BorrowedFd<'a>),
    /// By a path that ends in a magic link.
    Follow(Vec<u8>),
    /// By a path that ends in the file itself.
    Stay(Vec<u8>),
}

impl Way<'_> {
    fn to(at: Loc<'_>) -> Way<'_> {
        match at {
            Loc::Open(fd) => Way::Open(fd),
            Loc::Fd(_) => Way::Follow(at.path()),
            Loc::At(..) => Way::Stay(at.path()),
        }
    }
}

/// The value of attribute `name`, or `None` when the file, or its file system, has none of that name.
pub fn get(at: Loc<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let at = Way::to(at);
    let mut small = [0u8; 256];
    let read = |buf: &mut [u8]| match &at {
        Way::Open(fd) => rustix::fs::fgetxattr(fd, name, buf),
        Way::Follow(path) => rustix::fs::getxattr(path.as_slice(), name, buf),
        Way::Stay(path) => rustix::fs::lgetxattr(path.as_slice(), name, buf),
    };
    match read(&mut small) {
        Ok(n) => return Ok(Some(small[..n].to_vec())),
        Err(Errno::RANGE) => {}
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let mut large = vec![0u8; 65536]; // XATTR_SIZE_MAX
    match read(&mut large) {
        Ok(n) => {
            large.truncate(n);
            Ok(Some(large))
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The names, each ended by a NUL; empty when the file system has no attributes.
pub fn list(at: Loc<'_>) -> Result<Vec<u8>> {
    let at = Way::to(at);
    let mut small = [0u8; 512];
    let read = |buf: &mut [u8]| match &at {
        Way::Open(fd) => rustix::fs::flistxattr(fd, buf),
        Way::Follow(path) => rustix::fs::listxattr(path.as_slice(), buf),
        Way::Stay(path) => rustix::fs::llistxattr(path.as_slice(), buf),
    };
    match read(&mut small) {
        Ok(n) => return Ok(small[..n].to_vec()),
        Err(Errno::RANGE) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    }
    let mut large = vec![0u8; 65536]; // XATTR_LIST_MAX
    match read(&mut large) {
        Ok(n) => {
            large.truncate(n);
            Ok(large)
        }
        Err(e) => Err(e.into()),
    }
}

/// As [`list`], for a file that is open otherwise than by `O_PATH`: no path is walked.
pub fn list_open(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    let mut small = [0u8; 512];
    match rustix::fs::flistxattr(file, &mut small[..]) {
        Ok(n) => Ok(small[..n].to_vec()),
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(_) => list(Loc::Fd(file)),
    }
}

/// Splits what [`list`] gives.
pub fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| *b == 0).filter(|n| !n.is_empty())
}

/// Sets attribute `name`; `flags` are `XATTR_CREATE` and `XATTR_REPLACE`.
pub fn set(at: Loc<'_>, name: &[u8], value: &[u8], flags: i32) -> Result<()> {
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    match Way::to(at) {
        Way::Open(fd) => rustix::fs::fsetxattr(fd, name, value, flags)?,
        Way::Follow(path) => rustix::fs::setxattr(path.as_slice(), name, value, flags)?,
        Way::Stay(path) => rustix::fs::lsetxattr(path.as_slice(), name, value, flags)?,
    }
    Ok(())
}

/// Removes attribute `name`; ENODATA when it is not there.
pub fn remove(at: Loc<'_>, name: &[u8]) -> Result<()> {
    match Way::to(at) {
        Way::Open(fd) => rustix::fs::fremovexattr(fd, name)?,
        Way::Follow(path) => rustix::fs::removexattr(path.as_slice(), name)?,
        Way::Stay(path) => rustix::fs::lremovexattr(path.as_slice(), name)?,
    }
    Ok(())
}
