//! Intents: a change of several steps, written down before the first, so that the next mount can
//! finish it.
//!
//! There is one such change: the copy of a lower file with several names is published under each
//! of them. An intent is a directory `intent-…` in the work directory with the copy, `file`, and a
//! symlink, `of`, whose target is the lower file's path. It comes into being by one rename and
//! ends by one; in between, each name shows either the lower's file or the copy, which are the
//! same until the copy-up has returned.

use super::stage::Staged;
use super::{Over, Upper};
use crate::sys::{Loc, dir, loc};
use crate::vfs::error::Context;
use crate::vfs::{Kind, Result};
use rustix::fs::OFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What names of intents begin with; the sweep at mount leaves them.
pub(super) const PREFIX: &[u8] = b"intent-";

/// A copy that is about to get all the names of its original.
#[derive(Debug)]
#[must_use = "end it, or the next mount will finish it"]
pub struct Intent {
    name: Vec<u8>,
    dir: OwnedFd,
}

impl Intent {
    /// Where the copy is.
    pub fn copy(&self) -> Loc<'_> {
        Loc::At(self.dir.as_fd(), b"file")
    }

    /// The path of the original in the lower, as written down.
    pub fn of(&self) -> Result<Vec<u8>> {
        Loc::At(self.dir.as_fd(), b"of").readlink()
    }
}

impl Upper {
    /// Writes down that `staged` is the copy of the lower file at `path`. On failure the copy is
    /// discarded.
    pub fn intend(&self, staged: Staged, path: &[u8]) -> Result<Intent> {
        let nest = match self.stage(Kind::Dir, 0o700, 0, b"") {
            Ok(nest) => nest,
            Err(e) => {
                self.discard(staged);
                return Err(e);
            }
        };
        let written = self
            .write_intent(&nest, staged, path)
            .context(|| "copy-up of a file with several names");
        if written.is_err() {
            self.discard(nest);
        }
        written
    }

    fn write_intent(&self, nest: &Staged, staged: Staged, path: &[u8]) -> Result<Intent> {
        let dir = self
            .staged(nest)
            .open(OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
        self.publish(staged, dir.as_fd(), b"file", Over::Nothing)?;
        rustix::fs::symlinkat(path, &dir, c"of")?;
        let mut name = PREFIX.to_vec();
        name.extend_from_slice(nest.name());
        self.step("begin an intent")?;
        rustix::fs::renameat(self.work(), nest.name(), self.work(), name.as_slice())?;
        Ok(Intent { name, dir })
    }

    /// Links the copy under one more name.
    pub fn link_copy(&self, intent: &Intent, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        self.step("publish a link")?;
        intent.copy().link(dir, name)
    }

    /// The intent is carried out, or undone.
    pub fn end_intent(&self, intent: Intent) -> Result<()> {
        self.step("end an intent")?;
        let aside = self.fresh()?;
        let work = self.work();
        rustix::fs::renameat(work, intent.name.as_slice(), work, aside.as_slice())?;
        self.discard(Staged::new(aside, Kind::Dir));
        Ok(())
    }

    /// What an earlier mount did not finish.
    pub fn intents(&self) -> Result<Vec<Intent>> {
        let mut names = Vec::new();
        dir::for_each(self.work(), |entry| {
            if entry.name.starts_with(PREFIX) {
                names.push(entry.name.to_vec());
            }
            Ok(())
        })?;
        names
            .into_iter()
            .map(|name| {
                let dir = loc::open_dir(self.work(), &name)?;
                Ok(Intent { name, dir })
            })
            .collect()
    }
}
