//! Others at the streams of a container that runs: a socket in its folder, at which the process that looks
//! after it listens.
//!
//! What goes over it are frames: a kind, a length in four bytes, the lowest first, and as many bytes.

use super::folder::Folder;
use super::record::Stream;
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

/// Name of the socket in the folder of a container.
const NAME: &str = "attach";

/// As long as somebody has more than this to take, nothing more is read for it.
const FULL: usize = 64 << 10;

/// Longest frame that is taken: what is read at once.
pub const FRAME_MAX: usize = 16 << 10;

/// How long one who came later may take in the end to take what is left.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something that is said over the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// To the container.
    Input(Vec<u8>),
    /// From the container.
    Output(Stream, Vec<u8>),
    /// Lines and columns of the terminal at the other end.
    Size(u16, u16),
    /// A signal for the container.
    Signal(i32),
}

impl Frame {
    /// As it goes over the socket.
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, data) = match self {
            Frame::Input(bytes) => (0, bytes.clone()),
            Frame::Output(Stream::Stdout, bytes) => (1, bytes.clone()),
            Frame::Output(Stream::Stderr, bytes) => (2, bytes.clone()),
            Frame::Size(lines, columns) => {
                (3, [lines.to_le_bytes(), columns.to_le_bytes()].concat())
            }
            Frame::Signal(number) => (4, number.to_le_bytes().to_vec()),
        };
        let mut all = vec![kind];
        all.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
        all.extend_from_slice(&data);
        all
    }

    /// Takes the first one, if it is there whole.
    pub fn take(from: &mut Vec<u8>) -> Result<Option<Frame>> {
        let bad = || Error::because(Errno::EPROTO, "nothing that is said at this socket");
        let Some((head, rest)) = from.split_at_checked(5) else {
            return Ok(None);
        };
        let (kind, length) = head.split_first().ok_or_else(bad)?;
        let length = length.try_into().map_or(u32::MAX, u32::from_le_bytes) as usize;
        if length > FRAME_MAX {
            return Err(bad());
        }
        let Some(data) = rest.get(..length) else {
            return Ok(None);
        };
        let frame = match (kind, data) {
            (0, data) => Frame::Input(data.to_vec()),
            (1, data) => Frame::Output(Stream::Stdout, data.to_vec()),
            (2, data) => Frame::Output(Stream::Stderr, data.to_vec()),
            (3, &[a, b, c, d]) => {
                Frame::Size(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
            }
            (4, &[a, b, c, d]) => Frame::Signal(i32::from_le_bytes([a, b, c, d])),
            _ => return Err(bad()),
        };
        from.drain(..5 + length);
        Ok(Some(frame))
    }
}

/// The folder, open, and a short path of the socket in it: one of any length would not fit.
fn place(folder: &Folder) -> Result<(File, PathBuf)> {
    let dir = File::open(folder.path("."))?;
    let path = format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd());
    Ok((dir, PathBuf::from(path)))
}

/// Begins to listen. Whoever may open the folder may come.
pub fn listen(folder: &Folder) -> Result<OwnedFd> {
    let what = || format!("socket {}", folder.path(NAME).display());
    let (_dir, path) = place(folder).context(what)?;
    // of an earlier run
    absent_ok(fs::remove_file(&path).map_err(Error::from)).context(what)?;
    let listener = UnixListener::bind(&path).context(what)?;
    Ok(OwnedFd::from(listener))
}

/// Comes to a container that runs.
pub fn connect(folder: &Folder) -> Result<UnixStream> {
    let (_dir, path) = place(folder)?;
    Ok(UnixStream::connect(path)?)
}

/// One that came.
#[derive(Debug)]
struct Guest {
    socket: UnixStream,
    /// Said to it, and not yet taken there.
    waiting: Vec<u8>,
    /// Said by it, and not yet whole.
    partial: Vec<u8>,
    /// It is waited for in the end, however long it takes.
    first: bool,
}

impl Guest {
    fn new(socket: UnixStream, first: bool) -> Result<Guest> {
        socket.set_nonblocking(true)?;
        Ok(Guest {
            socket,
            waiting: Vec::new(),
            partial: Vec::new(),
            first,
        })
    }

