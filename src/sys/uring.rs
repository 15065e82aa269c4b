//! FUSE over io_uring (Linux 6.14): memory shared with the kernel, in which it leaves requests and
//! finds their answers.
//!
//! The kernel has a queue for every processor. A [`Ring`] serves some of them with *slots*: places
//! for one message each. A slot is the kernel's until it says that a request lies there; then it
//! is a [`Message`], ours alone, until [`Ring::answer`] hands it back with the answer in it. See
//! `Documentation/filesystems/fuse/fuse-io-uring.rst` of the kernel.
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use super::room::{IDLE, SMALL};
use crate::vfs::{Error, Result};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

/// `struct fuse_uring_req_header`: the FUSE header, the structure of the operation, and what the
/// entry itself says.
const HEAD: usize = 288;
/// Offset of the structure of the operation.
const FIXED: usize = 128;
/// Offset of what the entry says.
const ENTRY: usize = 256;
/// Offset of `commit_id` and `payload_sz` in that.
const COMMIT_ID: usize = ENTRY + 8;
const PAYLOAD_SZ: usize = ENTRY + 16;

/// Room for a slot's head and its two iovecs.
const HEAD_ROOM: usize = 512;
/// Offset of the iovecs in that.
const IOVECS: usize = 384;

/// What is given back is whole pages.
const PAGE: usize = 4096;

/// `enum fuse_uring_cmd`.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;

/// Offset of `len` in `struct io_uring_sqe`, which the crate does not set for such commands.
const SQE_LEN: usize = 24;

/// `user_data` of the wait for [`Waker`].
const WAKE: u64 = u64::MAX;

type Uring = IoUring<squeue::Entry128, cqueue::Entry>;

/// Anonymous memory, as large as is ever needed; what is not touched takes none.
#[derive(Debug)]
struct Memory {
    start: NonNull<libc::c_void>,
    len: NonZeroUsize,
}

// SAFETY: plain memory, which no thread owns. Who may touch which part of it is up to `Message`.
unsafe impl Send for Memory {}
// SAFETY: as above; `Memory` itself reads and writes nothing.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(len: NonZeroUsize) -> Result<Memory> {
        use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
        let protect = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(None, len, protect, flags) }?;
        Ok(Memory { start, len })
    }

    /// Gives back the memory of a part, which must be one that nobody uses, nor counts on. Best
    /// effort: what is lost is memory.
    fn release(&self, part: NonNull<u8>, len: usize) {
        let advice = nix::sys::mman::MmapAdvise::MADV_DONTNEED;
        // SAFETY: a part of the mapping, private and anonymous, which reads as zeros from now on.
        let released = unsafe { nix::sys::mman::madvise(part.cast(), len, advice) };
        if let Err(e) = released {
            log::debug!("memory for messages stays: {e}");
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, and nobody has a part of it any more. Best effort: what is lost
        // is address space.
        unsafe { nix::sys::mman::munmap(self.start, self.len.get()) }.ok();
    }
}

/// A request, in memory that is ours until it is answered.
#[derive(Debug)]
pub struct Message {
    index: usize,
    slot: Slot,
    room: usize,
    /// Length of what followed the structure of the operation.
    given: usize,
    /// Kept alive.
    #[allow(dead_code, reason = "for its drop")]
    memory: Arc<Memory>,
}

// SAFETY: a message has its part of the memory for itself, and keeps all of it alive.
unsafe impl Send for Message {}

impl Message {
    fn head(&self) -> &[u8] {
        // SAFETY: in bounds, initialised (zero pages), and nobody writes there while this lives.
        unsafe { std::slice::from_raw_parts(self.slot.head.as_ptr(), HEAD) }
    }

    fn head_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.slot.head.as_ptr(), HEAD) }
    }

    fn number<const N: usize>(&self, at: usize) -> [u8; N] {
        self.head()
            .get(at..)
            .and_then(|b| b.first_chunk())
            .copied()
            .unwrap_or([0; N])
    }

    /// Length of what is in the payload: of the request, or once it is finished of the answer.
    fn payload_len(&self) -> usize {
        u32::from_ne_bytes(self.number(PAYLOAD_SZ)) as usize
    }

    /// The parts of the request.
    pub fn parts(&mut self) -> Parts<'_> {
        let len = self.payload_len();
        // SAFETY: head and payload are different parts of the memory, both in bounds and
        // initialised, and `self` is borrowed exclusively.
        let (head, payload) = unsafe {
            (
                std::slice::from_raw_parts(self.slot.head.as_ptr(), HEAD),
                std::slice::from_raw_parts_mut(self.slot.payload.as_ptr(), self.room),
            )
        };
        let (header, rest) = head.split_at(FIXED);
        Parts {
            header,
            fixed: rest.get(..ENTRY - FIXED).unwrap_or_default(),
            len: len.min(self.room),
            payload,
        }
    }

    /// Puts the header of the answer in place, with the length of the body.
    pub fn finish(&mut self, header: &[u8], body: usize) {
        let body = u32::try_from(body).unwrap_or(0);
        let head = self.head_mut();
        if let Some(place) = head.get_mut(..header.len()) {
            place.copy_from_slice(header);
        }
        if let Some(place) = head.get_mut(PAYLOAD_SZ..PAYLOAD_SZ + 4) {
            place.copy_from_slice(&body.to_ne_bytes());
        }
    }
}

