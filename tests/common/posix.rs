//! System calls by path, never following a last symlink, errors as plain errno numbers.

use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use std::collections::BTreeMap;
use std::path::Path;

/// The result of a system call: a value or an errno.
pub type R<T> = Result<T, i32>;

/// An errno out of whatever error.
pub fn errno(e: rustix::io::Errno) -> i32 {
    e.raw_os_error()
}

/// The errno of a std error.
pub fn io(e: std::io::Error) -> i32 {
    e.raw_os_error()
        .unwrap_or_else(|| panic!("no errno in {e}"))
}

/// lstat.
pub fn lstat(path: &Path) -> R<rustix::fs::Stat> {
    rustix::fs::lstat(path).map_err(errno)
}

/// Names of the attributes.
pub fn xattr_names(path: &Path) -> R<Vec<Vec<u8>>> {
    let mut buf = vec![0u8; 65536];
    let n = rustix::fs::llistxattr(path, &mut buf[..]).map_err(errno)?;
    Ok(buf[..n]
        .split(|b| *b == 0)
        .filter(|s| !s.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

/// The value of an attribute.
pub fn get_xattr(path: &Path, name: &[u8]) -> R<Vec<u8>> {
    let mut buf = vec![0u8; 65536];
    let n = rustix::fs::lgetxattr(path, name, &mut buf[..]).map_err(errno)?;
    buf.truncate(n);
    Ok(buf)
}

/// All attributes. File systems without any have none.
pub fn xattrs(path: &Path) -> R<BTreeMap<Vec<u8>, Vec<u8>>> {
    let names = match xattr_names(path) {
        Err(libc::EOPNOTSUPP) => return Ok(BTreeMap::new()),
        other => other?,
    };
    names
        .into_iter()
        .map(|n| get_xattr(path, &n).map(|v| (n, v)))
        .collect()
}

/// Sets an attribute; `flags` are `XATTR_CREATE`, `XATTR_REPLACE`.
pub fn set_xattr(path: &Path, name: &[u8], value: &[u8], flags: i32) -> R<()> {
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    rustix::fs::lsetxattr(path, name, value, flags).map_err(errno)
}

/// Owner and group.
pub fn lchown(path: &Path, uid: u32, gid: u32) -> R<()> {
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
}

/// Mode; not for symlinks.
pub fn chmod(path: &Path, mode: u32) -> R<()> {
    rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode), AtFlags::empty()).map_err(errno)
}

/// A point in time, as (seconds, nanoseconds), `UTIME_OMIT` and `UTIME_NOW` included.
pub type Stamp = (i64, i64);

/// Access and modification time.
pub fn utimens(path: &Path, atime: Stamp, mtime: Stamp) -> R<()> {
    let ts = |(tv_sec, tv_nsec): Stamp| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: ts(atime),
        last_modification: ts(mtime),
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(errno)
}

/// Leaves a time as it is.
pub const OMIT: Stamp = (0, libc::UTIME_OMIT);

/// A POSIX ACL in the form of its attribute: owner, user 1000, group, mask, others.
pub fn acl(owner: u16, user1000: u16, group: u16, mask: u16, other: u16) -> Vec<u8> {
    const ANY: u32 = u32::MAX;
    let mut out = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in [
        (0x01u16, owner, ANY),
        (0x02, user1000, 1000),
        (0x04, group, ANY),
        (0x10, mask, ANY),
        (0x20, other, ANY),
    ] {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}
