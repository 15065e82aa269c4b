//! Requests by way of `/dev/fuse`: one read(2) a request, one write(2) an answer.

use super::adapter::Adapter;
use super::answer::Patience;
use super::session::{Reply, longest_body, respond};
use super::slow::Slow;
use super::wire::{Args, InHeader, OutHeader};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use zerocopy::IntoBytes;

/// Room for header and operation's structure before the data of a WRITE.
const FRONT: usize = 4096;

const OUT_HEADER: usize = size_of::<OutHeader>();

/// How long what needs no answer may wait for more of its kind.
const GATHER: Duration = Duration::from_millis(10);

/// Answers requests until the mount is gone. `gather`: they come by rings, but for those that need
/// no answer. Each of these would wake this thread, at the cost of whoever caused it; so it lets
/// some gather, which the kernel then hands over all at once.
pub(super) fn serve(adapter: &Arc<Adapter>, slow: &Slow, gather: bool) -> Result<()> {
    let mut request = vec![0; FRONT + longest_body(&adapter.options)];
    let mut answer = room_for_answer(adapter);
    loop {
        let n = match nix::unistd::read(&*adapter.device, &mut request) {
            Ok(n) => n,
            // interrupted, or the request was taken back before it was read
            Err(Errno::EINTR | Errno::ENOENT | Errno::EAGAIN) => continue,
            Err(Errno::ENODEV | Errno::ECONNABORTED) => return Ok(()),
            Err(e) => return Err(e).context(|| "reading requests"),
        };
        let request = &request[..n];
        if !exchange(adapter, request, Patience::None, &mut answer)? {
            let (adapter, request) = (adapter.clone(), request.to_vec());
            slow.execute(move || slowly(&adapter, &request));
        }
        if gather {
            std::thread::sleep(GATHER);
        }
    }
}

fn room_for_answer(adapter: &Adapter) -> Vec<u8> {
    vec![0; OUT_HEADER + longest_body(&adapter.options)]
}

/// In a thread that has the time.
fn slowly(adapter: &Adapter, request: &[u8]) {
    thread_local! {
        /// Kept between requests.
        static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let debt = Debt(adapter, request);
    let answered = ANSWER.with_borrow_mut(|answer| {
        if answer.is_empty() {
            *answer = room_for_answer(adapter);
        }
        exchange(adapter, request, Patience::Any, answer)
    });
    if let Err(e) = answered {
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
fn exchange(
    adapter: &Adapter,
    request: &[u8],
    patience: Patience,
    answer: &mut [u8],
) -> Result<bool> {
    let (header, args) = InHeader::parse(request)?;
    let (head, body) = answer
        .split_at_mut_checked(OUT_HEADER)
        .ok_or_else(|| Error::new(Errno::EIO))?;
    match respond(adapter, &header, Args::whole(args), patience, body) {
        Reply::Later => return Ok(false),
        Reply::Silent => {}
        Reply::Now(out, len) => {
            head.copy_from_slice(out.as_bytes());
            send(adapter, &answer[..OUT_HEADER + len]);
        }
    }
    Ok(true)
}

/// Whether an answer arrives is the kernel's affair: it may have stopped waiting.
fn send(adapter: &Adapter, answer: &[u8]) {
    match nix::unistd::write(&*adapter.device, answer) {
        Ok(_) | Err(Errno::ENOENT | Errno::ENODEV | Errno::ECONNABORTED | Errno::ENOTCONN) => {}
        Err(e) => log::error!("an answer of {} bytes: {}", answer.len(), e.desc()),
    }
}
