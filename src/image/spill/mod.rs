//! Spilling: what grows with the number of an image's files, in memory up to a limit, and beyond it
//! in temporary files.
//!
//! * [`Records`] and [`Bytes`] are kept in [pages](Pages). They share one limit; the pages that were
//!   not used for longest go to a file.
//! * A [`Sorter`] sorts what is larger than memory, in runs.
//! * A [`Spool`] takes what is written once and then read from the beginning.
//! * [`Digests`] are such a list, sorted.
//!
//! Below the limit no file is made. The files have no name: whatever becomes of the process, nothing
//! is left of them. They are read and written, not mapped, since a page that is mapped counts as
//! memory of the process.

mod digests;
mod pages;
mod records;
mod sort;
mod spool;

pub use digests::{DigestSorter, Digests};
pub use pages::Pages;
pub use records::{Bytes, Record, Records};
pub use sort::{Item, Sorter, beginning};
pub use spool::Spool;

use crate::vfs::Result;
use crate::vfs::error::Context;
use std::fs::File;
use std::path::{Path, PathBuf};

/// How much memory may be used, and where the rest goes.
#[derive(Clone, Debug)]
pub struct Room {
    /// Without one everything is in memory.
    beyond: Option<PathBuf>,
    bytes: usize,
}

impl Room {
    /// Everything in memory.
    pub const fn unlimited() -> Room {
        Room {
            beyond: None,
            bytes: usize::MAX,
        }
    }

    /// About so many bytes in memory, the rest in files without a name in the directory `beyond`.
    pub fn limited(bytes: usize, beyond: &Path) -> Room {
        Room {
            beyond: Some(beyond.to_owned()),
            bytes,
        }
    }

    /// What may be in memory of something that gets one of `parts` equal parts of all.
    fn part(&self, parts: usize) -> usize {
        self.bytes / parts
    }

    /// A new file without a name, if there is to be one.
    fn file(&self) -> Result<Option<File>> {
        let Some(dir) = &self.beyond else {
            return Ok(None);
        };
        tempfile::tempfile_in(dir)
            .map(Some)
            .context(|| format!("temporary file in {}", dir.display()))
    }

    /// Says of an error that it is of such a file: a full disk is not where one would look for it.
    fn what(&self) -> String {
        let dir = self.beyond.as_deref().unwrap_or(Path::new(""));
        format!("temporary file in {}", dir.display())
    }
}
