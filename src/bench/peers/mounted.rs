//! A mount that is there; dropping it takes it away by the right means.

use super::{daemon, device};
use crate::bench::failure::{Failure, Result, Step};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long an unmount may find the mount busy before it is detached.
const BUSY: Duration = Duration::from_secs(5);

/// A tree that can be used.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    Plain,
    Kernel,
    Fuse(Daemon),
}

/// The process behind a FUSE mount.
#[derive(Debug)]
pub struct Daemon {
    mnt: PathBuf,
    pids: OnceCell<Vec<i32>>,
    child: Option<Child>,
    watch: Option<Sender<()>>,
}

impl Daemon {
    /// Of the mount at `mnt`. `child` is the program if it runs in the foreground.
    pub fn of(mnt: &Path, child: Option<Child>, limit: Duration) -> Result<Daemon> {
        let mut found = Daemon {
            mnt: mnt.to_owned(),
            pids: OnceCell::new(),
            child,
            watch: None,
        };
        found.watch = Some(watch(device(mnt)?, limit));
        Ok(found)
    }

    /// Looked for when first needed: the time that it takes belongs to no mount.
    fn pids(&self) -> &[i32] {
        self.pids.get_or_init(|| match daemon::serving(&self.mnt) {
            Ok(pids) => pids,
            Err(e) => {
                log::warn!("the processes that serve {}: {e}", self.mnt.display());
                Vec::new()
            }
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pids = self.pids().to_vec();
        daemon::note("unmount", unmount_fuse(&self.mnt));
        if !daemon::wait_gone(&pids, Duration::from_secs(10)) {
            let who = daemon::names(&pids);
            eprintln!("vellum bench: a mount program outlives its mount and is ended: {who}");
            daemon::end_all(&self.mnt, &pids);
        }
        if let Some(child) = &mut self.child {
            daemon::note("reap", child.wait());
        }
        drop(self.watch.take());
    }
}

impl Mounted {
    /// A plain directory: nothing to unmount.
    pub fn plain(path: &Path) -> Mounted {
        Mounted {
            path: path.to_owned(),
            what: What::Plain,
        }
    }

    /// A mount of the kernel.
    pub fn kernel(path: &Path) -> Result<Mounted> {
        Ok(Mounted {
            path: path.to_owned(),
            what: What::Kernel,
        })
    }

    /// A mount that a program serves.
    pub fn fuse(daemon: Daemon) -> Result<Mounted> {
        Ok(Mounted {
            path: daemon.mnt.clone(),
            what: What::Fuse(daemon),
        })
    }

    /// The root of the merged tree.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Resident memory of all processes that serve it, in bytes.
    pub fn resident(&self) -> Result<u64> {
        let What::Fuse(daemon) = &self.what else {
            return Err(Failure::new("no process serves it"));
        };
        let sizes: Vec<u64> = daemon
            .pids()
            .iter()
            .filter_map(|p| daemon::resident(*p))
            .collect();
        match sizes.is_empty() {
            true => Err(Failure::new(
                "the process that serves the mount is not to be found",
            )),
            false => Ok(sizes.iter().sum()),
        }
    }

    /// Unmounts, and waits for the end of what served it. Gives the time that it took.
    pub fn unmount(mut self) -> Result<Duration> {
        let what = std::mem::replace(&mut self.what, What::Plain);
        if let What::Fuse(daemon) = &what {
            daemon.pids(); // looked for before, not meanwhile
        }
        let start = Instant::now();
        match what {
            What::Plain => {}
            What::Kernel => unmount(&self.path)?,
            What::Fuse(daemon) => drop(daemon),
        }
        Ok(start.elapsed())
    }

    /// Waits until the processes that serve it are idle.
    pub fn settle(&self) {
        if let What::Fuse(daemon) = &self.what {
            daemon::settle(daemon.pids());
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if matches!(self.what, What::Kernel)
            && let Err(e) = unmount(&self.path)
        {
            eprintln!("vellum bench: {e}");
        }
    }
}

/// Unmounts; if it stays in use, at once and lazily.
fn unmount(mnt: &Path) -> Result<()> {
    let start = Instant::now();
    loop {
        match rustix::mount::unmount(mnt, UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) if start.elapsed() < BUSY => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::BUSY) => {
                return rustix::mount::unmount(mnt, UnmountFlags::DETACH).at("detach", mnt);
            }
            Err(e) => return Err(e).at("unmount", mnt),
        }
    }
}

fn unmount_fuse(mnt: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return unmount(mnt);
    }
    let start = Instant::now();
    while start.elapsed() < BUSY {
        if daemon::fusermount(mnt, false)? {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    match daemon::fusermount(mnt, true)? {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "fusermount3 -uz {} failed",
            mnt.display()
        ))),
    }
}

/// Aborts the FUSE connection of a device after `limit`, unless the sender is dropped before.
fn watch(device: u64, limit: Duration) -> Sender<()> {
    let (tx, rx) = channel();
    let minor = rustix::fs::minor(device);
    std::thread::spawn(move || {
        if rx.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("vellum bench: a peer needs more than {limit:?}: its mount is aborted");
            let path = format!("/sys/fs/fuse/connections/{minor}/abort");
            daemon::note("abort", fs::write(path, b"1"));
        }
    });
    tx
}
