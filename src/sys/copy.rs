//! Copying a file's data: by reference where the file system can, and never filling holes.

use crate::vfs::{Error, Result};
use nix::errno::Errno;
use rustix::fs::SeekFrom;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Copies the first `len` bytes of `from` to the empty file `to` and makes it `len` bytes long.
///
/// Tries FICLONE (whole files only), then `copy_file_range`, then read and write. Data segments
/// only: what is a hole in `from` is one in `to`.
pub fn data(from: &File, to: &File, len: u64, whole: bool) -> Result<()> {
    if whole && len > 0 && rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < len {
        let Some((start, end)) = segment(from, at, len)? else {
            break;
        };
        range(from, to, start, end)?;
        at = end;
    }
    rustix::fs::ftruncate(to, len)?;
    Ok(())
}

/// The next run of data at or after `at` and before `len`.
fn segment(from: &File, at: u64, len: u64) -> Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None), // nothing but a hole is left
        Err(rustix::io::Errno::INVAL) => return Ok(Some((at, len))), // the file system cannot tell
        Err(e) => return Err(e.into()),
    };
    if start >= len {
        return Ok(None);
    }
    let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(len))))
}

fn range(from: &File, to: &File, start: u64, end: u64) -> Result<()> {
    let (mut src, mut dst) = (start, start);
    while src < end {
        let want = usize::try_from(end - src).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut src), to, Some(&mut dst), want) {
            Ok(0) => return read_write(from, to, src, end),
            Ok(_) => {}
            Err(rustix::io::Errno::NOSPC) => return Err(Error::new(Errno::ENOSPC)),
            // across file systems, or not supported, or refused by a filter
            Err(_) => return read_write(from, to, src, end),
        }
    }
    Ok(())
}

fn read_write(from: &File, to: &File, mut at: u64, end: u64) -> Result<()> {
    let mut buf = vec![0u8; 256 * 1024];
    while at < end {
        let want = usize::try_from(end - at).map_or(buf.len(), |n| n.min(buf.len()));
        let n = from.read_at(&mut buf[..want], at)?;
        if n == 0 {
            return Ok(()); // shorter than it said; the caller sets the length
        }
        to.write_all_at(&buf[..n], at)?;
        at += n as u64;
    }
    Ok(())
}
