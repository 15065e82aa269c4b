//! What goes in and out of a container while it runs: data, signals, the size of the terminal; and
//! its end.

use super::guests::{Frame, Guests};
use super::record::{Recorder, Stream};
use super::tty;
use crate::sys::process::send_signal;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{ErrorKind, Read, Write, stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Signals that are passed on to the container.
const FORWARDED: &[Signal] = &[
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// How long output may come after the end: from a process that has the streams and is none of the
/// container's.
const LATE: Duration = Duration::from_secs(1);

/// As long as the container has more than this to read, nobody is asked for more.
const INPUT_FULL: usize = 64 << 10;

/// From now on signals wait for [`Pump::run`].
pub fn hold_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in FORWARDED.iter().chain(&[Signal::SIGCHLD, Signal::SIGWINCH]) {
        set.add(*signal);
    }
    set.thread_block()?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    Ok(SignalFd::with_flags(&set, flags)?)
}

/// Something that the container writes to.
struct Source {
    from: Option<File>,
    stream: Stream,
    /// It is passed on to the stream of this process.
    shown: bool,
}

/// Where the container reads from.
struct Input {
    to: Option<File>,
    /// Read here and not yet taken there.
    waiting: Vec<u8>,
    /// There is more to be had here.
    open: bool,
}

/// The streams of a container, from the outside.
#[derive(Default)]
pub struct Ends {
    /// What it reads.
    pub input: Option<OwnedFd>,
    /// What it writes to standard output.
    pub output: Option<OwnedFd>,
    /// What it writes to standard error.
    pub error: Option<OwnedFd>,
    /// Its terminal, which is all three.
    pub terminal: Option<OwnedFd>,
    /// Where others come who want to be at its streams.
    pub listener: Option<OwnedFd>,
    /// One who is there already.
    pub guest: Option<OwnedFd>,
}

/// What goes in and out of a running container.
pub struct Pump<'a> {
    first: Pid,
    server: Pid,
    signals: SignalFd,
    sources: Vec<Source>,
    input: Input,
    terminal: Option<OwnedFd>,
    recorder: Recorder,
    guests: Guests,
    /// Is told what goes wrong meanwhile.
    note: &'a mut dyn FnMut(String),
    ended: Option<(u8, Instant)>,
}

/// Who is to be looked after.
pub struct Watched {
    /// The first process of the container.
    pub first: Pid,
    /// The process that serves its root file system.
    pub server: Pid,
}

