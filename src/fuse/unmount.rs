//! Unmounting: on command by path, and at a signal the very mount that this process serves.

use super::mount::{Mounted, mount_id_of};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// `f_type` of every FUSE mount.
const FUSE_SUPER_MAGIC: i64 = 0x6573_5546;

/// Unmounts `mountpoint`, which must be a FUSE mount. `lazy`: at once, even if files are in use;
/// they stay usable until closed.
pub fn unmount(mountpoint: &Path, lazy: bool) -> Result<()> {
    let path = std::path::absolute(mountpoint)?;
    refuse_others(&path, lazy)?;
    take_down(&path, lazy)
}

/// Unmounts what is mounted on `mountpoint`, where only this program mounts anything. False: nothing is.
/// It asks the file system nothing.
pub fn unmount_own(mountpoint: &Path) -> Result<bool> {
    let path = std::path::absolute(mountpoint)?;
    if !is_mounted_on(&path)? {
        return Ok(false);
    }
    match take_down(&path, false) {
        Err(e) if e.is(Errno::EBUSY) => take_down(&path, true)?,
        done => done?,
    }
    Ok(true)
}

/// Whether `path` is the root of a mount.
fn is_mounted_on(path: &Path) -> Result<bool> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let st = rustix::fs::statx(CWD, path, flags, StatxFlags::empty())
        .context(|| path.display().to_string())?;
    let known = st.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    match known {
        true => Ok(st.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        false => Err(Error::because(
            Errno::ENOSYS,
            "the kernel does not tell what is mounted",
        )),
    }
}

fn take_down(path: &Path, lazy: bool) -> Result<()> {
    let flags = if lazy {
        MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW
    } else {
        MntFlags::UMOUNT_NOFOLLOW
    };
    match umount2(path, flags) {
        Err(Errno::EPERM) => by_helper(path, lazy),
        done => done.context(|| format!("unmount {}", path.display())),
    }
}

/// True for the `f_type` of a FUSE mount.
pub(super) fn is_fuse(f_type: i64) -> bool {
    f_type == FUSE_SUPER_MAGIC
}

/// An unmount of the wrong thing is not to be undone.
fn refuse_others(path: &Path, lazy: bool) -> Result<()> {
    match rustix::fs::statfs(path) {
        Ok(st) if is_fuse(st.f_type) => Ok(()),
        Ok(_) => Err(Error::because(
            Errno::EINVAL,
            format!("{} is not a FUSE mount", path.display()),
        )),
        // the process that served it is gone: all the more to be unmounted
        Err(rustix::io::Errno::NOTCONN | rustix::io::Errno::CONNABORTED) => Ok(()),
        Err(rustix::io::Errno::ACCESS) if lazy => Ok(()),
        Err(e) => Err(e).context(|| path.display().to_string()),
    }
}

fn by_helper(path: &Path, lazy: bool) -> Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u");
    if lazy {
        command.arg("-z");
    }
    let output = command
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .context(
            || "unmounting is not permitted, and fusermount3 (package fuse3) does not start",
        )?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(Error::because(Errno::EPERM, said))
}

impl Mounted {
    /// Takes this mount, and no other that may be at its path by now, out of the tree. Files in
    /// use stay usable until closed.
    pub(super) fn detach(&self) -> Result<()> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &self.path, flags, Mode::empty())
            .context(|| self.path.display().to_string())?;
        if mount_id_of(std::os::fd::AsFd::as_fd(&root))? != self.id {
            return Err(Error::because(
                Errno::EINVAL,
                format!("{} is another mount by now", self.path.display()),
            ));
        }
        let at = format!("/proc/self/fd/{}", root.as_raw_fd());
        match umount2(at.as_str(), MntFlags::MNT_DETACH) {
            // fusermount3 mounted it and knows paths only
            Err(Errno::EPERM) => by_helper(&self.path, true),
            done => done.context(|| format!("unmount {}", self.path.display())),
        }
    }
}
