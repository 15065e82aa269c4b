//! What there is of a container that runs, in its folder in the store, and what state it is in.
//!
//! Whoever runs a container holds a lock for that time. So what died, with its process or with the
//! machine, is told from what runs by the lock alone, whatever the files say.

use super::config::Config;
use super::leftovers::Proc;
use crate::image::container::Container;
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than anybody has the lock of a container that does not run.
const A_MOMENT: Duration = Duration::from_secs(10);

/// The folder of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

/// What is known of the last run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// The process of the container that all others descend from.
    pub first: Option<Proc>,
    /// The process that serves its root file system.
    pub server: Option<Proc>,
    /// The process that looks after it.
    pub monitor: Option<Proc>,
    /// When it began, RFC 3339.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
    /// How it ended.
    pub exit_code: Option<u8>,
    /// What went wrong.
    pub error: Option<String>,
    /// What went wrong at the end: something was not written, or stays.
    pub left: Option<String>,
}

impl State {
    /// What went wrong first.
    pub fn trouble(&self) -> Option<&str> {
        self.error.as_deref().or(self.left.as_deref())
    }
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was made by `vellum mount`, and has no command.
    Mounted,
    /// It never ran.
    Created,
    /// It runs.
    Running(State),
    /// It ended.
    Exited(State),
    /// It was running when whoever looked after it ended.
    Dead(State),
}

/// Held by who runs a container.
#[derive(Debug)]
pub struct Held(Flock<File>);

impl Folder {
    /// That of a container.
    pub fn of(container: &Container) -> Folder {
        Folder(container.dir().to_owned())
    }

    /// That at a path.
    pub fn at(path: &Path) -> Folder {
        Folder(path.to_owned())
    }

    /// Something in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is asked of the container; nothing if it has no command.
    pub fn config(&self) -> Result<Option<Config>> {
        self.read("run.json")
    }

    /// Keeps what is asked of it.
    pub fn set_config(&self, config: &Config) -> Result<()> {
        self.write("run.json", config)
    }

    /// What is known of the last run.
    pub fn state(&self) -> Result<State> {
        Ok(self.read("state.json")?.unwrap_or_default())
    }

    /// Notes it.
    pub fn set_state(&self, state: &State) -> Result<()> {
        self.write("state.json", state)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.path(name);
        let what = || path.display().to_string();
        let Some(text) = absent_ok(fs::read(&path).map_err(Error::from)).context(what)? else {
            return Ok(None);
        };
        let read = serde_json::from_slice(&text);
        read.map(Some)
            .map_err(|e| Error::because(Errno::EBADMSG, format!("{}: {e}", path.display())))
    }

