//! The life of a container, by the process that looks after it: mounted, started, looked after,
//! unmounted, and removed if it is a passing one.
//!
//! That process is the caller's, or one of its own that goes on in the background. It has one
//! thread, since it forks. Whatever ends it, the lock on the container's folder ends with it, and
//! what is left is found and removed by the next one ([`super::leftovers`]).

use super::config::Config;
use super::failure::Failure;
use super::folder::{Folder, Held, State};
use super::leftovers::{self, Proc};
use super::pump::{Ends, Pump, Watched, hold_signals};
use super::record::Recorder;
use super::runtime::{Runtime, Streams, find_init};
use super::spec::{Parts, Rights};
use super::tty::{ConsoleSocket, Raw, follow_size};
use super::{cgroup, files};
use crate::fuse::{self, Io, MountOptions, Starting};
use crate::image::container::Container;
use crate::image::prepare::Recipe;
use crate::image::store::{Image, Store};
use crate::overlay::{self, UpperConfig};
use crate::sys::process::{Fork, close_inherited, fork, leave_caller, trim_memory};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A container that is to run.
#[derive(Debug)]
pub struct Job {
    /// The store, by an absolute path.
    pub store: PathBuf,
    /// The container.
    pub container: Container,
    /// Its image.
    pub image: Image,
    /// What is asked of it.
    pub config: Config,
}

/// How long the server of a root file system may take to end.
const LET_GO: Duration = Duration::from_secs(5);

type Outcome<T> = std::result::Result<T, Failure>;

/// Runs a container with this process's streams, or with none of them. Returns when it has ended:
/// its exit code.
pub fn foreground(job: &Job, attach: bool) -> Outcome<u8> {
    Monitor::begin(job)?.live(attach, &mut || Ok(()))
}

/// Runs a container in the background. Returns when it runs.
pub fn background(job: &Job) -> Outcome<()> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(Error::from)?;
    match fork()? {
        Fork::Parent(child) => {
            drop(writer);
            wait_until_runs(child, File::from(reader))
        }
        Fork::Child => {
            drop(reader);
            let ended = apart(job, writer);
            std::process::exit(i32::from(ended.is_err()))
        }
    }
}

const RUNS: &[u8] = b"+";

/// In the background process.
fn apart(job: &Job, to_parent: OwnedFd) -> Outcome<u8> {
    let mut to_parent = Some(File::from(to_parent));
    let ended = leave(to_parent.as_ref())
        .map_err(Failure::from)
        .and_then(|()| {
            Monitor::begin(job)?.live(false, &mut || {
                // a parent that is gone has nobody to tell
                to_parent
                    .take()
                    .map_or(Ok(()), |mut to| to.write_all(RUNS))
                    .ok();
                Ok(())
            })
        });
    if let (Err(e), Some(mut to)) = (&ended, to_parent) {
        let mut told = vec![e.code];
        told.extend_from_slice(&(e.error.errno() as i32).to_ne_bytes());
        told.extend_from_slice(e.error.reason().as_bytes());
        to.write_all(&told).ok();
    }
    ended
}

fn leave(keep: Option<&File>) -> Result<()> {
    if let Some(keep) = keep {
        close_inherited(keep.as_fd())?;
    }
    nix::unistd::setsid()?;
    leave_caller()
}

fn wait_until_runs(child: Pid, mut from_child: File) -> Outcome<()> {
    let mut said = Vec::new();
    from_child.read_to_end(&mut said).map_err(Error::from)?;
    if said == RUNS {
        return Ok(());
    }
    waitpid(child, None).map_err(Error::from)?;
    let ended = || {
        Error::because(
            Errno::EIO,
            "the process that looks after the container ended",
        )
    };
    let (code, rest) = said.split_first().ok_or_else(ended)?;
    let (errno, why) = rest.split_at_checked(4).ok_or_else(ended)?;
    let errno = errno.try_into().map_or(libc::EIO, i32::from_ne_bytes);
    let error = Error::told(Errno::from_raw(errno), &String::from_utf8_lossy(why));
    Err(Failure {
        code: *code,
        error,
        told: false,
    })
}

/// Who looks after a container.
struct Monitor<'a> {
    job: &'a Job,
    folder: Folder,
    held: Held,
    signals: Option<SignalFd>,
    runtime: Runtime,
    state: State,
    /// What the runtime makes in the root to mount on.
    made: Vec<&'static str>,
}

