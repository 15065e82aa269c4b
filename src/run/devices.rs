//! The host's devices, for a privileged container.

use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What the runtime makes in every container, or mounts there.
const OWN: &[&str] = &[
    "console", "fd", "full", "init", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr",
    "stdin", "stdout", "tty", "urandom", "zero",
];

/// Folders deeper than this are none of devices.
const DEPTH: usize = 4;

/// All devices of the host.
pub fn of_host() -> Result<Vec<LinuxDevice>> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), DEPTH, &mut found)?;
    Ok(found)
}

fn collect(dir: &Path, depth: usize, found: &mut Vec<LinuxDevice>) -> Result<()> {
    for entry in fs::read_dir(dir).context(|| dir.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str());
        if name.is_none_or(|n| depth == DEPTH && OWN.contains(&n)) {
            continue;
        }
        // devices come and go
        let Some(meta) = absent_ok(fs::symlink_metadata(&path).map_err(Error::from))? else {
            continue;
        };
        let kind = meta.file_type();
        if kind.is_dir() && depth > 0 {
            collect(&path, depth - 1, found)?;
        }
        let kind = match () {
            () if kind.is_char_device() => LinuxDeviceType::C,
            () if kind.is_block_device() => LinuxDeviceType::B,
            () => continue,
        };
        let number = meta.rdev();
        let device = LinuxDeviceBuilder::default()
            .path(&path)
            .typ(kind)
            .major(i64::from(rustix::fs::major(number)))
            .minor(i64::from(rustix::fs::minor(number)))
            .file_mode(meta.mode() & 0o777)
            .uid(meta.uid())
            .gid(meta.gid())
            .build()
            .map_err(|e| Error::because(Errno::EINVAL, format!("{}: {e}", path.display())))?;
        found.push(device);
    }
    Ok(())
}
