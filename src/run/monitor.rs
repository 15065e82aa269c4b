//! The life of a container, by the process that looks after it: mounted, started, looked after,
//! unmounted, and removed if it is a passing one.
//!
//! That process is the caller's, or one of its own that goes on in the background. It has one
//! thread, since it forks. Whatever ends it, the lock on the container's folder ends with it, and
//! what is left is found and removed by the next one ([`super::leftovers`]). What it does at the end
//! stands in [`super::end`].

use super::attach::{Attach, Left};
use super::config::Config;
use super::end::{Charge, remove};
use super::failure::Failure;
use super::folder::{Folder, Held, State};
use super::leftovers::{self, Proc};
use super::pump::{Ends, Pump, Watched, hold_signals};
use super::record::{LogOptions, Recorder};
use super::runtime::{Runtime, Streams, find_init, nothing};
use super::spec::{Parts, Rights};
use super::tty::{ConsoleSocket, set_size};
use super::{afresh, attach, files, guests, volumes};
use crate::fuse::{self, Io, MountOptions, Starting};
use crate::image::container::Container;
use crate::image::prepare::Recipe;
use crate::image::store::Image;
use crate::overlay::{self, UpperConfig};
use crate::sys::process::{Fork, close_inherited, fork, leave_caller, trim_memory};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

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
    /// It was made just now, so that nobody can have mounted it.
    pub new: bool,
}

type Outcome<T> = std::result::Result<T, Failure>;

/// Runs a container with this process's streams, or with none of them. Returns when it has ended:
/// its exit code.
pub fn foreground(job: &Job, attach: bool) -> Outcome<u8> {
    Monitor::begin(job)?.live(attach, &mut || Ok(()))
}

/// Runs a container in the background. Returns when it runs.
pub fn background(job: &Job) -> Outcome<()> {
    start(job, None)
}

/// Runs a container in the background, with this process at its streams from its beginning.
pub fn attached(job: &Job, asked: Attach) -> Outcome<Left> {
    let folder = Folder::of(&job.container);
    let (own, theirs) = UnixStream::pair().map_err(Error::from)?;
    let waiter = folder.waiter()?;
    // what is typed meanwhile is for the container
    let signals = hold_signals()?;
    start(job, Some(theirs.into()))?;
    attach::follow(&folder, (own, waiter, signals), job.config.tty, asked)
}

fn start(job: &Job, guest: Option<OwnedFd>) -> Outcome<()> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(Error::from)?;
    match fork()? {
        Fork::Parent(child) => {
            drop((writer, guest));
            wait_until_runs(child, File::from(reader))
        }
        Fork::Child => {
            drop(reader);
            let ended = apart(job, writer, guest);
            std::process::exit(i32::from(ended.is_err()))
        }
    }
}

const RUNS: &[u8] = b"+";

