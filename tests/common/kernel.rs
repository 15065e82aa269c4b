//! Mounts of the kernel's overlayfs: the reference, and the judge of what the upper holds.

use super::stack::Stack;
use super::tree::{Tree, View};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};

/// A mount that ends with this value.
pub struct Mounted {
    at: PathBuf,
    done: bool,
}

impl Mounted {
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts; it is an error if somebody still uses it.
    pub fn unmount(mut self) {
        self.done = true;
        umount2(&self.at, MntFlags::empty())
            .unwrap_or_else(|e| panic!("umount {:?}: {e}", self.at));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.done && umount2(&self.at, MntFlags::MNT_DETACH).is_err() {
            eprintln!("left mounted: {:?}", self.at);
        }
    }
}

/// Mounts a stack with kernel overlayfs. `index`: hard links of a lower stay one file.
pub fn overlay(stack: &Stack, index: bool) -> Mounted {
    let lowers: Vec<String> = stack
        .lowers
        .iter()
        .map(|l| l.display().to_string())
        .collect();
    let (index, xino) = if index {
        ("on", "auto")
    } else {
        ("off", "off")
    };
    let data = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=on,metacopy=on,index={index},xino={xino}",
        lowers.join(":"),
        stack.upper().display(),
        stack.work().display()
    );
    let at = stack.mnt();
    mount(
        Some("overlay"),
        &at,
        Some("overlay"),
        MsFlags::empty(),
        Some(data.as_str()),
    )
    .unwrap_or_else(|e| panic!("mount -t overlay -o {data}: {e}"));
    Mounted { at, done: false }
}

/// The tree that it shows, but for whiteouts in a directory that only one layer has: it lists
/// them, although there is nothing by their names.
pub fn tree(mount: &Mounted) -> Tree {
    let mut tree = super::walk::tree(mount.path());
    tree.0
        .retain(|_, e| !e.faults.contains(&"lstat: errno 2".into()));
    tree
}

/// What can be compared through kernel overlayfs: merged directories show one link (its
/// documentation: "st_nlink ... of a merged directory is 1"); without `index`, names of one file
/// part at copy-up; in an upper that somebody else wrote, it lists the upper's inode numbers of
/// directories where `stat` shows the lower's.
pub fn view(index: bool, view: View) -> View {
    View {
        dir_nlink: false,
        links: index,
        d_ino: index,
        ..view
    }
}
