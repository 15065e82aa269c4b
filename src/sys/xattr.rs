//! Extended attributes of a [`Loc`].

use super::loc::Loc;
use super::xattr_at;
use crate::vfs::Result;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The value's length, into `buf`.
fn get_into(at: Loc<'_>, name: &[u8], buf: &mut [u8]) -> rustix::io::Result<usize> {
    match at {
        Loc::Open(fd) => rustix::fs::fgetxattr(fd, name, buf),
        Loc::Fd(fd) => match rustix::fs::fgetxattr(fd, name, &mut *buf) {
            // O_PATH
            Err(Errno::BADF) => rustix::fs::getxattr(at.path(), name, buf),
            done => done,
        },
        Loc::At(dir, file) => match xattr_at::get(dir, file, name, buf) {
            Some(done) => done,
            None => rustix::fs::lgetxattr(at.path(), name, buf),
        },
    }
}

/// The length of the names, into `buf`.
fn list_into(at: Loc<'_>, buf: &mut [u8]) -> rustix::io::Result<usize> {
    match at {
        Loc::Open(fd) => rustix::fs::flistxattr(fd, buf),
        Loc::Fd(fd) => match rustix::fs::flistxattr(fd, &mut *buf) {
            // O_PATH
            Err(Errno::BADF) => rustix::fs::listxattr(at.path(), buf),
            done => done,
        },
        Loc::At(dir, file) => match xattr_at::list(dir, file, buf) {
            Some(done) => done,
            None => rustix::fs::llistxattr(at.path(), buf),
        },
    }
}

/// The value of attribute `name`, or `None` when the file, or its file system, has none of that name.
pub fn get(at: Loc<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut small = [0u8; 256];
    match get_into(at, name, &mut small) {
        Ok(n) => return Ok(Some(small[..n].to_vec())),
        Err(Errno::RANGE) => {}
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    let mut large = vec![0u8; 65536]; // XATTR_SIZE_MAX
    match get_into(at, name, &mut large) {
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
    let mut small = [0u8; 512];
    match list_into(at, &mut small) {
        Ok(n) => return Ok(small[..n].to_vec()),
        Err(Errno::RANGE) => {}
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    }
    let mut large = vec![0u8; 65536]; // XATTR_LIST_MAX
    match list_into(at, &mut large) {
        Ok(n) => {
            large.truncate(n);
            Ok(large)
        }
        Err(e) => Err(e.into()),
    }
}

/// Splits what [`list`] gives.
pub fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| *b == 0).filter(|n| !n.is_empty())
}

/// Sets attribute `name`; `flags` are `XATTR_CREATE` and `XATTR_REPLACE`.
pub fn set(at: Loc<'_>, name: &[u8], value: &[u8], flags: i32) -> Result<()> {
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    match at {
        Loc::Open(fd) => rustix::fs::fsetxattr(fd, name, value, flags)?,
        Loc::Fd(_) => rustix::fs::setxattr(at.path(), name, value, flags)?,
        Loc::At(..) => rustix::fs::lsetxattr(at.path(), name, value, flags)?,
    }
    Ok(())
}

/// Removes attribute `name`; ENODATA when it is not there.
pub fn remove(at: Loc<'_>, name: &[u8]) -> Result<()> {
    match at {
        Loc::Open(fd) => rustix::fs::fremovexattr(fd, name)?,
        Loc::Fd(_) => rustix::fs::removexattr(at.path(), name)?,
        Loc::At(..) => rustix::fs::lremovexattr(at.path(), name)?,
    }
    Ok(())
}