/// The parts of a request.
#[derive(Debug)]
pub struct Parts<'m> {
    /// The header.
    pub header: &'m [u8],
    /// The structure of the operation.
    pub fixed: &'m [u8],
    /// What follows it, in the first `len` bytes; and the place for the body of the answer.
    pub payload: &'m mut [u8],
    /// How much of `payload` is the request's.
    pub len: usize,
}

/// Ends a [`Ring::wait`], from any thread.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// Ends the wait that is going on, or the next one.
    pub fn wake(&self) -> Result<()> {
        self.0.write(1)?;
        Ok(())
    }
}

/// What a [`Ring::wait`] came back with.
#[derive(Debug, Default)]
pub struct Woken {
    /// Requests to be answered.
    pub messages: Vec<Message>,
    /// A [`Waker`] was used.
    pub called: bool,
    /// The mount is gone.
    pub ended: bool,
    /// Nothing large has come for [`IDLE`], after something had.
    pub idle: bool,
}

/// The queues of some processors.
pub struct Ring {
    uring: Uring,
    device: Arc<OwnedFd>,
    slots: Vec<Slot>,
    waker: Waker,
    memory: Arc<Memory>,
    room: usize,
    /// When a slot last held something large that it still takes memory for.
    large: Option<Instant>,
    /// What came while the slots were registered.
    early: Woken,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    queue: u16,
    head: NonNull<u8>,
    payload: NonNull<u8>,
    /// It is a [`Message`].
    out: bool,
    /// Something large was in it since its memory was last given back.
    large: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

fn uring(entries: usize) -> Result<Uring> {
    let entries = u32::try_from(entries).map_err(|_| Errno::EINVAL)?;
    let made = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(entries.next_power_of_two());
    Ok(made?)
}

/// Whether this process may have such rings at all.
pub fn probe() -> Result<()> {
    uring(1).map(drop)
}

impl Ring {
    /// Makes a ring with `depth` slots for each of `queues`, each with room for `room` bytes, and
    /// hands all of them to the kernel. The thread that calls this is the one to call
    /// [`Ring::wait`].
    pub fn register(
        device: Arc<OwnedFd>,
        queues: &[u16],
        depth: usize,
        room: usize,
    ) -> Result<Ring> {
        let count = queues.len() * depth;
        let room = room.next_multiple_of(PAGE);
        // side by side, so that all heads are in few pages
        let heads = (count * HEAD_ROOM).next_multiple_of(PAGE);
        let len = count
            .checked_mul(room)
            .and_then(|payloads| payloads.checked_add(heads))
            .and_then(NonZeroUsize::new)
            .ok_or(Errno::EINVAL)?;
        let memory = Arc::new(Memory::new(len)?);
        let start = memory.start.cast::<u8>();
        let slot = |i: usize| {
            // SAFETY: within the memory, of which slot `i` has the `i`th head.
            let head = unsafe { start.add(i * HEAD_ROOM) };
            // SAFETY: as above, and behind all heads the `i`th payload.
            let payload = unsafe { start.add(heads + i * room) };
            let queue = queues.get(i / depth.max(1)).copied().unwrap_or_default();
            Slot {
                queue,
                head,
                payload,
                out: false,
                large: false,
            }
        };
        let mut ring = Ring {
            uring: uring(count + 1)?,
            device,
            slots: (0..count).map(slot).collect(),
            waker: Waker(Arc::new(EventFd::new()?)),
            memory,
            room,
            large: None,
            early: Woken::default(),
        };
        for i in 0..count {
            ring.push(REGISTER, i, 0)?;
        }
        ring.listen()?;
        ring.uring.submit()?;
        let mut early = Woken::default();
        if let Some(errno) = ring.collect(&mut early)? {
            return Err(Error::because(errno, "registering for FUSE over io_uring"));
        }
        ring.early = early;
        Ok(ring)
    }

