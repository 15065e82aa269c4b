//! The life of the process that serves a mount.
//!
//! In the background, the caller's process waits until the mount is ready, or is told why it is
//! not; a process of its own serves the mount, with none of the caller's files open: whoever waits
//! for the end of the caller's stderr (podman does) must not wait for the end of the mount. That
//! process ends when the kernel has let go of the mount, and unmounts, at a signal, by the mount's
//! number: the path may carry its successor by then.

use super::adapter::Adapter;
use super::follow::{Follower, Scout};
use super::mount::{Mounted, mount};
use super::options::{Allow, Io, MountOptions};
use super::rooms::Rooms;
use super::slow::Slow;
use super::watch::Watch;
use super::{device, ring, session};
use crate::overlay::{Config, Engine, MakeLower};
use crate::sys::ancestry::Ancestry;
use crate::sys::cpus::Processors;
use crate::sys::fuse_dev::backing_open;
use crate::sys::process::{
    Fork, close_inherited, fork, leave_caller, raise_file_limit, share_arenas, trim_memory,
    widen_file_table,
};
use crate::sys::room::IDLE;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// Stacks the layers, mounts them on `mountpoint` and serves the mount.
///
/// With `foreground` it returns when the mount is gone. Otherwise it returns when the mount is
/// ready, and a process of its own, without the caller's stdio, serves it. It must be called
/// before the process starts a thread.
pub fn run(
    config: &Config,
    options: &MountOptions,
    mountpoint: &Path,
    foreground: bool,
) -> Result<()> {
    begin(Stack::Dirs(config), options, mountpoint, foreground)
}

/// As [`run`], with the tree that `make` makes beneath, in the place of lower directories. It is
/// made in the process that serves the mount.
pub fn run_over(
    make: MakeLower,
    config: &Config,
    options: &MountOptions,
    mountpoint: &Path,
    foreground: bool,
) -> Result<()> {
    begin(Stack::Over(make, config), options, mountpoint, foreground)
}

/// As [`run_over`], in the background; the process that serves the mount is a child of this one. The
/// mount is not ready before [`Starting::ready`] returns.
pub fn serve_over(
    make: MakeLower,
    config: &Config,
    options: &MountOptions,
    mountpoint: &Path,
) -> Result<Starting> {
    start(Stack::Over(make, config), options, mountpoint)
}

/// A process that is about to serve a mount.
#[derive(Debug)]
pub struct Starting {
    server: Pid,
    said: File,
}

impl Starting {
    /// Waits until the mount is ready: the process that serves it.
    pub fn ready(self) -> Result<Pid> {
        wait_until_ready(self.server, self.said)?;
        Ok(self.server)
    }
}

/// What an engine is opened from.
enum Stack<'a> {
    /// Directories, as the configuration says.
    Dirs(&'a Config),
    /// What is made so, and what the configuration says beyond.
    Over(MakeLower, &'a Config),
}

impl Stack<'_> {
    fn config(&self) -> &Config {
        match self {
            Stack::Dirs(config) | Stack::Over(_, config) => config,
        }
    }

    fn open(self) -> Result<Engine> {
        match self {
            Stack::Dirs(config) => Engine::open(config),
            Stack::Over(make, config) => Engine::over(make, config),
        }
    }
}

fn begin(
    stack: Stack<'_>,
    options: &MountOptions,
    mountpoint: &Path,
    foreground: bool,
) -> Result<()> {
    match foreground {
        true => Ready::mount(stack, options, mountpoint)?.serve(),
        false => start(stack, options, mountpoint)?.ready().map(drop),
    }
}

fn start(stack: Stack<'_>, options: &MountOptions, mountpoint: &Path) -> Result<Starting> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    match fork()? {
        Fork::Parent(server) => Ok(Starting {
            server,
            said: reader.into(),
        }),
        Fork::Child => {
            drop(reader);
            let ended = background(stack, options, mountpoint, writer.into());
            std::process::exit(i32::from(ended.is_err()))
        }
    }
}

/// In the first process: the child says one byte when the mount is ready, or else why it is not.
fn wait_until_ready(child: Pid, mut from_child: File) -> Result<()> {
    let mut said = Vec::new();
    from_child.read_to_end(&mut said)?;
    if said == READY {
        return Ok(());
    }
    let status = waitpid(child, None)?;
    let Some((errno, why)) = said.split_at_checked(4) else {
        return Err(match status {
            WaitStatus::Signaled(_, signal, _) => {
                Error::because(Errno::EIO, format!("killed by {signal} while mounting"))
            }
            _ => Error::because(Errno::EIO, "the mount process ended without a word"),
        });
    };
    let errno = errno.try_into().map_or(libc::EIO, i32::from_ne_bytes);
    Err(Error::told(
        Errno::from_raw(errno),
        &String::from_utf8_lossy(why),
    ))
}

