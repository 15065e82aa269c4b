//! The ioctls of `/dev/fuse` that give the kernel backing files (`io=passthrough`).
#![allow(unsafe_code, reason = "ioctls have no safe wrapper")]

use crate::vfs::Result;
use std::os::fd::{AsFd, AsRawFd};

/// `struct fuse_backing_map`.
#[repr(C)]
#[derive(Debug)]
struct BackingMap {
    fd: i32,
    flags: u32,
    padding: u64,
}

const MAGIC: u8 = 229;
mod ioctl {
    #![allow(missing_docs, reason = "not seen outside")]
    use super::{BackingMap, MAGIC};
    nix::ioctl_write_ptr!(backing_open, MAGIC, 1, BackingMap);
    nix::ioctl_write_ptr!(backing_close, MAGIC, 2, u32);
}

/// Gives the kernel a file to read and write by itself. Returns the number that an answer to an
/// open names it by; the kernel keeps the file until [`backing_close`].
pub fn backing_open(device: impl AsFd, file: impl AsFd) -> Result<i32> {
    let map = BackingMap {
        fd: file.as_fd().as_raw_fd(),
        flags: 0,
        padding: 0,
    };
    // SAFETY: the structure is the kernel's, and lives until the call returns.
    Ok(unsafe { ioctl::backing_open(device.as_fd().as_raw_fd(), &raw const map) }?)
}

/// Takes a number of [`backing_open`] back. Opens that use the file keep it.
pub fn backing_close(device: impl AsFd, id: i32) -> Result<()> {
    let id = id.cast_unsigned();
    // SAFETY: as above.
    unsafe { ioctl::backing_close(device.as_fd().as_raw_fd(), &raw const id) }?;
    Ok(())
}
