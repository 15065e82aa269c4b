//! A file in memory, read-only.

use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use memmap2::{Advice, Mmap};
use nix::errno::Errno;
use std::fs::File;
use std::ops::Range;

/// A file in memory. The file must be one of ours: published whole, by rename, and never written,
/// cut or extended again, so that what is mapped does not change.
#[derive(Debug)]
pub struct Map(Mmap);

impl Map {
    /// Maps all of a file.
    pub fn of(file: &File) -> Result<Map> {
        if file.metadata()?.len() == 0 {
            return Err(Error::because(Errno::EIO, "the file is empty"));
        }
        // SAFETY: the file is ours, and never written nor truncated while it is mapped: what
        // replaces it is another file, put in its place by rename.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(file) }.context(|| "mapping")?;
        Ok(Map(map))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Brings a part into memory. A part that the disk does not give is an error here, where the
    /// first touch of it would end the process by SIGBUS.
    pub fn bring(&self, part: Range<usize>) -> Result<()> {
        let len = part.end.saturating_sub(part.start);
        let Err(e) = self.0.advise_range(Advice::PopulateRead, part.start, len) else {
            return Ok(());
        };
        match e.raw_os_error() {
            // before Linux 5.14: then the first touch brings it
            Some(libc::EINVAL) => Ok(()),
            Some(libc::EFAULT) => Err(Error::because(Errno::EIO, "the disk does not give it")),
            _ => Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_mapped_whole() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(Map::of(&file).unwrap_err().is(Errno::EIO));
        file.write_all(&[7; 10_000]).unwrap();
        let map = Map::of(&file).unwrap();
        map.bring(4096..8192).unwrap();
        map.bring(8192..10_000).unwrap();
        assert_eq!(map.bytes(), [7; 10_000]);
    }

    #[test]
    fn what_the_disk_does_not_give_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        let map = Map::of(&file).unwrap();
        // what nobody does to an index: the second page and all after it are gone
        file.set_len(4096).unwrap();
        map.bring(0..4096).unwrap();
        assert!(map.bring(4096..8192).unwrap_err().is(Errno::EIO));
    }
}
