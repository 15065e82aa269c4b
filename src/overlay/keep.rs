//! Directories that change on disk, and for users do not.

use super::node::Node;
use crate::sys::Loc;
use crate::sys::loc::attr_of;
use crate::vfs::{Result, SetTime};
use std::os::fd::{AsFd, OwnedFd};

/// Runs a step of copy-up, which is no change of the directory, and keeps the directory's times.
pub(super) fn keep_times<T>(
    node: &Node,
    dir: &OwnedFd,
    step: impl FnOnce() -> Result<T>,
) -> Result<T> {
    keep(node, dir, true, step)
}

/// The same for a step that moves the time of change alone.
pub(super) fn keep_ctime<T>(
    node: &Node,
    dir: &OwnedFd,
    step: impl FnOnce() -> Result<T>,
) -> Result<T> {
    keep(node, dir, false, step)
}

fn keep<T>(node: &Node, dir: &OwnedFd, times: bool, step: impl FnOnce() -> Result<T>) -> Result<T> {
    let at = Loc::Fd(dir.as_fd());
    let was = attr_of(&at.stat()?, node.id)?;
    let done = step()?;
    if times {
        at.utimens(Some(SetTime::At(was.atime)), Some(SetTime::At(was.mtime)))?;
    }
    // `ctime` moves on disk, where nothing can be done about it; it is shown as it was (`tar` takes a
    // directory whose `ctime` moves for one that changed as it was read)
    let on_disk = attr_of(&at.stat()?, node.id)?.ctime;
    let mut state = node.state.lock();
    state.kept_ctime = Some((on_disk, state.shown_ctime(was.ctime)));
    drop(state);
    Ok(done)
}
