//! Limits: how much a layer may ask of whoever reads it.
//!
//! A tar is not to be trusted: a few bytes of it can announce a name of a gigabyte, or a file of
//! holes that takes a year to read. Each limit is far above what images have.

use crate::vfs::{Error, Result};
use nix::errno::Errno;

/// How much of each thing a layer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of PAX records before one entry, and of all global ones that hold. They are kept in
    /// memory; 1 MiB is what Go's reader takes, and with it docker and containerd.
    pub pax_bytes: u64,
    /// Bytes of a path. It is kept in memory; a tar may be deeper than `PATH_MAX`, so this is more.
    pub name_bytes: u64,
    /// Bytes of a symlink's target. Linux has none that is longer than 4095.
    pub target_bytes: u64,
    /// Bytes of the value of one extended attribute: `XATTR_SIZE_MAX` of Linux.
    pub xattr_bytes: u64,
    /// Extended attributes of one file. The kernel lists names of 64 KiB in all, and few have three.
    pub xattrs_per_file: u64,
    /// Entries of the layer. Each makes a node, which is kept in memory and has a number of 32 bits.
    pub entries: u64,
    /// Pieces of data in one sparse file. Their places are kept in memory, 16 bytes for each.
    pub segments: u64,
    /// Bytes of one file, its holes included. A hole costs nothing in the tar, and much to read.
    pub file_bytes: u64,
    /// Bytes of all files together, for the same reason: a million sparse files are no better.
    pub total_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            pax_bytes: 1 << 20,
            name_bytes: 1 << 16,
            target_bytes: 4095,
            xattr_bytes: 1 << 16,
            xattrs_per_file: 1024,
            entries: 1 << 24,
            segments: 1 << 20,
            file_bytes: 1 << 40,
            total_bytes: 1 << 42,
        }
    }
}

/// An error that names the limit `name` when there is more of it than `most`.
pub(super) fn within(name: &str, n: u64, most: u64) -> Result<()> {
    if n > most {
        return Err(Error::because(
            Errno::E2BIG,
            format!("{n} is over the limit {name} = {most}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_most_that_may_be() {
        assert!(within("entries", 5, 5).is_ok());
        let error = within("entries", 6, 5).unwrap_err();
        assert!(error.is(Errno::E2BIG));
        assert_eq!(error.reason(), "6 is over the limit entries = 5");
    }
}