impl<'a> Pump<'a> {
    /// Takes over the streams. `attached`: this process's own streams are those of the container.
    pub fn new(
        watched: Watched,
        signals: SignalFd,
        ends: Ends,
        recorder: Recorder,
        attached: bool,
        note: &'a mut dyn FnMut(String),
    ) -> Result<Pump<'a>> {
        let again = |fd: &OwnedFd| fd.try_clone().context(|| "terminal");
        let output = match (&ends.terminal, ends.output) {
            (Some(terminal), _) => Some(again(terminal)?),
            (None, output) => output,
        };
        let source = |from: Option<OwnedFd>, stream| Source {
            from: from.map(File::from),
            stream,
            shown: attached,
        };
        let input = match &ends.input {
            Some(input) => Some(again(input)?),
            None => None,
        };
        if let Some(input) = &input {
            // one that does not read must not keep what it writes from being read
            let flags = rustix::fs::fcntl_getfl(input)?;
            rustix::fs::fcntl_setfl(input, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        Ok(Pump {
            first: watched.first,
            server: watched.server,
            signals,
            sources: vec![
                source(output, Stream::Stdout),
                source(ends.error, Stream::Stderr),
            ],
            input: Input {
                open: input.is_some() && attached,
                to: input.map(File::from),
                waiting: Vec::new(),
            },
            terminal: ends.terminal,
            recorder,
            guests: Guests::new(ends.listener, ends.guest)?,
            note,
            ended: None,
        })
    }

    /// Returns when the container has ended, and all that it wrote was passed on: its exit code.
    pub fn run(mut self) -> Result<u8> {
        // it may have ended before anybody listened
        self.reap()?;
        loop {
            if let Some((code, when)) = self.ended {
                let silent = self.sources.iter().all(|s| s.from.is_none());
                if silent || when.elapsed() > LATE {
                    let kept = self.recorder.finish();
                    self.told(kept);
                    self.guests.finish();
                    return Ok(code);
                }
            }
            self.turn()?;
        }
    }

    /// Waits for something, and does it.
    fn turn(&mut self) -> Result<()> {
        let own_input = stdin();
        let wants = |wanted: bool, flags| if wanted { flags } else { PollFlags::empty() };
        let readable = PollFlags::POLLIN;
        let mut fds = vec![PollFd::new(self.signals.as_fd(), readable)];
        let more = self.input.open && self.input.waiting.is_empty() && self.ended.is_none();
        // a stream that is not looked at would still say that it is closed
        let mut places = Places::default();
        if more {
            places.own = Some(fds.len());
            fds.push(PollFd::new(own_input.as_fd(), readable));
        }
        if let Some(to) = self
            .input
            .to
            .as_ref()
            .filter(|_| !self.input.waiting.is_empty())
        {
            places.to = Some(fds.len());
            fds.push(PollFd::new(to.as_fd(), wants(true, PollFlags::POLLOUT)));
        }
        // who is slow to take what the container writes holds it up, as any reader does; after the end there is
        // not much left
        let may_say = self.guests.may_take_more() || self.ended.is_some();
        for (n, source) in self.sources.iter().enumerate().filter(|_| may_say) {
            if let Some(from) = &source.from {
                places.sources.push((n, fds.len()));
                fds.push(PollFd::new(from.as_fd(), readable));
            }
        }
        let hear = self.input.waiting.len() < INPUT_FULL;
        let guests = fds.len();
        fds.extend(self.guests.polled(hear));
        let limit = match self.ended {
            Some(_) => PollTimeout::from(50u8),
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, limit) {
            Err(Errno::EINTR) => return Ok(()),
            other => other.context(|| "poll")?,
        };
        let is_ready = |place: usize| {
            let events = fds.get(place).and_then(PollFd::revents);
            events.is_some_and(|e| !e.is_empty())
        };
        let ready: Vec<usize> = places
            .sources
            .iter()
            .filter(|p| is_ready(p.1))
            .map(|p| p.0)
            .collect();
        let (signal, own) = (is_ready(0), places.own.is_some_and(is_ready));
        let to = places.to.is_some_and(is_ready);
        let come = (guests..fds.len()).any(is_ready);
        drop(fds);
        for n in ready {
            self.pass_on(n);
        }
        if own {
            self.take_input();
        }
        if come {
            for frame in self.guests.turn(hear) {
                self.heard(frame);
            }
        }
        if to || own || come {
            self.give_input();
        }
        match signal {
            true => self.signalled(),
            false => Ok(()),
        }
    }

    /// Output of the container: kept, and shown.
    #[inline(never)] // what it needs of the stack is not needed while it waits
    fn pass_on(&mut self, n: usize) {
        let mut bytes = [0u8; 16 << 10];
        let Some(source) = self.sources.get_mut(n) else {
            return;
        };
        let read = source
            .from
            .as_mut()
            .map_or(Ok(0), |from| from.read(&mut bytes));
        let count = match read {
            Ok(count) => count,
            Err(e) if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&e.kind()) => return,
            // a terminal that nobody has open any more says EIO
            Err(_) => 0,
        };
        let bytes = bytes.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            source.from = None;
            return;
        }
        let stream = source.stream;
        if source.shown {
            // who does not want more, as in `| head`, gets no more
            source.shown = show(stream, bytes).is_ok();
        }
        self.guests.say(stream, bytes);
        let kept = self.recorder.add(stream, bytes);
        self.told(kept);
    }

    /// What somebody says who is at the streams.
    fn heard(&mut self, frame: Frame) {
        match frame {
            Frame::Input(bytes) if self.input.to.is_some() => {
                self.input.waiting.extend_from_slice(&bytes);
            }
            Frame::Size(lines, columns) => {
                if let Some(terminal) = &self.terminal
                    && let Err(e) = tty::set_size(terminal.as_fd(), (lines, columns))
                {
                    self.tell(format!("size of the terminal: {e}"));
                }
            }
            Frame::Signal(number) if self.ended.is_none() => {
                match send_signal(self.first.as_raw(), number) {
                    Err(e) if !e.is(Errno::ESRCH) => {
                        self.tell(format!("signal {number} cannot be passed on: {e}"));
                    }
                    _ => {}
                }
            }
            Frame::Input(_) | Frame::Output(..) | Frame::Signal(_) => {}
        }
    }

    /// Notes what goes wrong, and says it to those who are at the streams.
    fn tell(&mut self, why: String) {
        let said = format!("vellum: {why}\r\n");
        self.guests.say(Stream::Stderr, said.as_bytes());
        (self.note)(why);
    }

    fn told(&mut self, kept: Result<()>) {
        if let Err(e) = kept {
            self.tell(format!(
                "{e}; what the container writes is not kept any more"
            ));
        }
    }

    /// What this process is given to read.
    #[inline(never)]
    fn take_input(&mut self) {
        let mut bytes = [0u8; 16 << 10];
        let count = match stdin().lock().read(&mut bytes) {
            Ok(count) => count,
            Err(e) if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&e.kind()) => return,
            Err(_) => 0,
        };
        self.input.open = count > 0;
        self.input
            .waiting
            .extend_from_slice(bytes.get(..count).unwrap_or_default());
        // the end of the input is passed on; a terminal has none, but the key for it
        if !self.input.open && self.terminal.is_none() {
            self.input.to = None;
        }
    }

    fn give_input(&mut self) {
        let Some(to) = self.input.to.as_mut() else {
            return;
        };
        match to.write(&self.input.waiting) {
            Ok(count) => drop(self.input.waiting.drain(..count)),
            Err(e) if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&e.kind()) => {}
            // nobody reads any more
            Err(_) => {
                self.input.waiting.clear();
                self.input.open = false;
                self.input.to = None;
            }
        }
    }

    fn signalled(&mut self) -> Result<()> {
        while let Some(info) = self.signals.read_signal()? {
            let number = i32::try_from(info.ssi_signo).unwrap_or_default();
            match Signal::try_from(number) {
                Ok(Signal::SIGCHLD) => self.reap()?,
                Ok(Signal::SIGWINCH) => self.resize(),
                Ok(signal) if self.ended.is_none() => match kill(self.first, signal) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(e) => self.tell(format!("{signal} cannot be passed on: {e}")),
                },
                _ => {}
            }
        }
        Ok(())
    }

    fn resize(&mut self) {
        if let Some(terminal) = &self.terminal
            && let Err(e) = tty::follow_size(terminal.as_fd())
        {
            self.tell(format!("size of the terminal: {e}"));
        }
    }

    /// Looks after children that have ended: the container's first process, whose end is the
    /// container's; the server of its root; what others left.
    fn reap(&mut self) -> Result<()> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) | Ok(WaitStatus::StillAlive) => break,
                Err(Errno::EINTR) => continue,
                other => other.context(|| "waitpid")?,
            };
            let code = exit_code(&status);
            match (status.pid(), code) {
                (Some(pid), Some(code)) if pid == self.first => {
                    self.ended = Some((code, Instant::now()));
                }
                (Some(pid), Some(_)) if pid == self.server && self.ended.is_none() => {
                    let how = match status {
                        WaitStatus::Signaled(_, signal, _) => format!("was killed by {signal}"),
                        _ => "ended".to_owned(),
                    };
                    self.tell(format!(
                        "the process that serves the root file system {how}: every access to a file fails \
                         until the container is started again"
                    ));
                }
                _ => {}
            }
        }
        match (self.ended, kill(self.first, None)) {
            (None, Err(Errno::ESRCH)) => {
                let why = "the container's first process is gone, and nobody knows how it ended";
                Err(Error::because(Errno::ECHILD, why))
            }
            _ => Ok(()),
        }
    }
}

/// Where in the list of what is waited for something is.
#[derive(Default)]
struct Places {
    own: Option<usize>,
    to: Option<usize>,
    sources: Vec<(usize, usize)>,
}

/// As shells count: the process's own code, or 128 and the signal.
fn exit_code(status: &WaitStatus) -> Option<u8> {
    match status {
        WaitStatus::Exited(_, code) => Some(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        WaitStatus::Signaled(_, signal, _) => Some(128 + u8::try_from(*signal as i32).unwrap_or(0)),
        _ => None,
    }
}

/// Passes output on to this process's own.
pub fn show(stream: Stream, bytes: &[u8]) -> std::io::Result<()> {
    match stream {
        Stream::Stdout => stdout().write_all(bytes).and_then(|()| stdout().flush()),
        Stream::Stderr => stderr().write_all(bytes),
    }
}