/// In the background process.
fn apart(job: &Job, to_parent: OwnedFd, guest: Option<OwnedFd>) -> Outcome<u8> {
    let mut to_parent = Some(File::from(to_parent));
    let keep = to_parent
        .iter()
        .map(AsFd::as_fd)
        .chain(guest.iter().map(AsFd::as_fd));
    let ended = leave(&keep.collect::<Vec<_>>())
        .map_err(Failure::from)
        .and_then(|()| {
            let mut monitor = Monitor::begin(job)?;
            monitor.guest = guest;
            monitor.live(false, &mut || {
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

/// Has nothing of the caller's any more, but what it is to keep.
pub(super) fn leave(keep: &[BorrowedFd<'_>]) -> Result<()> {
    close_inherited(keep)?;
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

/// Who starts a container.
struct Monitor<'a> {
    charge: Charge<'a>,
    image: &'a Image,
    signals: SignalFd,
    runtime: Runtime,
    /// Who is at its streams from the beginning.
    guest: Option<OwnedFd>,
}

impl Monitor<'_> {
    /// Takes the lock, and removes what an earlier run left.
    fn begin(job: &Job) -> Result<Monitor<'_>> {
        let folder = Folder::of(&job.container);
        let name = &job.container.name;
        let busy = || Error::because(Errno::EBUSY, format!("container {name:?} runs already"));
        let held = folder.hold_ended()?.ok_or_else(busy)?;
        let begun = Monitor::prepare(job, folder, held);
        let remove = || remove(&job.store, &job.container, &job.config);
        begun.map_err(|e| match job.config.remove.then(remove) {
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
        let mounted = match job.new {
            true => None,
            false => job.container.mounted_on()?,
        };
        if let Some(at) = mounted {
            let why = format!("container {name:?} is mounted on {}", at.display());
            return Err(Error::because(Errno::EBUSY, why));
        }
        // orphans of the container's making become children of this process: it sees their end
        nix::sys::prctl::set_child_subreaper(true)?;
        Ok(Monitor {
            charge: Charge {
                store: &job.store,
                container: &job.container,
                config: &job.config,
                folder,
                held,
                state: State {
                    monitor: Some(Proc::of(getpid())?),
                    ..State::default()
                },
                made: Vec::new(),
            },
            image: &job.image,
            signals: hold_signals()?,
            runtime,
            guest: None,
        })
    }

    /// From the mount to the end.
    fn live(mut self, attach: bool, runs: &mut dyn FnMut() -> Result<()>) -> Outcome<u8> {
        let ended = match self.run(runs) {
            Ok((watched, ends)) => {
                if !attach {
                    let stays = afresh::begin(&self.charge, &ends);
                    log::debug!("the memory of the start is kept: {stays}");
                }
                let Charge {
                    config,
                    folder,
                    state,
                    ..
                } = &mut self.charge;
                watch(
                    folder,
                    state,
                    watched,
                    (self.signals, ends),
                    (attach, config.log),
                )
            }
            Err(e) => {
                // a runtime that failed in the middle has to clear up by itself
                if self.charge.state.server.is_some() && self.charge.state.started.is_none() {
                    self.runtime.delete(&self.charge.config.id);
                }
                Err(e)
            }
        };
        self.charge.finish(ended)
    }

    /// Until it runs.
    fn run(&mut self, runs: &mut dyn FnMut() -> Result<()>) -> Outcome<(Watched, Ends)> {
        let mounting = self.mount().context(|| "root file system")?;
        // done while another process mounts
        let prepared = self.prepare_bundle();
        let server = mounting.ready().context(|| "root file system")?;
        self.charge.state.server = Some(Proc::of(server)?);
        self.charge.folder.set_state(&self.charge.state)?;
        self.bundle(prepared?)?;
        // before it begins, so that who knows that it runs can come
        let listener = guests::listen(&self.charge.folder)?;
        let (first, mut ends) = self.start()?;
        ends.listener = Some(listener);
        ends.guest = self.guest.take();
        self.charge.state.first = Proc::of(first).ok();
        self.charge.state.started = Some(crate::image::now());
        self.charge.folder.set_state(&self.charge.state)?;
        runs()?;
        Ok((Watched { first, server }, ends))
    }

    /// A process of its own is to serve the root file system. It stays in this call for as long as it lives, and
    /// keeps the stack of its callers: so what else they call is not to be part of them.
    #[inline(never)]
    fn mount(&self) -> Result<Starting> {
        let (container, config) = (self.charge.container, self.charge.config);
        let mut upper = UpperConfig::new(container.upper(), container.work());
        // what goes with the container need not last
        upper.volatile = config.remove && container.record.kept_in.is_none();
        let options = MountOptions {
            io: if config.passthrough {
                Io::Passthrough
            } else {
                Io::Cached
            },
            writeback: config.storage.writeback,
            fsync: !upper.volatile,
            fsname: container.fsname()?,
            ..MountOptions::default()
        };
        let recipe = Recipe::of(self.charge.store, self.image).kept(true);
        let config = overlay::Config {
            upper: Some(upper),
            ..overlay::Config::default()
        };
        let make = Box::new(move |key| recipe.open(key));
        fuse::serve_over(make, &config, &options, &container.mountpoint())
    }

    /// Makes what the runtime needs, as far as it does not depend on what is in the root.
    #[inline(never)]
    fn prepare_bundle(&self) -> Result<Rights> {
        let config = self.charge.config;
        files::names(&self.charge.folder, config)?;
        files::bind_sources(self.charge.store, config)?;
        let bundle = self.charge.folder.path("bundle");
        fs::create_dir_all(&bundle).context(|| bundle.display().to_string())?;
        Rights::of(config)
    }

    /// Makes the rest.
    #[inline(never)]
    fn bundle(&mut self, rights: Rights) -> Result<()> {
        let (config, image) = (self.charge.config, &self.image.config);
        let at = self.charge.container.mountpoint();
        let root = File::open(&at).context(|| at.display().to_string())?;
        if !config.remove {
            self.charge.made = files::missing(root.as_fd());
        }
        let (store, folder) = (self.charge.store, &self.charge.folder);
        volumes::fill(store, folder, config, root.as_fd())?;
        let init = config.init.then(find_init).transpose()?;
        let parts = Parts {
            config,
            image,
            folder,
            root: root.as_fd(),
            root_path: &at,
            store,
            init: init.as_deref(),
            rights: &rights,
            rootless: super::rootless::is_inside(),
        };
        let spec = parts.spec()?;
        self.charge.folder.write("bundle/config.json", &spec)
    }

    /// Has the runtime start it: its first process, and the streams.
    #[inline(never)]
    fn start(&self) -> Outcome<(Pid, Ends)> {
        let (id, config) = (&self.charge.config.id, self.charge.config);
        if config.tty {
            let console = ConsoleSocket::new()?;
            let streams = Streams {
                stdin: nothing()?,
                stdout: nothing()?,
                stderr: nothing()?,
            };
            let first = self.runtime.run(id, Some(&console.path()), streams)?;
            let terminal = console.receive()?;
            if let Some(size) = config.size {
                set_size(terminal.as_fd(), size).context(|| "size of the terminal")?;
            }
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
            true => pipe().map(|(theirs, ours)| (theirs, Some(ours)))?,
            false => (nothing()?, None),
        };
        let streams = Streams {
            stdin,
            stdout,
            stderr,
        };
        let first = self.runtime.run(id, None, streams)?;
        let ends = Ends {
            input,
            output: Some(output),
            error: Some(error),
            ..Ends::default()
        };
        Ok((first, ends))
    }
}

/// Passes on what comes and goes, until the container has ended: its exit code. `attached`: this process's
/// streams are those of the container.
pub(super) fn watch(
    folder: &Folder,
    state: &mut State,
    watched: Watched,
    (signals, ends): (SignalFd, Ends),
    (attached, log): (bool, LogOptions),
) -> Outcome<u8> {
    let recorder = Recorder::new(&folder.path("log"), log)?;
    let mut note = |why: String| {
        log::warn!("{why}");
        state.error = Some(why);
        if let Err(e) = folder.set_state(state) {
            log::warn!("{e}");
        }
    };
    if !attached {
        trim_memory();
    }
    Ok(Pump::new(watched, signals, ends, recorder, attached, &mut note)?.run()?)
}