impl Monitor<'_> {
    /// Takes the lock, and removes what an earlier run left.
    fn begin(job: &Job) -> Result<Monitor<'_>> {
        let folder = Folder::of(&job.container);
        let name = &job.container.name;
        let busy = || Error::because(Errno::EBUSY, format!("container {name:?} runs already"));
        let held = folder.hold_ended()?.ok_or_else(busy)?;
        let begun = Monitor::prepare(job, folder, held);
        begun.map_err(|e| match job.config.remove.then(|| remove(job)) {
            Some(Err(stays)) => e.context(format!("{stays}; container {name:?} stays")),
            _ => e,
        })
    }

    fn prepare(job: &Job, folder: Folder, mut held: Held) -> Result<Monitor<'_>> {
        let name = &job.container.name;
        held.begins()?;
        let runtime = Runtime::new(job.config.runtime.as_deref(), &folder)?;
        if folder.path("state.json").exists() {
            leftovers::clear(&job.container, &job.config).context(|| "what an earlier run left")?;
        }
        if let Some(at) = job.container.mounted_on()? {
            let why = format!("container {name:?} is mounted on {}", at.display());
            return Err(Error::because(Errno::EBUSY, why));
        }
        // orphans of the container's making become children of this process: it sees their end
        nix::sys::prctl::set_child_subreaper(true)?;
        Ok(Monitor {
            job,
            folder,
            held,
            signals: Some(hold_signals()?),
            runtime,
            state: State {
                monitor: Some(Proc::of(getpid())?),
                ..State::default()
            },
            made: Vec::new(),
        })
    }

    /// From the mount to the end.
    fn live(mut self, attach: bool, runs: &mut dyn FnMut() -> Result<()>) -> Outcome<u8> {
        let ended = self.run(attach, runs);
        let cleared = self.clear();
        let code = match &ended {
            Ok(code) => *code,
            Err(e) => {
                self.state.error = Some(e.to_string());
                e.code
            }
        };
        let kept = self.keep_end(code);
        let removed = match self.job.config.remove {
            true => remove(self.job),
            false => Ok(()),
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

    fn run(&mut self, attach: bool, runs: &mut dyn FnMut() -> Result<()>) -> Outcome<u8> {
        let mounting = self.mount().context(|| "root file system")?;
        // done while another process mounts
        let prepared = self.prepare_bundle();
        let server = mounting.ready().context(|| "root file system")?;
        self.state.server = Some(Proc::of(server)?);
        self.folder.set_state(&self.state)?;
        self.bundle(prepared?)?;
        let (first, ends) = self.start()?;
        self.state.first = Proc::of(first).ok();
        self.state.started = Some(crate::image::now());
        self.folder.set_state(&self.state)?;
        runs()?;
        let recorder = Recorder::new(&self.folder.path("log"))?;
        // without input, keys like Ctrl-C are for this end
        let typed = attach && self.job.config.tty && self.job.config.interactive;
        let raw = match typed {
            true => Raw::enter()?,
            false => None,
        };
        let (folder, state) = (self.folder.clone(), &mut self.state);
        let mut note = |why: String| {
            log::warn!("{why}{}", if raw.is_some() { "\r" } else { "" });
            state.error = Some(why);
            if let Err(e) = folder.set_state(state) {
                log::warn!("{e}");
            }
        };
        let Some(signals) = self.signals.take() else {
            return Err(Error::because(Errno::EINVAL, "signals").into());
        };
        let watched = Watched { first, server };
        if !attach {
            trim_memory();
        }
        Ok(Pump::new(watched, signals, ends, recorder, attach, &mut note)?.run()?)
    }

    /// A process of its own is to serve the root file system.
    fn mount(&self) -> Result<Starting> {
        let (container, config) = (&self.job.container, &self.job.config);
        let mut upper = UpperConfig::new(container.upper(), container.work());
        // what goes with the container need not last
        upper.volatile = config.remove && container.record.kept_in.is_none();
        let options = MountOptions {
            io: if config.passthrough {
                Io::Passthrough
            } else {
                Io::Cached
            },
            fsync: !upper.volatile,
            fsname: container.fsname()?,
            ..MountOptions::default()
        };
        let recipe = Recipe {
            root: self.job.store.clone(),
            manifest: self.job.image.manifest.clone(),
            kept: true,
        };
        let config = overlay::Config {
            upper: Some(upper),
            ..overlay::Config::default()
        };
        let make = Box::new(move |key| recipe.open(key));
        fuse::serve_over(make, &config, &options, &container.mountpoint())
    }

    /// Makes what the runtime needs, as far as it does not depend on what is in the root.
    fn prepare_bundle(&self) -> Result<Rights> {
        let config = &self.job.config;
        files::names(&self.folder, config)?;
        files::bind_sources(config)?;
        let bundle = self.folder.path("bundle");
        fs::create_dir_all(&bundle).context(|| bundle.display().to_string())?;
        Rights::of(config)
    }

    /// Makes the rest.
    fn bundle(&mut self, rights: Rights) -> Result<()> {
        let (config, image) = (&self.job.config, &self.job.image.config);
        let at = self.job.container.mountpoint();
        let root = File::open(&at).context(|| at.display().to_string())?;
        if !config.remove {
            self.made = files::missing(root.as_fd());
        }
        let volumes = files::volumes(&self.folder, config, image, root.as_fd())?;
        let init = config.init.then(find_init).transpose()?;
        let parts = Parts {
            config,
            image,
            folder: &self.folder,
            root: root.as_fd(),
            root_path: &at,
            volumes: &volumes,
            init: init.as_deref(),
            rights: &rights,
            rootless: super::rootless::is_inside(),
        };
        let spec = parts.spec()?;
        self.folder.write("bundle/config.json", &spec)
    }

    /// Has the runtime start it: its first process, and the streams.
    fn start(&self) -> Outcome<(Pid, Ends)> {
        let (id, config) = (&self.job.config.id, &self.job.config);
        if config.tty {
            let console = ConsoleSocket::new()?;
            let streams = Streams {
                stdin: Stdio::null(),
                stdout: Stdio::null(),
                stderr: Stdio::null(),
            };
            let first = self.runtime.run(id, Some(&console.path()), streams)?;
            let terminal = console.receive()?;
            follow_size(terminal.as_fd()).context(|| "size of the terminal")?;
            let input = match config.interactive {
                true => Some(terminal.try_clone().map_err(Error::from)?),
                false => None,
            };
            let ends = Ends {
                input,
                terminal: Some(terminal),
                ..Ends::default()
            };
            return Ok((first, ends));
        }
        let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(Error::from);
        let (output, stdout) = pipe()?;
        let (error, stderr) = pipe()?;
        let (stdin, input) = match config.interactive {
            true => pipe().map(|(theirs, ours)| (theirs.into(), Some(ours)))?,
            false => (Stdio::null(), None),
        };
        let streams = Streams {
            stdin,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        let first = self.runtime.run(id, None, streams)?;
        let ends = Ends {
            input,
            output: Some(output),
            error: Some(error),
            terminal: None,
        };
        Ok((first, ends))
    }

    /// Nothing of the run stays but what it wrote.
    fn clear(&self) -> Result<()> {
        let config = &self.job.config;
        let Some(server) = self.state.server else {
            return Ok(());
        };
        // a runtime that failed in the middle has to clear up by itself
        if self.state.started.is_none() {
            self.runtime.delete(&config.id);
        }
        if let Err(e) = self.remove_made() {
            log::debug!("what was mounted on stays: {e}");
        }
        if let Err(e) = self.sync() {
            log::debug!("what was written is not flushed: {e}");
        }
        let unmounted = leftovers::unmount(&self.job.container);
        let removed = cgroup::remove(&config.id);
        let forgotten = super::folder::remove_tree(&self.folder.path("runtime"));
        let child = Pid::from_raw(server.pid);
        if unmounted.is_ok() && !wait_for_end(child)? {
            // whoever made a mount namespace meanwhile has the mount in it, and would keep the container
            server.signal(Signal::SIGKILL)?;
            wait_for_end(child)?;
        }
        unmounted.and(removed).and(forgotten)
    }

    /// Has the kernel write what it kept, so that nothing is lost if the mount cannot end.
    fn sync(&self) -> Result<()> {
        if self.job.config.remove {
            return Ok(());
        }
        let root = File::open(self.job.container.mountpoint())?;
        Ok(rustix::fs::syncfs(root)?)
    }

    /// Best effort: what stays is an empty file or directory.
    fn remove_made(&self) -> Result<()> {
        if self.made.is_empty() {
            return Ok(());
        }
        let root = File::open(self.job.container.mountpoint())?;
        files::remove_made(root.as_fd(), &self.made)
    }

    fn keep_end(&mut self, code: u8) -> Result<()> {
        self.state.finished = Some(crate::image::now());
        self.state.exit_code = Some(code);
        self.state.first = None;
        self.state.server = None;
        self.held.ended(code)?;
        match self.job.config.remove {
            true => Ok(()),
            false => self.folder.set_state(&self.state),
        }
    }
}

/// Waits for the end of a child, but not for ever: a file that somebody has open keeps it. False: it stays.
fn wait_for_end(child: Pid) -> Result<bool> {
    let began = Instant::now();
    while began.elapsed() < LET_GO {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {
                std::thread::sleep(Duration::from_micros(200));
            }
            // it ended before, and was seen
            Ok(_) | Err(Errno::ECHILD) => return Ok(true),
            Err(e) => return Err(Error::because(e, "waiting for the end of the mount")),
        }
    }
    Ok(false)
}

fn remove(job: &Job) -> Result<()> {
    let store = Store::open(&job.store)?;
    store.remove_container(&job.container)
}
