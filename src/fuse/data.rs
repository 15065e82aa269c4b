//! Reading and writing.

use super::adapter::Shared;
use super::reply::answer;
use crate::vfs::NodeId;
use fuser::{INodeNo, ReplyData, ReplyWrite};
use std::cell::RefCell;

thread_local! {
    /// Where a thread reads to, kept between requests.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn with_buffer<T>(size: usize, then: impl FnOnce(&mut [u8]) -> T) -> T {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        then(&mut buffer[..size])
    })
}

/// Reads, waiting for a disk if need be.
pub(super) fn read(shared: &Shared, file: NodeId, offset: u64, size: usize, reply: ReplyData) {
    with_buffer(size, |buffer| {
        let read = shared.engine.read(file, offset, buffer);
        answer("read", reply, read, |r, n| r.data(&buffer[..n]));
    });
}

/// Reads what is in memory, or gives the reply back: then a disk has to be waited for.
pub(super) fn read_now(
    shared: &Shared,
    file: NodeId,
    offset: u64,
    size: usize,
    reply: ReplyData,
) -> Option<ReplyData> {
    with_buffer(size, |buffer| {
        match shared.engine.read_now(file, offset, buffer) {
            Ok(None) => Some(reply),
            read => {
                let read = read.map(Option::unwrap_or_default);
                answer("read", reply, read, |r, n| r.data(&buffer[..n]));
                None
            }
        }
    })
}

/// Writes. `kill`: by someone whose write takes set-id bits away.
pub(super) fn write(
    shared: &Shared,
    (ino, file): (INodeNo, NodeId),
    offset: u64,
    data: &[u8],
    kill: bool,
    reply: ReplyWrite,
) {
    let done = shared.engine.write(file, offset, data, kill);
    if kill {
        shared.mode_changed(ino);
    }
    answer("write", reply, done, |r, n| {
        r.written(u32::try_from(n).unwrap_or(u32::MAX));
    });
}
