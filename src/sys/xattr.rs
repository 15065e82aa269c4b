//! Extended attributes of a [`Loc`].

use super::loc::Loc;
use crate::vfs::Result;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// The value of attribute `name`, or `None` when the file, or its file system, has none of that name.
pub fn get(at: Loc<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let (path, follow) = at.path();
    let mut small = [0u8; 256];
    let read = |buf: &mut [u8]| match follow {
        true => rustix::fs::getxattr(path.as_slice(), name, buf),
        false => rustix::fs::lgetxattr(path.as_slice(), name, buf),
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
    let (path, follow) = at.path();
    let mut small = [0u8; 512];
    let read = |buf: &mut [u8]| match follow {
        true => rustix::fs::listxattr(path.as_slice(), buf),
        false => rustix::fs::llistxattr(path.as_slice(), buf),
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
    let (path, follow) = at.path();
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    match follow {
        true => rustix::fs::setxattr(path.as_slice(), name, value, flags)?,
        false => rustix::fs::lsetxattr(path.as_slice(), name, value, flags)?,
    }
    Ok(())
}

/// Removes attribute `name`; ENODATA when it is not there.
pub fn remove(at: Loc<'_>, name: &[u8]) -> Result<()> {
    let (path, follow) = at.path();
    match follow {
        true => rustix::fs::removexattr(path.as_slice(), name)?,
        false => rustix::fs::lremovexattr(path.as_slice(), name)?,
    }
    Ok(())
}
