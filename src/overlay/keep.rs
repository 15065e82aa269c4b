//! Directories that change on disk, and for users do not.

use super::node::Node;
use crate::sys::Loc;
use crate::sys::loc::attr_of;
use crate::vfs::{Result, SetTime, Time};
use std::os::fd::{AsFd, OwnedFd};

/// Runs a step of copy-up, which is no change of the directory, and keeps the directory's times.
pub(super) fn keep_times<T>(
    node: &Node,
    dir: &OwnedFd,
    step: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let at = Loc::Fd(dir.as_fd());
    let was = attr_of(&at.stat()?, node.id)?;
    let done = step()?;
    at.utimens(Some(SetTime::At(was.atime)), Some(SetTime::At(was.mtime)))?;
    show_ctime(node, at, was.ctime)?;
    Ok(done)
}

/// The same for a step that moves the time of change alone.
pub(super) fn keep_ctime<T>(
    node: &Node,
    dir: &OwnedFd,
    step: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let at = Loc::Fd(dir.as_fd());
    let was = attr_of(&at.stat()?, node.id)?;
    let done = step()?;
    show_ctime(node, at, was.ctime)?;
    Ok(done)
}

/// A directory's `ctime` moves on disk, where nothing can be done about it; it is shown as it was
/// (`tar` takes a directory whose `ctime` moves for one that changed as it was read).
fn show_ctime(node: &Node, at: Loc<'_>, was: Time) -> Result<()> {
    let on_disk = attr_of(&at.stat()?, node.id)?.ctime;
    let mut state = node.state.lock();
    state.kept_ctime = Some((on_disk, state.shown_ctime(was)));
    Ok(())
}