    /// Passes on what waits; false: nobody is there any more.
    fn give(&mut self) -> bool {
        while !self.waiting.is_empty() {
            match self.socket.write(&self.waiting) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return e.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// What it says; nothing if nobody is there any more.
    fn hear(&mut self) -> Option<Vec<Frame>> {
        let mut bytes = [0u8; FRAME_MAX];
        match self.socket.read(&mut bytes) {
            Ok(0) => return None,
            Ok(count) => self.partial.extend_from_slice(bytes.get(..count)?),
            Err(e) if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&e.kind()) => {}
            Err(_) => return None,
        }
        let mut frames = Vec::new();
        while let Some(frame) = Frame::take(&mut self.partial).ok()? {
            frames.push(frame);
        }
        Some(frames)
    }
}

/// All that came.
#[derive(Debug, Default)]
pub struct Guests {
    listener: Option<UnixListener>,
    guests: Vec<Guest>,
}

impl Guests {
    /// Those that come to a listener, and one that is there already.
    pub fn new(listener: Option<OwnedFd>, first: Option<OwnedFd>) -> Result<Guests> {
        let listener = listener.map(UnixListener::from);
        if let Some(listener) = &listener {
            listener.set_nonblocking(true)?;
        }
        let first = first
            .map(|fd| Guest::new(UnixStream::from(fd), true))
            .transpose()?;
        Ok(Guests {
            listener,
            guests: first.into_iter().collect(),
        })
    }

    /// What is to be waited for. `hear`: also for what they say.
    pub fn polled(&self, hear: bool) -> Vec<PollFd<'_>> {
        let listener = self.listener.iter();
        let mut fds: Vec<PollFd<'_>> = listener
            .map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN))
            .collect();
        for guest in &self.guests {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, hear);
            flags.set(PollFlags::POLLOUT, !guest.waiting.is_empty());
            fds.push(PollFd::new(guest.socket.as_fd(), flags));
        }
        fds
    }

    /// False while one of them has much to take yet.
    pub fn may_take_more(&self) -> bool {
        self.guests.iter().all(|g| g.waiting.len() < FULL)
    }

    /// Says what the container wrote to all of them.
    pub fn say(&mut self, stream: Stream, bytes: &[u8]) {
        if self.guests.is_empty() {
            return;
        }
        let frame = Frame::Output(stream, bytes.to_vec()).bytes();
        for guest in &mut self.guests {
            guest.waiting.extend_from_slice(&frame);
        }
        self.guests.retain_mut(Guest::give);
    }

    /// Lets in who comes, gives what waits, hears what they say, and forgets who went.
    pub fn turn(&mut self, hear: bool) -> Vec<Frame> {
        let accepted = self.listener.as_ref().map(|l| l.accept());
        if let Some(Ok((socket, _))) = accepted {
            match Guest::new(socket, false) {
                Ok(guest) => self.guests.push(guest),
                Err(e) => log::warn!("one who attached: {e}"),
            }
        }
        let mut said = Vec::new();
        self.guests.retain_mut(|guest| {
            let heard = match hear {
                true => guest.hear(),
                false => Some(Vec::new()),
            };
            let stays = heard.is_some();
            said.extend(heard.into_iter().flatten());
            stays && guest.give()
        });
        said
    }

    /// Gives what is left, and lets all go: to who began the container whenever that takes it, to others soon or
    /// never.
    pub fn finish(&mut self) {
        for mut guest in self.guests.drain(..) {
            let socket = &mut guest.socket;
            let patient = socket
                .set_nonblocking(false)
                .and_then(|()| socket.set_write_timeout((!guest.first).then_some(PATIENCE)))
                .and_then(|()| socket.write_all(&guest.waiting));
            if let Err(e) = patient {
                log::debug!("one who attached: {e}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_whole_or_not() {
        let frames = [
            Frame::Input(b"x".to_vec()),
            Frame::Output(Stream::Stderr, vec![0; FRAME_MAX]),
            Frame::Size(24, 80),
            Frame::Signal(15),
        ];
        let mut bytes = Vec::new();
        let mut came = Vec::new();
        for byte in frames.iter().flat_map(Frame::bytes) {
            bytes.push(byte);
            came.extend(Frame::take(&mut bytes).unwrap());
        }
        assert_eq!(came, frames);
        for bad in [&[9, 0, 0, 0, 0][..], &[0, 0, 0, 0, 1], &[3, 1, 0, 0, 0, 1]] {
            assert!(Frame::take(&mut bad.to_vec()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn who_comes_hears_what_is_said() {
        let dir = tempfile::tempdir().unwrap();
        // a path that is too long for a socket
        let long = dir.path().join("x".repeat(200));
        fs::create_dir(&long).unwrap();
        let folder = Folder::at(&long);
        drop(listen(&folder).unwrap());
        let mut guests = Guests::new(Some(listen(&folder).unwrap()), None).unwrap();
        let mut one = connect(&folder).unwrap();
        assert!(guests.turn(true).is_empty());
        guests.say(Stream::Stdout, b"hello");
        one.write_all(&Frame::Signal(1).bytes()).unwrap();
        assert_eq!(guests.turn(true), [Frame::Signal(1)]);
        let mut heard = [0; 10];
        one.read_exact(&mut heard).unwrap();
        assert_eq!(heard, *b"\x01\x05\0\0\0hello");
        drop(one);
        assert!(guests.turn(true).is_empty() && guests.guests.is_empty());
    }
}
