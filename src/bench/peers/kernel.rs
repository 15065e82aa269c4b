//! Overlayfs of the kernel, by the mount calls that take one layer at a time.
//!
//! mount(2) takes all options in one page, which ends near 100 layers; with fsconfig(2) and
//! `lowerdir+` (Linux 6.8) the limit is overlayfs's own, 500.

use super::{Mounted, Places};
use crate::bench::failure::{Failure, Result, Step};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

/// Options of the mount beside its directories: keys, and values if they have one.
pub type Options = &'static [(&'static str, Option<&'static str>)];

/// `OVL_MAX_STACK` of the kernel's `fs/overlayfs/params.h`.
const MOST: usize = 500;

/// Mounts.
pub fn mount(options: Options, places: &Places) -> Result<Mounted> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step("fsopen overlay")?;
    let of = places.layers.len();
    for (i, layer) in places.layers.iter().enumerate() {
        match fsconfig_set_string(&fs, "lowerdir+", layer) {
            // it refuses one too many; any other refusal is a failure
            Err(Errno::INVAL) if i == MOST => {
                let why = format!("it takes {MOST} layers and refuses more ({})", Errno::INVAL);
                return Err(Failure::Limit(why));
            }
            other => other.step(format_args!("layer {} of {of}", i + 1))?,
        }
    }
    fsconfig_set_string(&fs, "upperdir", &places.upper).step("upperdir")?;
    fsconfig_set_string(&fs, "workdir", &places.work).step("workdir")?;
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(&fs, *key, *value),
            None => fsconfig_set_flag(&fs, *key),
        }
        .step(key)?;
    }
    fsconfig_create(&fs).step(format_args!("mount {of} layers"))?;
    let detached =
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).step("fsmount")?;
    move_mount(
        &detached,
        "",
        CWD,
        &places.mnt,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at("mount on", &places.mnt)?;
    Mounted::kernel(&places.mnt)
}
