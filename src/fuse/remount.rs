//! Changing the flags of a mount that is there. Its layers stay what they are.

use super::unmount::is_fuse;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::mount::MsFlags;
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

/// As statvfs(3) has it; mount(2)'s is 256.
const ST_NOSYMFOLLOW: u64 = 0x2000;

/// Changes the flags of the FUSE mount on `mountpoint`: `set` on, `clear` off, the others as they
/// are. Anything but a FUSE mount is refused.
pub fn remount(mountpoint: &Path, set: MsFlags, clear: MsFlags) -> Result<()> {
    let said = || mountpoint.display().to_string();
    let root = rustix::fs::openat(
        CWD,
        mountpoint,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context(said)?;
    // the fd stays on what was checked, whatever is mounted on the path meanwhile
    if !is_fuse(rustix::fs::fstatfs(&root).context(said)?.f_type) {
        return Err(Error::because(
            Errno::EINVAL,
            format!("{} is not a FUSE mount", said()),
        ));
    }
    let mut flags = current(root.as_fd()).context(said)?;
    flags.remove(clear);
    flags.insert(set);
    let at = format!("/proc/self/fd/{}", root.as_raw_fd());
    let none: Option<&str> = None;
    nix::mount::mount(none, at.as_str(), none, flags | MsFlags::MS_REMOUNT, none)
        .context(|| format!("remount {}", said()))
}

/// The flags that a mount has. Of those for the times of access, mount(2) keeps what is there
/// when none of them is given.
fn current(mount: BorrowedFd<'_>) -> Result<MsFlags> {
    let has = rustix::fs::fstatvfs(mount)?.f_flag;
    let known = [
        (StatVfsMountFlags::RDONLY, MsFlags::MS_RDONLY),
        (StatVfsMountFlags::NOSUID, MsFlags::MS_NOSUID),
        (StatVfsMountFlags::NODEV, MsFlags::MS_NODEV),
        (StatVfsMountFlags::NOEXEC, MsFlags::MS_NOEXEC),
        (StatVfsMountFlags::SYNCHRONOUS, MsFlags::MS_SYNCHRONOUS),
        (StatVfsMountFlags::NOATIME, MsFlags::MS_NOATIME),
        (StatVfsMountFlags::NODIRATIME, MsFlags::MS_NODIRATIME),
        (StatVfsMountFlags::RELATIME, MsFlags::MS_RELATIME),
        (
            StatVfsMountFlags::from_bits_retain(ST_NOSYMFOLLOW),
            MsFlags::from_bits_retain(256),
        ),
    ];
    Ok(known
        .into_iter()
        .filter(|(there, _)| has.contains(*there))
        .map(|(_, flag)| flag)
        .collect())
}