const READY: &[u8] = b"+";

/// In the second process.
fn background(
    stack: Stack<'_>,
    options: &MountOptions,
    mountpoint: &Path,
    mut to_parent: File,
) -> Result<()> {
    let ready = close_inherited(&[to_parent.as_fd()])
        .and_then(|()| Ok(nix::unistd::setsid().map(drop)?))
        .and_then(|()| Ready::mount(stack, options, mountpoint))
        .and_then(|ready| leave_caller().map(|()| ready));
    match ready {
        Ok(ready) => {
            // a parent that is gone has nobody to tell
            if let Err(e) = to_parent.write_all(READY) {
                log::debug!("nobody waits for the mount: {e}");
            }
            drop(to_parent);
            ready.serve()
        }
        Err(e) => {
            let mut told = (e.errno() as i32).to_ne_bytes().to_vec();
            told.extend_from_slice(e.reason().as_bytes());
            to_parent.write_all(&told)?;
            Err(e)
        }
    }
}

/// A mount with the kernel's first question answered.
struct Ready {
    adapter: Arc<Adapter>,
    mounted: Arc<Mounted>,
    slow: Slow,
    /// Threads that answer requests already.
    rings: Vec<JoinHandle<()>>,
}

impl Ready {
    fn mount(stack: Stack<'_>, options: &MountOptions, mountpoint: &Path) -> Result<Ready> {
        refuse_nesting(stack.config(), mountpoint)?;
        raise_file_limit();
        widen_file_table();
        share_arenas();
        // signals wait, in every thread to come, for the one that asks for them
        signals().thread_block()?;
        let engine = Arc::new(stack.open()?);
        let read_only = engine.read_only() || options.flags.contains(MsFlags::MS_RDONLY);
        let mounted = Arc::new(mount(mountpoint, options, read_only)?);
        let mut options = options.clone();
        options.acl &= engine.keeps_acls();
        // where nothing is written it only has the kernel ask for a file's blocks after each close
        options.writeback &= !engine.read_only();
        if options.allow == Allow::Root {
            // the kernel knows no such thing: others are kept out when they ask, so they have to ask
            options.timeout = Duration::ZERO;
        }
        let adapter = Arc::new(Adapter::new(engine, options, mounted.device.clone()));
        Ready::begin(adapter, mounted.clone()).map_err(|e| match mounted.detach() {
            Ok(()) => e,
            Err(left) => e.context(format!("{left}; it stays mounted")),
        })
    }

    fn begin(adapter: Arc<Adapter>, mounted: Arc<Mounted>) -> Result<Ready> {
        session::begin(&adapter)?;
        may_pass_through(&adapter.options, &mounted)?;
        let slow = Slow::new()?;
        let rings = if adapter.agreed().io_uring {
            ring::start(&adapter, &slow)?
        } else {
            Vec::new()
        };
        Ok(Ready {
            adapter,
            mounted,
            slow,
            rings,
        })
    }

