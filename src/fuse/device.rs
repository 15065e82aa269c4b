//! Requests by way of `/dev/fuse`: one read(2) a request, one write(2) an answer.

use super::adapter::Adapter;
use super::answer::Patience;
use super::follow::Follower;
use super::rooms::Rooms;
use super::session::{Reply, longest_body, respond};
use super::slow::Slow;
use super::wire::{Args, InHeader, OutHeader};
use crate::sys::room::{IDLE, Room, SMALL};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// Room for header and operation's structure before the data of a WRITE.
const FRONT: usize = 4096;

const OUT_HEADER: usize = size_of::<OutHeader>();
/// Where the body of an answer begins, after the header: at a page, as the data of a READ does at both
/// ends of its way. Copies between places that are some bytes apart are slower.
const BODY: usize = 4096;
const HEAD: usize = BODY - OUT_HEADER;

/// How long what needs no answer may wait for more of its kind.
const GATHER: Duration = Duration::from_millis(10);

/// Answers requests until the mount is gone. Without a `follower`, they come by rings, but for those that need
/// no answer. Each of these would wake this thread, at the cost of whoever caused it; so it lets
/// some gather, which the kernel then hands over all at once.
pub(super) fn serve(
    adapter: &Arc<Adapter>,
    slow: &Slow,
    rooms: &Arc<Rooms>,
    mut follower: Option<Follower>,
) -> Result<()> {
    let gather = follower.is_none();
    let mut inbox = Inbox::new(FRONT + longest_body(&adapter.options), gather)?;
    loop {
        if let Some(follower) = &follower {
            follower.turn();
        }
        let request = match inbox.receive(&adapter.device) {
            Ok(request) => request,
            // interrupted, or the request was taken back before it was read
            Err(Errno::EINTR | Errno::ENOENT | Errno::EAGAIN) => continue,
            Err(Errno::ENODEV | Errno::ECONNABORTED) => return Ok(()),
            Err(e) => return Err(e).context(|| "reading requests"),
        };
        if let Some(follower) = &mut follower {
            follower.heard(request);
        }
        if !exchange(adapter, request, Patience::None, rooms)? {
            let (adapter, rooms, request) = (adapter.clone(), rooms.clone(), request.to_vec());
            slow.execute(move || slowly(&adapter, &rooms, &request));
        }
        if gather {
            std::thread::sleep(GATHER);
        }
    }
}

/// Room for answers.
pub(super) fn rooms(adapter: &Adapter, keeper: Thread) -> Rooms {
    Rooms::new(BODY + longest_body(&adapter.options), keeper)
}

/// Where requests arrive.
struct Inbox {
    room: Room,
    /// When something large arrived, since it was last emptied.
    large: Option<Instant>,
    /// Nobody else reads requests, so this thread may wait for one without taking it.
    alone: bool,
}

impl Inbox {
    fn new(len: usize, alone: bool) -> Result<Inbox> {
        Ok(Inbox {
            room: Room::new(len)?,
            large: None,
            alone,
        })
    }

    fn receive(&mut self, device: &OwnedFd) -> nix::Result<&[u8]> {
        if let Some(when) = self.large {
            // several threads that wait so would all be woken by each request
            let idle = self.alone && {
                let millis = u16::try_from(IDLE.as_millis()).unwrap_or(u16::MAX);
                let mut fds = [PollFd::new(device.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(millis))? == 0
            };
            if idle || when.elapsed() >= IDLE {
                self.room.release();
                self.large = None;
            }
        }
        let n = nix::unistd::read(device, &mut self.room)?;
        if n > SMALL {
            self.large = Some(Instant::now());
        }
        Ok(self.room.get(..n).unwrap_or_default())
    }
}

/// In a thread that has the time.
fn slowly(adapter: &Adapter, rooms: &Rooms, request: &[u8]) {
    let debt = Debt(adapter, request);
    if let Err(e) = exchange(adapter, request, Patience::Any, rooms) {
        log::error!("answering: {e}");
    }
    std::mem::forget(debt);
}

/// An answer that somebody waits for, even if what was to give it panics.
struct Debt<'a>(&'a Adapter, &'a [u8]);

impl Drop for Debt<'_> {
    fn drop(&mut self) {
        if let Ok((header, _)) = InHeader::parse(self.1) {
            let error = OutHeader::new(header.unique, Some(Errno::EIO), 0);
            send(self.0, error.as_bytes());
        }
    }
}

/// Answers one request. False: later.
fn exchange(adapter: &Adapter, request: &[u8], patience: Patience, rooms: &Rooms) -> Result<bool> {
    let (header, args) = InHeader::parse(request)?;
    rooms.with(|answer| {
        let Some((head, body)) = answer.split_at_mut_checked(BODY) else {
            return (Err(Error::new(Errno::EIO)), 0);
        };
        match respond(adapter, &header, Args::whole(args), patience, body) {
            Reply::Later => (Ok(false), 0),
            Reply::Silent => (Ok(true), 0),
            Reply::Now(out, len) => {
                if let Some(head) = head.get_mut(HEAD..) {
                    head.copy_from_slice(out.as_bytes());
                }
                let said = answer.get(HEAD..BODY + len);
                send(adapter, said.unwrap_or_default());
                (Ok(true), OUT_HEADER + len)
            }
        }
    })?
}

/// Whether an answer arrives is the kernel's affair: it may have stopped waiting.
fn send(adapter: &Adapter, answer: &[u8]) {
    match nix::unistd::write(&*adapter.device, answer) {
        Ok(_) | Err(Errno::ENOENT | Errno::ENODEV | Errno::ECONNABORTED | Errno::ENOTCONN) => {}
        Err(e) => log::error!("an answer of {} bytes: {}", answer.len(), e.desc()),
    }
}
