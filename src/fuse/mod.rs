//! The adapter between the engine and the kernel: decode, one engine call, reply; mounting, and
//! the life of the process that serves a mount.

mod options;

pub use options::{Allow, FOREVER, Io, MountOptions};

use crate::overlay::Config;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::path::Path;

/// Stacks the layers, mounts them on `mountpoint` and serves the mount.
///
/// With `foreground` it returns when the mount is gone. Otherwise it returns when the mount is
/// ready, and a process of its own, without the caller's stdio, serves it. It must be called
/// before the process starts a thread.
pub fn run(
    config: &Config,
    options: &MountOptions,
    mountpoint: &Path,
    foreground: bool,
) -> Result<()> {
    let (_, _, _, _) = (config, options, mountpoint, foreground);
    Err(Error::new(Errno::ENOSYS))
}

/// Unmounts `mountpoint`, which must be a mount of this program. `lazy`: at once, even if files
/// are in use; they stay usable until closed.
pub fn unmount(mountpoint: &Path, lazy: bool) -> Result<()> {
    let (_, _) = (mountpoint, lazy);
    Err(Error::new(Errno::ENOSYS))
}
