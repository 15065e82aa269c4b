//! Further processes in a container that runs.

use super::failure::Failure;
use super::folder::{Folder, Status};
use super::pump::hold_signals;
use super::runtime::{Runtime, said_in};
use super::{caps, process, rootless, user};
use crate::image::container::Container;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;
use oci_spec::runtime::{Capabilities, Process, Spec};
use std::fs::{self, File};
use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};

/// What is asked of a process.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// Program and arguments.
    pub command: Vec<String>,
    /// `NAME=VALUE`, added to the container's.
    pub env: Vec<String>,
    /// In the place of the container's user.
    pub user: Option<String>,
    /// In the place of the container's working directory.
    pub workdir: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// With standard input.
    pub interactive: bool,
    /// Nobody waits for it, nor reads what it writes.
    pub detach: bool,
    /// With all capabilities.
    pub privileged: bool,
}

/// Runs a process in a container: its exit code, or 0 if nobody waits for it.
pub fn exec(container: &Container, asked: &Exec) -> std::result::Result<u8, Failure> {
    let folder = Folder::of(container);
    let name = &container.name;
    let not_running = || Error::because(Errno::ESRCH, format!("container {name:?} is not running"));
    let (Status::Running(state), Some(config)) = (folder.status()?, folder.config()?) else {
        return Err(not_running().into());
    };
    if let (Some(monitor), true) = (state.monitor, state.first.is_some()) {
        rootless::join(monitor.pid)?;
    } else {
        return Err(not_running().into());
    }
    // the runtime would say that the command is not there
    let at = container.mountpoint();
    let served = rustix::fs::statfs(&at).map_err(Error::from);
    served.context(|| {
        format!("root file system of container {name:?}; stop it and start it again")
    })?;
    let runtime = Runtime::new(config.runtime.as_deref(), &folder)?;
    let files = Files::new(&folder, &wanted(container, &folder, asked)?)?;
    let signals = hold_signals()?;
    let mut command = runtime.exec(&config.id, &files.process, &files.log, asked.detach);
    command.stdin(match asked.interactive {
        true => Stdio::inherit(),
        false => Stdio::null(),
    });
    if asked.detach {
        // what the runtime has to say is in its log as well
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let child = command.spawn().context(|| "runtime")?;
    let status = watch(child, &signals)?;
    let said = fs::read_to_string(&files.log).unwrap_or_default();
    // with nobody to wait for the command, it is the runtime that failed
    if !status.success() && (asked.detach || said_in(&said).is_some()) {
        // its standard error is this process's
        return Err(Failure {
            told: runtime.tells() && !asked.detach,
            ..runtime.failure(&files.log, status)
        });
    }
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    Ok(code.and_then(|c| u8::try_from(c).ok()).unwrap_or(u8::MAX))
}

/// What the runtime reads and writes for this process.
struct Files {
    process: PathBuf,
    log: PathBuf,
}

impl Files {
    fn new(folder: &Folder, wanted: &Process) -> Result<Files> {
        let place = |what: &str| format!("exec-{}.{what}", std::process::id());
        folder.write(&place("json"), wanted)?;
        Ok(Files {
            process: folder.path(&place("json")),
            log: folder.path(&place("log")),
        })
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // they go with the container at the latest
        fs::remove_file(&self.process).ok();
        fs::remove_file(&self.log).ok();
    }
}

/// The process: as the container's first one, but for what is asked.
fn wanted(container: &Container, folder: &Folder, asked: &Exec) -> Result<Process> {
    let spec = read_spec(&folder.path("bundle/config.json"))?;
    let first = spec.process().clone().unwrap_or_default();
    let at = container.mountpoint();
    let ids = match &asked.user {
        Some(user) => {
            let root = File::open(&at).context(|| at.display().to_string())?;
            user::lookup(root.as_fd(), user)?
        }
        None => user::Ids {
            uid: first.user().uid(),
            gid: first.user().gid(),
            groups: first.user().additional_gids().clone().unwrap_or_default(),
            home: None,
        },
    };
    let mut env = first.env().clone().unwrap_or_default();
    if asked.tty {
        process::set(&mut env, "TERM=xterm");
    }
    if let Some(home) = &ids.home {
        process::set(&mut env, &format!("HOME={home}"));
    }
    for variable in &asked.env {
        process::set(&mut env, variable);
    }
    let bounding = first
        .capabilities()
        .as_ref()
        .and_then(|c| c.bounding().clone());
    let caps: Capabilities = match asked.privileged {
        true => caps::all()?,
        false => bounding.unwrap_or_default(),
    };
    let cwd = match &asked.workdir {
        Some(dir) if dir.starts_with('/') => dir.clone(),
        Some(dir) => {
            let why = format!("working directory {dir:?} is no absolute path");
            return Err(Error::because(Errno::EINVAL, why));
        }
        None => first.cwd().to_string_lossy().into_owned(),
    };
    let tty = asked.tty.then(super::tty::size);
    process::process(&ids, asked.command.clone(), env, cwd, tty, &caps)
}

fn read_spec(path: &Path) -> Result<Spec> {
    let text = fs::read(path).context(|| path.display().to_string())?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::because(Errno::EBADMSG, format!("{}: {e}", path.display())))
}

/// Waits for the runtime, which passes signals on to the process.
fn watch(mut child: Child, signals: &SignalFd) -> Result<ExitStatus> {
    let runtime = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
    // what is typed at a terminal comes to the runtime as well
    let typed = stdin().is_terminal();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        match poll(
            &mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)],
            PollTimeout::NONE,
        ) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
        while let Some(info) = signals.read_signal()? {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) | Err(_) => {}
                Ok(Signal::SIGINT | Signal::SIGQUIT | Signal::SIGWINCH) if typed => {}
                Ok(signal) => match kill(runtime, signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(e) => return Err(Error::because(e, format!("{signal}"))),
                },
            }
        }
    }
}
