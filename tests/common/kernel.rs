//! Mounts of the kernel's overlayfs: the reference, and the judge of what the upper holds.

use super::real::Real;
use super::stack::Stack;
use super::tree::View;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A mount that ends with this value.
pub struct Mounted {
    at: PathBuf,
    done: bool,
}

impl Mounted {
    /// Something that is mounted already.
    pub fn at(path: &Path) -> Mounted {
        Mounted {
            at: path.to_owned(),
            done: false,
        }
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts; it is an error if somebody still uses it.
    pub fn unmount(mut self) {
        self.done = true;
        for _ in 0..200 {
            match umount2(&self.at, MntFlags::empty()) {
                // a process that another test's thread is just starting has our fds until it execs
                Err(nix::errno::Errno::EBUSY) => std::thread::sleep(Duration::from_millis(10)),
                other => return other.unwrap_or_else(|e| panic!("umount {:?}: {e}", self.at)),
            }
        }
        self.done = false;
        panic!("umount {:?}: in use", self.at);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.done && umount2(&self.at, MntFlags::MNT_DETACH).is_err() {
            eprintln!("left mounted: {:?}", self.at);
        }
    }
}

/// Mounts a stack with kernel overlayfs, with the options whose marks an upper of ours may have.
pub fn overlay(stack: &Stack) -> Mounted {
    mount_overlay(stack, "redirect_dir=on,metacopy=on,index=off,xino=off")
}

/// The form that comes next to a plain directory. `index`: hard links of a lower stay one file.
/// No `metacopy`: the first open for writing after a change of attributes would set the file's
/// time of modification, for the data that is copied up then is written like any other.
pub fn reference(stack: &Stack) -> Mounted {
    mount_overlay(stack, "redirect_dir=on,metacopy=off,index=on,xino=auto")
}

/// The same, with marks in `user.overlay.`.
pub fn overlay_userxattr(stack: &Stack) -> Mounted {
    mount_overlay(stack, "userxattr,index=off,xino=off")
}

fn mount_overlay(stack: &Stack, options: &str) -> Mounted {
    let lowers: Vec<String> = stack
        .lowers
        .iter()
        .map(|l| l.display().to_string())
        .collect();
    let data = format!(
        "lowerdir={},upperdir={},workdir={},{options}",
        lowers.join(":"),
        stack.upper().display(),
        stack.work().display()
    );
    let (at, kind) = (stack.mnt(), Some("overlay"));
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match mount(kind, &at, kind, MsFlags::empty(), Some(data.as_str())) {
            Ok(()) => return Mounted::at(&at),
            // a namespace that another test has just made has a copy of the last mount
            Err(Errno::EBUSY) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => panic!("mount -t overlay -o {data}: {e}"),
        }
    }
}

/// What it shows, but for whiteouts in a directory that only one layer has: it lists them,
/// although there is nothing by their names.
pub fn subject(mount: &Mounted) -> Real {
    let mut real = Real::new(mount.path());
    real.ghosts = true;
    real
}

/// What can be compared through kernel overlayfs: merged directories show one link (its
/// documentation: "st_nlink ... of a merged directory is 1"); without `index`, names of one file
/// part at copy-up.
pub fn view(index: bool, view: View) -> View {
    View {
        dir_nlink: false,
        links: index,
        ..view
    }
}
