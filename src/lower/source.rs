//! Where the bytes of a lower's file lie: in a file of its own, or in a part of one that holds
//! many.
//!
//! Invariant: no byte outside the part is ever read as one of the file's.

use crate::sys::copy;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fs::File;
use std::sync::Arc;

/// The bytes of one file.
#[derive(Clone, Debug)]
pub struct Source {
    file: Arc<File>,
    start: u64,
    /// `None`: up to the end of `file`.
    len: Option<u64>,
}

impl Source {
    /// All of an open file.
    pub fn whole(file: Arc<File>) -> Source {
        Source {
            file,
            start: 0,
            len: None,
        }
    }

    /// The `len` bytes from `start` on.
    pub fn part(file: Arc<File>, start: u64, len: u64) -> Result<Source> {
        if start.checked_add(len).is_none_or(|end| end > OFFSET_MAX) {
            return Err(Error::because(
                Errno::EIO,
                format!("no file has {len} bytes from {start} on"),
            ));
        }
        Ok(Source {
            file,
            start,
            len: Some(len),
        })
    }

    /// The open file, which may hold others' bytes, too.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// The open file, if it holds these bytes and nothing else.
    pub fn own_file(&self) -> Option<&Arc<File>> {
        self.len.is_none().then_some(&self.file)
    }

    /// Number of bytes.
    pub fn size(&self) -> Result<u64> {
        match self.len {
            Some(len) => Ok(len),
            None => Ok(self.file.metadata()?.len()),
        }
    }

    /// The length of a part; of a file of its own, that is the file's own affair.
    pub fn part_len(&self) -> Option<u64> {
        self.len
    }

    /// Where in the open file a read at `offset` begins, and how much of `want` it may take.
    pub fn clip(&self, offset: u64, want: usize) -> (u64, usize) {
        let Some(len) = self.len else {
            return (offset, want);
        };
        let left = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        (self.start + offset.min(len), want.min(left))
    }

    /// What the end of the open file means where more was asked for: the end of the file, or of a
    /// part, which is never asked for beyond its end, that bytes are missing.
    pub fn at_end_of_file(&self) -> Result<()> {
        match self.len {
            None => Ok(()),
            Some(_) => Err(Error::because(
                Errno::EIO,
                format!("the bytes from {} on are missing", self.start),
            )),
        }
    }

    /// Copies the first `len` bytes to the empty file `to`; `whole`: these are all.
    pub fn copy_to(&self, to: &File, len: u64, whole: bool) -> Result<()> {
        match self.len {
            None => copy::data(&self.file, to, len, whole),
            Some(own) => copy::part(&self.file, self.start, to, len.min(own)),
        }
    }
}

/// The largest offset in a file.
const OFFSET_MAX: u64 = i64::MAX.cast_unsigned();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_where_it_ends() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let part = Source::part(file.clone(), 100, 10).unwrap();
        assert_eq!(part.clip(0, 5), (100, 5));
        assert_eq!(part.clip(4, 50), (104, 6));
        assert_eq!(part.clip(10, 50), (110, 0));
        assert_eq!(part.clip(u64::MAX, 50), (110, 0));
        assert!(part.own_file().is_none());
        assert!(part.at_end_of_file().unwrap_err().is(Errno::EIO));
        let whole = Source::whole(file.clone());
        assert_eq!(whole.clip(u64::MAX, 50), (u64::MAX, 50));
        assert!(whole.own_file().is_some());
        whole.at_end_of_file().unwrap();
        assert!(Source::part(file, u64::MAX, 10).is_err());
    }
}
