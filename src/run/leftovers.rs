//! What a container leaves whose end nobody saw: processes, control groups, mounts, the runtime's
//! state.

use super::cgroup;
use super::config::Config;
use super::folder::{Folder, remove_tree};
use super::runtime::Runtime;
use crate::fuse;
use crate::image::container::Container;
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs;
use std::time::{Duration, Instant};

/// How long a process may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// A process, which is not taken for another one that gets its number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proc {
    /// Its number.
    pub pid: i32,
    /// When it began, in the kernel's ticks since the machine did.
    pub began: u64,
}

impl Proc {
    /// A process that is there, or a child that has ended and that nobody has waited for yet.
    pub fn of(pid: Pid) -> Result<Proc> {
        let began = stat(pid.as_raw())?.map(|(began, _)| began);
        let gone = || Error::because(Errno::ESRCH, format!("process {pid}"));
        Ok(Proc {
            pid: pid.as_raw(),
            began: began.ok_or_else(gone)?,
        })
    }

    /// True if it is there, and no zombie.
    pub fn is_alive(self) -> bool {
        began(self.pid).is_ok_and(|b| b == Some(self.began))
    }

    /// Sends it a signal; that it is gone is fine.
    pub fn signal(self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(Error::because(
                e,
                format!("{signal} to process {}", self.pid),
            )),
        }
    }

    /// Waits until it is gone; false if it stays.
    pub fn wait_gone(self) -> bool {
        let began = Instant::now();
        while self.is_alive() {
            if began.elapsed() > GONE {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// When the living process with this number began.
fn began(pid: i32) -> Result<Option<u64>> {
    let known = stat(pid)?.filter(|(_, is_dead)| !is_dead);
    Ok(known.map(|(began, _)| began))
}

/// When the process with this number began, and whether it has ended.
fn stat(pid: i32) -> Result<Option<(u64, bool)>> {
    let read = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(Error::from);
    let text = match read {
        Err(e) if e.is(Errno::ESRCH) => return Ok(None),
        other => absent_ok(other).context(|| format!("process {pid}"))?,
    };
    // the name, in parentheses, may have anything in it
    let fields = text.as_deref().and_then(|t| t.rsplit_once(") "));
    let mut fields = fields
        .map(|(_, rest)| rest.split(' '))
        .into_iter()
        .flatten();
    let is_dead = fields
        .next()
        .is_none_or(|state| state == "Z" || state == "X");
    let started = fields.nth(18).and_then(|t| t.parse().ok());
    Ok(started.map(|started| (started, is_dead)))
}

/// Ends and removes all that is left. Nobody may look after the container.
pub fn clear(container: &Container, config: &Config) -> Result<()> {
    let folder = Folder::of(container);
    let state = folder.state().unwrap_or_default();
    // a runtime that is not there any more is done without
    match Runtime::new(config.runtime.as_deref(), &folder) {
        Ok(runtime) => runtime.delete(&config.id),
        Err(e) => log::debug!("{e}"),
    }
    if let Some(first) = state.first {
        first.signal(Signal::SIGKILL)?;
        if !first.wait_gone() {
            let why = format!("process {} of the container does not end", first.pid);
            return Err(Error::because(Errno::EBUSY, why));
        }
    }
    cgroup::remove(&config.id)?;
    remove_tree(&folder.path("runtime"))?;
    unmount(container)?;
    // where the mount cannot be seen, its server takes it down itself
    if let Some(server) = state.server {
        server.signal(Signal::SIGTERM)?;
        if !server.wait_gone() {
            server.signal(Signal::SIGKILL)?;
        }
    }
    Ok(())
}

/// Unmounts the container's own mountpoint.
pub fn unmount(container: &Container) -> Result<()> {
    let own = container.mountpoint();
    while let Some(at) = container.mounted_on()? {
        if at != own {
            let why = format!(
                "container {:?} is mounted on {}",
                container.name,
                at.display()
            );
            return Err(Error::because(Errno::EBUSY, why));
        }
        match fuse::unmount(&at, false) {
            Err(e) if e.is(Errno::EBUSY) => fuse::unmount(&at, true)?,
            other => other?,
        }
    }
    Ok(())
}

/// Unmounts what a process of this one's serves on the container's own mountpoint.
pub fn unmount_own(container: &Container) -> Result<()> {
    let own = container.mountpoint();
    loop {
        match fuse::unmount_own(&own) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(e) => {
                log::debug!("{e}; looking at the table of mounts");
                return unmount(container);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_beginning() {
        let own = Proc::of(nix::unistd::getpid()).unwrap();
        assert!(own.is_alive());
        let other = Proc {
            began: own.began + 1,
            ..own
        };
        assert!(!other.is_alive());
        other.signal(Signal::SIGKILL).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let child_proc = Proc::of(Pid::from_raw(child.id() as i32)).unwrap();
        child_proc.signal(Signal::SIGKILL).unwrap();
        assert!(child_proc.wait_gone());
        // known also when it has ended, and not alive
        assert_eq!(
            Proc::of(Pid::from_raw(child.id() as i32)).unwrap(),
            child_proc
        );
        child.wait().unwrap();
    }
}