    /// For others to end a wait.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn push(&mut self, command: u32, slot: usize, commit_id: u64) -> Result<()> {
        let Slot {
            queue,
            head,
            payload,
            ..
        } = *self.slots.get(slot).ok_or(Errno::EINVAL)?;
        // struct fuse_uring_cmd_req: flags, commit_id, qid
        let mut cmd = [0u8; 80];
        cmd[8..16].copy_from_slice(&commit_id.to_ne_bytes());
        cmd[16..18].copy_from_slice(&queue.to_ne_bytes());
        let device = types::Fd(self.device.as_fd().as_raw_fd());
        let mut build = opcode::UringCmd80::new(device, command).cmd(cmd);
        let mut iovecs = 0;
        if command == REGISTER {
            // SAFETY: in the head's room, after the head; the slot is still ours.
            let place = unsafe { head.add(IOVECS) }.cast::<[libc::iovec; 2]>();
            let iovec = |base: NonNull<u8>, len| libc::iovec {
                iov_base: base.as_ptr().cast(),
                iov_len: len,
            };
            // SAFETY: as above, and aligned: heads begin at multiples of their room.
            unsafe { place.write([iovec(head, HEAD), iovec(payload, self.room)]) };
            build = build.addr(Some(place.as_ptr().addr() as u64));
            iovecs = 2;
        }
        let mut entry = build.build().user_data(slot as u64);
        // SAFETY: an `Entry128` is a `struct io_uring_sqe` of 128 bytes, with `len` at this place.
        unsafe {
            (&raw mut entry)
                .cast::<u8>()
                .add(SQE_LEN)
                .cast::<u32>()
                .write(iovecs);
        }
        self.submit(&entry)
    }

    /// Waits for a call of the waker, beside the requests.
    fn listen(&mut self) -> Result<()> {
        let fd = types::Fd(self.waker.0.as_fd().as_raw_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32).build();
        self.submit(&squeue::Entry128::from(poll.user_data(WAKE)))
    }

    fn submit(&mut self, entry: &squeue::Entry128) -> Result<()> {
        // SAFETY: what the entry points to lives as long as the ring: its slots, or nothing.
        let full = unsafe { self.uring.submission().push(entry) }.is_err();
        if full {
            return Err(Error::because(Errno::EBUSY, "the submission queue is full"));
        }
        Ok(())
    }

    /// Hands over what was answered, and waits for requests. It may come back with none.
    pub fn wait(&mut self) -> Result<Woken> {
        let mut woken = std::mem::take(&mut self.early);
        if woken.messages.is_empty() && !woken.called && !woken.ended {
            let submitted = match self.large {
                None => self.uring.submit_and_wait(1),
                Some(_) => {
                    let limit = types::Timespec::from(IDLE);
                    let limit = types::SubmitArgs::new().timespec(&limit);
                    self.uring.submitter().submit_with_args(1, &limit)
                }
            };
            match submitted {
                Ok(_) => {}
                Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::ETIME)) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if let Some(errno) = self.collect(&mut woken)? {
            // a message of a mount that is going away, or one that the kernel no longer waits for
            log::debug!("an answer did not arrive: {}", errno.desc());
        }
        if self.large.is_some_and(|when| when.elapsed() >= IDLE) {
            self.release();
            woken.idle = self.large.is_none();
        }
        Ok(woken)
    }

    /// Gives back memory that large messages took. To be called after [`Ring::collect`]: the kernel
    /// writes into a slot only while this thread is in [`Ring::wait`] or [`Ring::flush`]
    /// (`IORING_SETUP_DEFER_TASKRUN`), so that now nothing is in a slot that is no [`Message`].
    fn release(&mut self) {
        if !self.uring.submission().is_empty() {
            return; // an answer that the kernel has not taken
        }
        self.large = None;
        for slot in self.slots.iter_mut().filter(|slot| slot.large) {
            if slot.out {
                self.large = Some(Instant::now());
            } else {
                self.memory.release(slot.payload, self.room);
                slot.large = false;
            }
        }
    }

    /// Hands over what was answered.
    pub fn flush(&mut self) -> Result<()> {
        self.uring.submit()?;
        Ok(())
    }

    /// Takes what has come. Returns what the kernel had against a command of ours.
    fn collect(&mut self, woken: &mut Woken) -> Result<Option<Errno>> {
        let (mut refused, mut called) = (None, false);
        for done in self.uring.completion() {
            if done.user_data() == WAKE {
                called = true;
                continue;
            }
            let index = usize::try_from(done.user_data()).unwrap_or(usize::MAX);
            match (done.result(), self.slots.get_mut(index)) {
                (0.., Some(slot)) => {
                    slot.out = true;
                    let mut message = Message {
                        index,
                        slot: *slot,
                        room: self.room,
                        given: 0,
                        memory: self.memory.clone(),
                    };
                    message.given = message.payload_len();
                    woken.messages.push(message);
                }
                (e, _) => {
                    let errno = Errno::from_raw(-e);
                    woken.ended |= matches!(errno, Errno::ENOTCONN | Errno::ECONNABORTED);
                    refused = Some(errno);
                }
            }
        }
        if called {
            self.waker.0.read()?;
            self.listen()?;
        }
        woken.called |= called;
        Ok(refused)
    }

    /// Takes an answered message back: the next [`Ring::wait`] or [`Ring::flush`] hands it to the
    /// kernel.
    pub fn answer(&mut self, message: Message) -> Result<()> {
        let id = u64::from_ne_bytes(message.number(COMMIT_ID));
        let most = message.given.max(message.payload_len());
        if let Some(slot) = self.slots.get_mut(message.index) {
            slot.out = false;
            if most > SMALL {
                slot.large = true;
                self.large = Some(Instant::now());
            }
        }
        self.push(COMMIT_AND_FETCH, message.index, id)
    }
}
