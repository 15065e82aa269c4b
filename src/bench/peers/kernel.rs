//! Overlayfs of the kernel, by the mount calls that take one layer at a time.
//!
//! mount(2) takes all options in one page, which ends near 100 layers; with fsconfig(2) and
//! `lowerdir+` (Linux 6.8) the limit is overlayfs's own, 500.

use super::{Mounted, Places};
use crate::bench::failure::{Result, Step};
use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

/// Mounts with the kernel's defaults.
pub fn mount(places: &Places) -> Result<Mounted> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step("fsopen overlay")?;
    for (i, layer) in places.layers.iter().enumerate() {
        fsconfig_set_string(&fs, "lowerdir+", layer).step(format_args!(
            "layer {} of {}",
            i + 1,
            places.layers.len()
        ))?;
    }
    fsconfig_set_string(&fs, "upperdir", &places.upper).step("upperdir")?;
    fsconfig_set_string(&fs, "workdir", &places.work).step("workdir")?;
    fsconfig_create(&fs).step(format_args!("mount {} layers", places.layers.len()))?;
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
