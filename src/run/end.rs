//! The end of a container: unmounted, its exit code kept, and removed if it is a passing one.

use super::config::Config;
use super::failure::Failure;
use super::folder::{Folder, Held, State};
use super::{cgroup, files, leftovers, volumes};
use crate::image::container::Container;
use crate::image::store::Store;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the server of a root file system may take to end.
const LET_GO: Duration = Duration::from_secs(5);

/// It takes no longer, unless the mount is in use somewhere.
const MOMENT: Duration = Duration::from_millis(100);

/// What has become of a child, such as the server of a root file system.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    /// While it was waited for.
    Ended,
    /// Before that.
    Gone,
    /// It is still there.
    Stays,
}

/// A container, for who looks after it.
pub(super) struct Charge<'a> {
    /// The store.
    pub store: &'a Path,
    /// The container.
    pub container: &'a Container,
    /// What was asked of it.
    pub config: &'a Config,
    /// Its folder.
    pub folder: Folder,
    /// The lock on it.
    pub held: Held,
    /// What is known of the run.
    pub state: State,
    /// What the runtime made in the root to mount on.
    pub made: Vec<String>,
}

impl Charge<'_> {
    /// Clears up, whatever the end was.
    pub fn finish(
        mut self,
        ended: std::result::Result<u8, Failure>,
    ) -> std::result::Result<u8, Failure> {
        let (unmounted, cleared) = match self.clear() {
            Ok(unmounted) => (unmounted, Ok(())),
            Err(e) => (false, Err(e)),
        };
        let code = match &ended {
            Ok(code) => *code,
            Err(e) => {
                self.state.error = Some(e.to_string());
                e.code
            }
        };
        if let Err(e) = &cleared {
            // in the background nobody hears it otherwise
            self.state.left = Some(e.to_string());
        }
        let kept = self.keep_end(code);
        let removed = match (self.config.remove, unmounted) {
            (false, _) => Ok(()),
            (true, false) => remove(self.store, self.container, self.config),
            (true, true) => self.remove_unmounted(),
        };
        // what the container said counts; that something stays is told beside it
        for left in [cleared, kept, removed].into_iter().filter_map(Result::err) {
            match &ended {
                Ok(_) if code == 0 => return Err(left.into()),
                _ => log::warn!("{left}"),
            }
        }
        ended
    }

    /// Nothing of the run stays but what it wrote. True if it is known that the container is mounted nowhere.
    fn clear(&self) -> Result<bool> {
        let Some(server) = self.state.server else {
            return Ok(false);
        };
        if let Err(e) = self.remove_made() {
            log::debug!("what was mounted on stays: {e}");
        }
        let flushed = match self.sync() {
            // the server is gone, and so is what it had; that is told already
            Err(e) if e.is(Errno::ENOTCONN) => Ok(()),
            flushed => flushed.context(|| "flushing what the container wrote"),
        };
        let mut unmounted = leftovers::unmount_own(self.container);
        let removed = cgroup::remove(&self.config.id);
        let forgotten = super::folder::remove_tree(&self.folder.path("runtime"));
        let child = Pid::from_raw(server.pid);
        let mut end = match unmounted {
            Ok(()) => wait_for_end(child, MOMENT)?,
            Err(_) => Child::Stays,
        };
        if end == Child::Stays && unmounted.is_ok() {
            // somebody may have mounted it elsewhere
            unmounted = leftovers::unmount(self.container);
            if unmounted.is_ok() {
                end = wait_for_end(child, LET_GO)?;
            }
            if end == Child::Stays && unmounted.is_ok() && flushed.is_ok() {
                // whoever made a mount namespace meanwhile has the mount in it, and would keep the container
                server.signal(Signal::SIGKILL)?;
                wait_for_end(child, LET_GO)?;
            }
        }
        flushed.and(unmounted).and(removed).and(forgotten)?;
        Ok(end == Child::Ended)
    }

    /// Has the kernel write what it kept, so that nothing is lost if the mount cannot end.
    fn sync(&self) -> Result<()> {
        if self.config.remove {
            return Ok(());
        }
        let root = File::open(self.container.mountpoint())?;
        Ok(rustix::fs::syncfs(root)?)
    }

    /// Best effort: what stays is an empty file or directory.
    fn remove_made(&self) -> Result<()> {
        if self.made.is_empty() {
            return Ok(());
        }
        let root = File::open(self.container.mountpoint())?;
        files::remove_made(root.as_fd(), &self.made)
    }

    /// Removes the container, of which it is known that it is mounted nowhere, with the volumes that go with it.
    fn remove_unmounted(&self) -> Result<()> {
        let store = Store::open(self.store)?;
        store.remove_unmounted_container(self.container)?;
        volumes::remove_anonymous(&store, self.config)
    }

    fn keep_end(&mut self, code: u8) -> Result<()> {
        self.state.finished = Some(crate::image::now());
        self.state.exit_code = Some(code);
        self.state.first = None;
        self.state.server = None;
        self.held.ended(code)?;
        match self.config.remove {
            true => Ok(()),
            false => self.folder.set_state(&self.state),
        }
    }
}

/// Waits for the end of a child, but not for ever: a file that somebody has open keeps it.
pub(super) fn wait_for_end(child: Pid, most: Duration) -> Result<Child> {
    let began = Instant::now();
    while began.elapsed() < most {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {
                std::thread::sleep(Duration::from_micros(200));
            }
            Ok(_) => return Ok(Child::Ended),
            // it ended before, and was seen
            Err(Errno::ECHILD) => return Ok(Child::Gone),
            Err(e) => {
                return Err(Error::because(
                    e,
                    format!("waiting for the end of process {child}"),
                ));
            }
        }
    }
    Ok(Child::Stays)
}

/// Removes a passing container that does not run, with the volumes that go with it.
pub(super) fn remove(store: &Path, container: &Container, config: &Config) -> Result<()> {
    let store = Store::open(store)?;
    store.remove_container(container)?;
    volumes::remove_anonymous(&store, config)
}
