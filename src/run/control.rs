//! What is done to a container from outside: signals, the end, removal.

use super::config::Config;
use super::folder::{Folder, Status};
use super::leftovers;
use super::volumes::remove_anonymous;
use crate::image::container::Container;
use crate::image::store::Store;
use crate::sys::process::send_signal;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// How long a container may take to be gone once it was killed.
const CLEARED: Duration = Duration::from_secs(20);

/// A signal as docker writes it: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
pub fn parse_signal(text: &str) -> Result<i32> {
    let bad = || Error::because(Errno::EINVAL, format!("no signal {text:?}"));
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let least = libc::SIGRTMIN();
    let most = libc::SIGRTMAX();
    let number = if let Ok(number) = name.parse::<i32>() {
        number
    } else if let Some(more) = name.strip_prefix("RTMIN") {
        let more = if more.is_empty() {
            Ok(0)
        } else {
            more.parse::<u8>()
        };
        least + i32::from(more.map_err(|_| bad())?)
    } else if let Some(less) = name.strip_prefix("RTMAX") {
        let less = if less.is_empty() {
            Ok(0)
        } else {
            less.parse::<i8>()
        };
        most + i32::from(less.map_err(|_| bad())?)
    } else {
        let named: nix::sys::signal::Signal = format!("SIG{name}").parse().map_err(|_| bad())?;
        named as i32
    };
    match (1..=most).contains(&number) {
        true => Ok(number),
        false => Err(bad()),
    }
}

fn not_running(container: &Container) -> Error {
    let why = format!("container {:?} is not running", container.name);
    Error::because(Errno::ESRCH, why)
}

/// Sends a signal to the first process of a running container.
pub fn kill(container: &Container, signal: i32) -> Result<()> {
    let Status::Running(state) = Folder::of(container).status()? else {
        return Err(not_running(container));
    };
    // its parent holds the lock and has not let it go, so the number is still its own
    let first = state.first.filter(|first| first.is_alive());
    let first = first.ok_or_else(|| not_running(container))?;
    match send_signal(first.pid, signal) {
        Err(e) if e.is(Errno::ESRCH) => Err(not_running(container)),
        done => done.context(|| format!("container {:?}", container.name)),
    }
}

/// Asks a container to end, and kills it if it has not after `patience`. One that does not run has
/// ended.
pub fn stop(container: &Container, signal: i32, patience: Option<Duration>) -> Result<()> {
    let folder = Folder::of(container);
    if !matches!(folder.status()?, Status::Running(_)) {
        return Ok(());
    }
    match kill(container, signal) {
        Err(e) if e.is(Errno::ESRCH) => {}
        other => other?,
    }
    if wait_ended(&folder, patience)? {
        return Ok(());
    }
    end(container, &folder)
}

/// Kills, and waits for the end.
fn end(container: &Container, folder: &Folder) -> Result<()> {
    match kill(container, libc::SIGKILL) {
        Err(e) if e.is(Errno::ESRCH) => {}
        other => other?,
    }
    match wait_ended(folder, Some(CLEARED))? {
        true => Ok(()),
        false => {
            let why = format!("container {:?} was killed and does not end", container.name);
            Err(Error::because(Errno::EBUSY, why))
        }
    }
}

fn wait_ended(folder: &Folder, patience: Option<Duration>) -> Result<bool> {
    let began = Instant::now();
    while folder.is_held()? {
        if patience.is_some_and(|p| began.elapsed() >= p) {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

/// Removes a container, with `volumes` also those of its volumes that have no name. One that runs, or is
/// mounted, has to be ended before, or is with `force`.
pub fn remove(store: &Store, container: &Container, force: bool, volumes: bool) -> Result<()> {
    let folder = Folder::of(container);
    let status = match folder.status() {
        // what cannot be read is no reason to keep it
        Err(_) if force => Status::Created,
        other => other?,
    };
    if let Status::Running(_) = status {
        if !force {
            let why = format!(
                "container {:?} is running; 'vellum stop' ends it, 'vellum rm -f' kills it",
                container.name
            );
            return Err(Error::because(Errno::EBUSY, why));
        }
        end(container, &folder)?;
        // one that goes when it ends has gone, and its volumes with it
        if !container.dir().exists() {
            return Ok(());
        }
    }
    let held = folder.hold_ended()?;
    if held.is_none() {
        let why = format!("container {:?} is just being started", container.name);
        return Err(Error::because(Errno::EBUSY, why));
    }
    if force {
        while let Some(at) = container.mounted_on()? {
            crate::fuse::unmount(&at, true)?;
        }
    }
    let config = match folder.config() {
        Ok(config) => config,
        Err(_) if force => None,
        Err(e) => return Err(e),
    };
    match &config {
        Some(config) if has_run(&folder, config) => leftovers::clear(container, config)?,
        _ => {}
    }
    store.remove_container(container)?;
    match &config {
        Some(config) if volumes || config.remove => remove_anonymous(store, config),
        _ => Ok(()),
    }
}

/// False for what has nothing to leave.
fn has_run(folder: &Folder, config: &Config) -> bool {
    !config.id.is_empty() && folder.path("state.json").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(parse_signal(text).unwrap(), libc::SIGTERM, "{text}");
        }
        let least = libc::SIGRTMIN();
        assert_eq!(parse_signal("RTMIN+3").unwrap(), least + 3);
        assert_eq!(parse_signal("SIGRTMIN").unwrap(), least);
        assert_eq!(parse_signal("RTMAX-1").unwrap(), libc::SIGRTMAX() - 1);
        for text in ["", "0", "99", "WHAT", "RTMIN+99", "RTMIN+x", "-9"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
