//! At the streams of a container that runs, from another process: what it writes is shown, what is typed
//! goes to it, and the keys for that leave it alone again.

use super::folder::{Folder, Status, Waiter};
use super::guests::{FRAME_MAX, Frame, connect};
use super::keys::DetachKeys;
use super::pump::{hold_signals, show};
use super::tty::{Raw, own_size};
use super::{FAILED, Failure, KILLED};
use crate::image::container::Container;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use std::io::{ErrorKind, Read, Write, stdin};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// As long as there is more than this for the container, nothing more is read.
const FULL: usize = 64 << 10;

/// How one is there.
#[derive(Clone, Debug)]
pub struct Attach {
    /// The keys that leave a terminal.
    pub keys: DetachKeys,
    /// Standard input is passed on, if the container has one.
    pub input: bool,
    /// Signals are passed on; else they end this side only.
    pub signals: bool,
}

/// How that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The container has ended, with this exit code.
    Ended(u8),
    /// It goes on.
    Detached,
}

/// Is at the streams of a container until it ends, or until one leaves.
pub fn attach(container: &Container, asked: Attach) -> std::result::Result<Left, Failure> {
    let folder = Folder::of(container);
    let name = &container.name;
    let (Status::Running(_), Some(config)) = (folder.status()?, folder.config()?) else {
        let why = format!("container {name:?} is not running");
        return Err(Error::because(Errno::ESRCH, why).into());
    };
    let waiter = folder.waiter()?;
    let socket = connect(&folder).context(|| format!("container {name:?}"))?;
    let input = asked.input && config.interactive;
    follow(
        &folder,
        (socket, waiter, hold_signals()?),
        config.tty,
        Attach { input, ..asked },
    )
}

/// The same, where somebody has opened all that is needed before the container began.
pub(super) fn follow(
    folder: &Folder,
    (socket, waiter, signals): (UnixStream, Waiter, SignalFd),
    tty: bool,
    asked: Attach,
) -> std::result::Result<Left, Failure> {
    socket.set_nonblocking(true).map_err(Error::from)?;
    let raw = match tty && asked.input {
        true => Raw::enter()?,
        false => None,
    };
    let mut side = Side {
        socket,
        tty,
        open: asked.input,
        asked,
        waiting: Vec::new(),
        partial: Vec::new(),
    };
    let left = side.live(&signals)?;
    drop(raw);
    if !left {
        return Ok(Left::Detached);
    }
    // who looked after it died without a word
    let code = waiter.wait()?.unwrap_or(KILLED);
    // what went wrong before was said here already; a passing container has no state any more, and nothing to lose
    match folder.state().ok().and_then(|state| state.left) {
        Some(error) if code == 0 => Err(Failure {
            code: FAILED,
            error: Error::because(Errno::EIO, error),
            told: false,
        }),
        Some(error) => {
            log::warn!("{error}");
            Ok(Left::Ended(code))
        }
        None => Ok(Left::Ended(code)),
    }
}

/// This side of the socket.
struct Side {
    socket: UnixStream,
    tty: bool,
    asked: Attach,
    /// There is more to be had from standard input.
    open: bool,
    /// Said to the container, and not yet taken there.
    waiting: Vec<u8>,
    /// Said by it, and not yet whole.
    partial: Vec<u8>,
}

impl Side {
    /// True: the container has ended. False: one wants to leave.
    fn live(&mut self, signals: &SignalFd) -> Result<bool> {
        self.say_size();
        loop {
            let own = stdin();
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, !self.waiting.is_empty());
            let mut fds = vec![
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.socket.as_fd(), flags),
            ];
            if self.open && self.waiting.len() < FULL {
                fds.push(PollFd::new(own.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.context(|| "poll")?,
            };
            let ready = |n: usize| {
                let events = fds.get(n).and_then(PollFd::revents);
                events.is_some_and(|e| !e.is_empty())
            };
            let (signal, socket, typed) = (ready(0), ready(1), ready(2));
            drop(fds);
            if signal && !self.signalled(signals)? {
                return Ok(false);
            }
            if typed && !self.typed() {
                self.give();
                eprint!("read escape sequence\r\n");
                return Ok(false);
            }
            if (socket || typed || signal) && (!self.give() || !self.hear()?) {
                return Ok(true);
            }
        }
    }

    fn say(&mut self, frame: &Frame) {
        self.waiting.extend_from_slice(&frame.bytes());
    }

    fn say_size(&mut self) {
        if let (true, Some(size)) = (self.tty, own_size()) {
            self.say(&Frame::Size(size.ws_row, size.ws_col));
            self.give();
        }
    }

    /// False: one wants to leave.
    fn typed(&mut self) -> bool {
        let mut bytes = [0u8; FRAME_MAX / 2];
        let count = match stdin().lock().read(&mut bytes) {
            Ok(count) => count,
            Err(e) if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&e.kind()) => {
                return true;
            }
            Err(_) => 0,
        };
        self.open = count > 0;
        let bytes = bytes.get(..count).unwrap_or_default();
        let (bytes, leaves) = match self.tty {
            true => self.asked.keys.pass(bytes),
            false => (bytes.to_vec(), false),
        };
        if !bytes.is_empty() {
            self.say(&Frame::Input(bytes));
        }
        !leaves
    }

    /// False: this side is to end.
    fn signalled(&mut self, signals: &SignalFd) -> Result<bool> {
        while let Some(info) = signals.read_signal()? {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) | Err(_) => {}
                Ok(Signal::SIGWINCH) => self.say_size(),
                Ok(_) if self.asked.signals => self.say(&Frame::Signal(number)),
                Ok(_) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Passes on what waits; false: nobody is there any more.
    fn give(&mut self) -> bool {
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                // what it said last can be read still
                Err(_) => {
                    self.waiting.clear();
                    self.open = false;
                }
            }
        }
        true
    }

    /// Shows what came; false: nobody is there any more.
    fn hear(&mut self) -> Result<bool> {
        let mut bytes = [0u8; FRAME_MAX];
        match self.socket.read(&mut bytes) {
            Ok(0) => return Ok(false),
            Ok(count) => self
                .partial
                .extend_from_slice(bytes.get(..count).unwrap_or_default()),
            Err(e) if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&e.kind()) => {}
            Err(_) => return Ok(false),
        }
        while let Some(frame) = Frame::take(&mut self.partial)? {
            if let Frame::Output(stream, bytes) = frame {
                // who does not want more, as in `| head`, gets no more
                show(stream, &bytes).ok();
            }
        }
        Ok(true)
    }
}
