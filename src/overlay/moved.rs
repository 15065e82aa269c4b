//! Directories that an earlier mount moved.
//!
//! Where a merged directory is now is written on its upper part alone: as a redirect, to where the
//! lower has the rest. Whoever comes from the lower's side (a file with several names, a file
//! handle) must find it all the same. So before the first such question in a mount the upper is
//! walked, and each directory with a redirect gets its node, which then stays.

use super::Engine;
use super::lookup::Child;
use crate::sys::{Loc, dir, loc};
use crate::upper::Upper;
use crate::vfs::{Kind, Result};
use std::os::fd::{AsFd, OwnedFd};

/// A directory of the upper on the way down.
struct Step {
    name: Vec<u8>,
    fd: OwnedFd,
    below: Vec<Vec<u8>>,
}

impl Step {
    fn new(name: Vec<u8>, fd: OwnedFd) -> Result<Step> {
        let mut below = Vec::new();
        dir::for_each(fd.as_fd(), |entry| {
            if entry.kind_in(fd.as_fd())? == Some(Kind::Dir) {
                below.push(entry.name.to_vec());
            }
            Ok(())
        })?;
        Ok(Step { name, fd, below })
    }
}

impl Engine {
    /// True if no directory can have been moved before this mount.
    pub(super) fn nothing_moved(upper: &Upper) -> Result<bool> {
        if !upper.keeps_marks() {
            return Ok(true);
        }
        let mut empty = true;
        dir::for_each(upper.root().as_fd(), |_| {
            empty = false;
            Ok(())
        })?;
        Ok(empty)
    }

    /// Makes sure that every directory that was moved has its node. With the namespace lock held.
    pub(super) fn meet_moved(&self) -> Result<()> {
        let mut met = self.moved_met.lock();
        if *met {
            return Ok(());
        }
        let upper = self.writable()?;
        let mut way = vec![Step::new(
            Vec::new(),
            loc::open_dir(&**upper.root(), b".")?,
        )?];
        while let Some(last) = way.last_mut() {
            let Some(name) = last.below.pop() else {
                way.pop();
                continue;
            };
            let fd = loc::open_dir(&last.fd, &name)?;
            let moved = upper.mark(Loc::Fd(fd.as_fd()), "redirect")?.is_some();
            way.push(Step::new(name, fd)?);
            if moved {
                self.meet(way.iter().skip(1).map(|step| &*step.name))?;
            }
        }
        *met = true;
        Ok(())
    }

    /// Looks a path up. What is merged on it has a node from then on.
    fn meet<'a>(&self, path: impl Iterator<Item = &'a [u8]>) -> Result<()> {
        let mut at = self.nodes.get(crate::vfs::NodeId::ROOT);
        for name in path {
            let Some(dir) = at else { break };
            let child = self.child_of(&dir, name)?;
            at = match &child {
                Some(Child::Node(node)) if node.kind == Kind::Dir => Some(node.clone()),
                _ => None,
            };
            if let Some(child) = child {
                self.forget_in_ns(child.id(), 1);
            }
        }
        Ok(())
    }
}
