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
    segments(&Shifted { from, start: 0, to }, len)
}

/// Copies the `len` bytes of `from` that begin at `start`, all of which must be there, to the
/// empty file `to`.
pub fn part(from: &File, start: u64, to: &File, len: u64) -> Result<()> {
    let end = start.checked_add(len);
    if end.is_none_or(|end| end > from.metadata().map_or(0, |m| m.len())) {
        return Err(Error::because(
            Errno::EIO,
            format!("no {len} bytes from {start} on in the file to copy from"),
        ));
    }
    segments(&Shifted { from, start, to }, len)
}

/// Two files; what is at `start` of the one goes to the beginning of the other.
struct Shifted<'a> {
    from: &'a File,
    start: u64,
    to: &'a File,
}

fn segments(files: &Shifted<'_>, len: u64) -> Result<()> {
    let last = files.start + len;
    let mut at = files.start;
    while at < last {
        let Some((start, end)) = segment(files.from, at, last)? else {
            break;
        };
        range(files, start, end)?;
        at = end;
    }
    rustix::fs::ftruncate(files.to, len)?;
    Ok(())
}

/// The next run of data at or after `at` and before `last`.
fn segment(from: &File, at: u64, last: u64) -> Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(rustix::io::Errno::NXIO) => return Ok(None), // nothing but a hole is left
        Err(rustix::io::Errno::INVAL) => return Ok(Some((at, last))), // the file system cannot tell
        Err(e) => return Err(e.into()),
    };
    if start >= last {
        return Ok(None);
    }
    let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(last))))
}

fn range(files: &Shifted<'_>, start: u64, end: u64) -> Result<()> {
    let (mut src, mut dst) = (start, start - files.start);
    while src < end {
        let want = usize::try_from(end - src).unwrap_or(usize::MAX);
        let (from, to) = (files.from, files.to);
        match rustix::fs::copy_file_range(from, Some(&mut src), to, Some(&mut dst), want) {
            Ok(0) => return read_write(files, src, end),
            Ok(_) => {}
            Err(rustix::io::Errno::NOSPC) => return Err(Error::new(Errno::ENOSPC)),
            // across file systems, or not supported, or refused by a filter
            Err(_) => return read_write(files, src, end),
        }
    }
    Ok(())
}

fn read_write(files: &Shifted<'_>, mut at: u64, end: u64) -> Result<()> {
    let mut buf = vec![0u8; 256 * 1024];
    while at < end {
        let want = usize::try_from(end - at).map_or(buf.len(), |n| n.min(buf.len()));
        let n = files.from.read_at(&mut buf[..want], at)?;
        if n == 0 {
            return Ok(()); // shorter than it said; the caller sets the length
        }
        files.to.write_all_at(&buf[..n], at - files.start)?;
        at += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_copied_and_nothing_around_it() {
        let from = tempfile::tempfile().unwrap();
        let all: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        from.write_all_at(&all, 0).unwrap();
        for (start, len) in [(0, 10), (17, 5000), (4096, 4096), (99_000, 1000), (5, 0)] {
            let to = tempfile::tempfile().unwrap();
            part(&from, start, &to, len).unwrap();
            assert_eq!(to.metadata().unwrap().len(), len);
            let mut got = vec![0; len as usize];
            to.read_exact_at(&mut got, 0).unwrap();
            let start = start as usize;
            assert_eq!(got, all[start..start + len as usize], "{start} {len}");
        }
    }

    #[test]
    fn a_part_that_is_not_there_is_an_error() {
        let from = tempfile::tempfile().unwrap();
        from.write_all_at(b"0123456789", 0).unwrap();
        let to = tempfile::tempfile().unwrap();
        assert!(part(&from, 5, &to, 6).unwrap_err().is(Errno::EIO));
        assert!(part(&from, u64::MAX, &to, 6).unwrap_err().is(Errno::EIO));
    }
}
