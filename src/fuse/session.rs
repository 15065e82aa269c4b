//! The conversation with the kernel: the first words, and then one answer to each request.
//!
//! fuser does the first exchange, in which both sides say what they can do. The requests that
//! follow come by [`super::device`] or by [`super::ring`], and are answered here the same way.

use super::adapter::Adapter;
use super::answer::{Outcome, Patience};
use super::init::agree;
use super::options::MountOptions;
use super::wire::{Args, Body, InHeader, OutHeader, Request};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use fuser::{Filesystem, KernelConfig, Session, SessionACL};
use nix::errno::Errno;
use std::sync::Arc;

/// The part of a file system that fuser sees.
struct Handshake(Arc<Adapter>);

impl Filesystem for Handshake {
    fn init(&mut self, _: &fuser::Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let agreed = agree(&self.0.options, config)?;
        self.0.agreed.get_or_init(|| agreed);
        Ok(())
    }
}

/// Exchanges the first words.
pub(super) fn begin(adapter: &Arc<Adapter>) -> Result<()> {
    let session = adapter.device.try_clone().and_then(|device| {
        let (all, config) = (SessionACL::All, fuser::Config::default());
        Session::from_fd(Handshake(adapter.clone()), device, all, config)
    });
    let session = session.context(|| "the kernel does not take the mount as asked for")?;
    adapter.notifier.get_or_init(|| session.notifier());
    Ok(())
}

/// Longest body of a request or an answer: the data of a READ or WRITE, or a list of attributes.
pub(super) fn longest_body(options: &MountOptions) -> usize {
    const LEAST: usize = 128 * 1024; // what the kernel reads at most where nobody says otherwise
    (options.max_write as usize)
        .next_multiple_of(4096)
        .max(LEAST)
}

/// What goes back to the kernel.
#[derive(Debug)]
pub(super) enum Reply {
    /// This header, and so many bytes of the body.
    Now(OutHeader, usize),
    /// Nothing.
    Silent,
    /// Nothing yet: see [`Outcome::Later`].
    Later,
}

/// Answers a request; the body goes into `room`.
pub(super) fn respond(
    adapter: &Adapter,
    header: &InHeader,
    args: Args<'_>,
    patience: Patience,
    room: &mut [u8],
) -> Reply {
    let mut body = Body::new(room);
    let answered = Request::parse(header, args).and_then(|request| {
        log::trace!("{request:?}");
        let answered = adapter.answer(&request, patience, &mut body);
        answered.inspect_err(|e| complain(&request, e))
    });
    let errno = match answered {
        Ok(Outcome::Silent) => return Reply::Silent,
        Ok(Outcome::Later) => return Reply::Later,
        Ok(Outcome::Said) => None,
        Err(e) => Some(e.errno()),
    };
    let body = errno.map_or(body.len(), |_| 0);
    Reply::Now(OutHeader::new(header.unique, errno, body), body)
}

/// What people should know of goes to the log.
fn complain(request: &Request<'_>, e: &Error) {
    let level = if e.is(Errno::EIO) || e.is(Errno::ESTALE) {
        log::Level::Error
    } else {
        log::Level::Debug
    };
    log::log!(level, "{:?} on node {}: {e}", request.op, request.node.0);
}