    /// Answers the kernel until the mount is gone.
    fn serve(self) -> Result<()> {
        let mounted = self.mounted.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || detach_at_signal(&mounted))?;
        read_ahead(&self.mounted);
        let rooms = Arc::new(device::rooms(&self.adapter, std::thread::current()));
        let served = match self.rings.is_empty() {
            true => self.serve_by_device(&rooms),
            false => {
                trim_memory();
                device::serve(&self.adapter, &self.slow, &rooms, None)
            }
        };
        served.context(|| "serving the mount")
    }

    /// Threads read requests; this one looks after what they need.
    fn serve_by_device(&self, rooms: &Arc<Rooms>) -> Result<()> {
        let running = Arc::new(AtomicUsize::new(0));
        let anywhere = Processors::allowed()?;
        let watch = Arc::new(Watch::default());
        let scout = Arc::new(Scout::default());
        let (joined, all_joined) = channel::<()>();
        let mut readers = Vec::new();
        for i in 0..self.adapter.options.threads.max(1) {
            let (adapter, slow, rooms) = (self.adapter.clone(), self.slow.clone(), rooms.clone());
            running.fetch_add(1, Ordering::AcqRel);
            let (watch, scout) = (watch.clone(), scout.clone());
            let anywhere = anywhere.clone();
            let joined = joined.clone();
            let end = End(running.clone(), std::thread::current());
            let reader = std::thread::Builder::new()
                .name(format!("reader-{i}"))
                .spawn(move || {
                    let _end = end;
                    let follower = Follower::new(watch.join(Some(anywhere)), scout);
                    drop(joined);
                    device::serve(&adapter, &slow, &rooms, Some(follower))
                })?;
            readers.push(reader);
        }
        drop(joined);
        all_joined.recv().ok(); // comes back when all have dropped their end
        if anywhere.several() && watch.clone().start()? {
            scout.start(watch)?;
        }
        // what the first requests need, as those of a container's start, comes at once
        let runs = || running.load(Ordering::Acquire) > 0;
        pause(IDLE, runs);
        while runs() {
            match rooms.tidy() {
                true => pause(IDLE, runs),
                false => {
                    trim_memory();
                    std::thread::park();
                }
            }
        }
        let panicked = |_| Error::because(Errno::EIO, "a thread that reads requests panicked");
        let mut ended = Ok(());
        for reader in readers {
            ended = ended.and(reader.join().map_err(panicked).flatten());
        }
        ended
    }
}

/// Lets time pass, as long as there is something to wait for. Whoever unparks this thread meanwhile does not
/// shorten it: while many requests come, that would be each of them.
fn pause(time: Duration, lasts: impl Fn() -> bool) {
    let begun = Instant::now();
    while lasts() {
        match time.checked_sub(begun.elapsed()) {
            Some(left) if !left.is_zero() => std::thread::park_timeout(left),
            _ => return,
        }
    }
}

/// Tells a thread of the end of another.
struct End(Arc<AtomicUsize>, Thread);

impl Drop for End {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
        self.1.unpark();
    }
}

fn signals() -> SigSet {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(signal);
    }
    set
}

fn detach_at_signal(mounted: &Mounted) {
    loop {
        match signals().wait() {
            Ok(signal) => log::info!("{signal}: unmounting {}", mounted.path.display()),
            Err(e) => return log::error!("no signals are seen: {e}"),
        }
        if let Err(e) = mounted.detach() {
            log::error!("{e}");
        }
    }
}

/// A mountpoint in a layer would be part of itself, and the other way round.
fn refuse_nesting(config: &Config, mountpoint: &Path) -> Result<()> {
    let uppers = config
        .upper
        .iter()
        .flat_map(|u| [("upper directory", &u.upper), ("work directory", &u.work)]);
    let lowers = config.lowers.iter().map(|l| ("lower layer", l));
    let mut known = Ancestry::new();
    for (what, layer) in lowers.chain(uppers) {
        if known.overlap((what, layer), ("mountpoint", mountpoint))? {
            return Err(Error::because(
                Errno::EINVAL,
                format!(
                    "mountpoint {} and {what} {} lie one inside the other",
                    mountpoint.display(),
                    layer.display()
                ),
            ));
        }
    }
    Ok(())
}

/// Whether the kernel takes backing files from this process. Asked with a file that it would not
/// take from anyone, so that the answer is about the permission alone.
fn may_pass_through(options: &MountOptions, mounted: &Mounted) -> Result<()> {
    if options.io != Io::Passthrough {
        return Ok(());
    }
    let dir = File::open("/").context(|| "/")?;
    match backing_open(&*mounted.device, &dir) {
        Err(e) if e.is(Errno::EPERM) => Err(Error::because(
            Errno::EPERM,
            "io=passthrough needs CAP_SYS_ADMIN in the first user namespace; io=cached does not",
        )),
        _ => Ok(()),
    }
}

/// Lets the kernel read ahead as much as one request can carry. Best effort, for root: what is
/// lost is speed on the first read of large files.
fn read_ahead(mounted: &Mounted) {
    const KIB: u32 = 1024;
    let set = || -> Result<()> {
        let at = rustix::fs::statx(
            rustix::fs::CWD,
            &mounted.path,
            rustix::fs::AtFlags::STATX_DONT_SYNC,
            rustix::fs::StatxFlags::MNT_ID,
        )?;
        let device = format!("{}:{}", at.stx_dev_major, at.stx_dev_minor);
        let knob = format!("/sys/class/bdi/{device}/read_ahead_kb");
        Ok(std::fs::write(knob, KIB.to_string())?)
    };
    if let Err(e) = set() {
        log::debug!("read-ahead stays as it is: {e}");
    }
}