    /// Puts a file in its place in one step. Not synced: what a crash leaves of it is the state of
    /// something that the crash ended.
    pub fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let text = serde_json::to_vec(value)
            .map_err(|e| Error::because(Errno::EINVAL, format!("{name}: {e}")))?;
        let (new, path) = (self.path(&format!("{name}.new")), self.path(name));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .context(|| path.display().to_string())
    }

    /// The file that is locked, made if it is missing.
    fn lock_file(&self) -> Result<File> {
        let path = self.path("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        file.context(|| path.display().to_string())
    }

    /// Takes the lock, if nobody has it.
    pub fn hold(&self) -> Result<Option<Held>> {
        let file = self.lock_file()?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Some(Held(file))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, e)) => Err(Error::from(e).context(self.path("lock").display())),
        }
    }

    /// Takes the lock, unless the container runs. Who has it else has it for a moment: it looks whether the
    /// container runs, or has noted its end and is about to let go.
    pub fn hold_ended(&self) -> Result<Option<Held>> {
        let began = Instant::now();
        loop {
            let held = self.hold()?;
            let runs = held.is_none() && matches!(self.status(), Ok(Status::Running(_)));
            if held.is_some() || runs || began.elapsed() >= A_MOMENT {
                return Ok(held);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn open_lock(&self) -> Result<Option<File>> {
        let path = self.path("lock");
        absent_ok(File::open(&path).map_err(Error::from)).context(|| path.display().to_string())
    }

    /// True if somebody looks after it now.
    pub fn is_held(&self) -> Result<bool> {
        let Some(file) = self.open_lock()? else {
            return Ok(false);
        };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(false),
            Err((_, Errno::EWOULDBLOCK)) => Ok(true),
            Err((_, e)) => Err(Error::from(e).context("lock")),
        }
    }

    /// Waits until nobody looks after it. How it ended, also if it is gone by then.
    pub fn wait(&self) -> Result<Option<u8>> {
        self.open_lock()?
            .map_or(Ok(None), |file| Waiter(file).wait())
    }

    /// For who wants to wait later, when the folder may be gone.
    pub fn waiter(&self) -> Result<Waiter> {
        self.lock_file().map(Waiter)
    }

    /// What the container does.
    pub fn status(&self) -> Result<Status> {
        if !self.path("run.json").exists() {
            return Ok(Status::Mounted);
        }
        let held = self.is_held()?;
        let state = self.state()?;
        Ok(
            match (held, state.started.is_some(), state.finished.is_some()) {
                // between lock and start it is about to run
                (true, _, false) => Status::Running(state),
                (_, true, true) => Status::Exited(state),
                (false, false, _) if state.error.is_none() => Status::Created,
                (false, true, false) => Status::Dead(state),
                _ => Status::Exited(state),
            },
        )
    }
}

/// Waits for the end of a run.
#[derive(Debug)]
pub struct Waiter(File);

impl Waiter {
    /// Until nobody looks after the container: how it ended.
    pub fn wait(self) -> Result<Option<u8>> {
        let mut file = self.0;
        loop {
            match Flock::lock(file, FlockArg::LockShared) {
                Ok(mut held) => {
                    let mut text = String::new();
                    held.read_to_string(&mut text).context(|| "lock")?;
                    return Ok(text.trim().parse().ok());
                }
                Err((again, Errno::EINTR)) => file = again,
                Err((_, e)) => return Err(Error::from(e).context("lock")),
            }
        }
    }
}

impl Held {
    /// The lock that this process took before it began afresh.
    pub fn again(lock: OwnedFd) -> Result<Held> {
        let locked = Flock::lock(File::from(lock), FlockArg::LockExclusiveNonblock);
        let locked = locked.map_err(|(_, e)| Error::from(e)).context(|| "lock")?;
        Ok(Held(locked))
    }

    /// Takes back how an earlier run ended.
    pub fn begins(&mut self) -> Result<()> {
        self.0.set_len(0).context(|| "lock")
    }

    /// Says for those who wait how it ended.
    pub fn ended(&mut self, code: u8) -> Result<()> {
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{code}")
        };
        write(&mut self.0).context(|| "lock")
    }
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Removes a directory tree that may not be there.
pub fn remove_tree(path: &Path) -> Result<()> {
    let removed = absent_ok(fs::remove_dir_all(path).map_err(Error::from));
    removed.map(drop).context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_tells_what_runs() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder(dir.path().to_owned());
        assert_eq!(folder.status().unwrap(), Status::Mounted);
        folder.set_config(&Config::default()).unwrap();
        assert_eq!(folder.status().unwrap(), Status::Created);
        let mut held = folder.hold().unwrap().unwrap();
        assert!(folder.hold().unwrap().is_none());
        assert!(folder.hold_ended().unwrap().is_none());
        let mut state = State {
            started: Some("now".into()),
            ..State::default()
        };
        folder.set_state(&state).unwrap();
        assert_eq!(folder.status().unwrap(), Status::Running(state.clone()));
        let waiter = std::thread::spawn({
            let folder = folder.clone();
            move || folder.wait().unwrap()
        });
        held.ended(7).unwrap();
        drop(held);
        assert_eq!(waiter.join().unwrap(), Some(7));
        assert_eq!(folder.status().unwrap(), Status::Dead(state.clone()));
        state.finished = Some("later".into());
        folder.set_state(&state).unwrap();
        assert_eq!(folder.status().unwrap(), Status::Exited(state));
        // whoever looked after it has noted its end, and lets go soon
        let held = folder.hold().unwrap().unwrap();
        let going = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(held);
        });
        assert!(folder.hold_ended().unwrap().is_some());
        going.join().unwrap();
        fs::write(folder.path("state.json"), "{").unwrap();
        assert!(folder.status().unwrap_err().is(Errno::EBADMSG));
    }
}
