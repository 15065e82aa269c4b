//! The stream: a tar as blocks of 512 bytes, read once from front to back.

use super::{BLOCK, invalid};
use crate::vfs::Result;
use std::io::{self, Read};

/// A block.
pub type Block = [u8; BLOCK];

/// How many bytes fill up the last block of `len` bytes.
pub fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK as u64
}

/// Blocks out of a reader.
#[derive(Debug)]
pub struct Stream<R> {
    inner: R,
}

impl<R: Read> Stream<R> {
    /// Of what `inner` gives.
    pub fn new(inner: R) -> Stream<R> {
        Stream { inner }
    }

    /// The reader, as far as it was read.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next block; `None` where the stream ends between two.
    pub fn block_or_end(&mut self) -> Result<Option<Block>> {
        let mut block = [0; BLOCK];
        match fill(&mut self.inner, &mut block)? {
            0 => Ok(None),
            BLOCK => Ok(Some(block)),
            _ => Err(truncated().into()),
        }
    }

    /// The next block, which has to be there.
    pub fn block(&mut self) -> Result<Block> {
        self.block_or_end()?.ok_or_else(|| truncated().into())
    }

    /// The next `len` bytes, which the caller found to be few, and their padding.
    pub fn small(&mut self, len: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.inner).take(len).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != len {
            return Err(truncated().into());
        }
        self.skip(padding(len))?;
        Ok(bytes)
    }

    /// Reads `len` bytes for nothing.
    pub fn skip(&mut self, len: u64) -> Result<()> {
        let n = io::copy(&mut (&mut self.inner).take(len), &mut io::sink())?;
        if n == len {
            Ok(())
        } else {
            Err(truncated().into())
        }
    }

    /// Reads the padding after the data of a file. umoci leaves it out after the last file, and Go's
    /// reader, so docker, takes that for the end of the archive: all data is there.
    pub fn skip_padding(&mut self, len: u64) -> Result<()> {
        let n = io::copy(&mut (&mut self.inner).take(len), &mut io::sink())?;
        if n == len || n == 0 {
            Ok(())
        } else {
            Err(truncated().into())
        }
    }

    /// Reads some bytes, at least one if `buf` has room for one.
    pub fn some(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buf)? {
            0 if !buf.is_empty() => Err(truncated()),
            n => Ok(n),
        }
    }

    /// Reads to the end, which has to be zeros.
    pub fn zeros_to_end(&mut self) -> Result<()> {
        let mut buf = vec![0; 1 << 16];
        loop {
            match fill(&mut self.inner, &mut buf)? {
                0 => return Ok(()),
                n if buf.iter().take(n).all(|b| *b == 0) => {}
                _ => return Err(invalid("trailing garbage after the end of the archive")),
            }
        }
    }
}

/// Fills `buf` as far as the reader goes.
fn fill(from: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|r| !r.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn truncated() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "truncated: the archive ends within an entry",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_whole_or_not_at_all() {
        let mut s = Stream::new(&[1; 700][..]);
        assert_eq!(s.block_or_end().unwrap(), Some([1; BLOCK]));
        assert!(s.block_or_end().is_err());
        let mut s = Stream::new(&[][..]);
        assert_eq!(s.block_or_end().unwrap(), None);
        assert!(s.block().is_err());
    }

    #[test]
    fn small_ones_are_padded() {
        assert_eq!((padding(0), padding(1), padding(512)), (0, 511, 0));
        let mut s = Stream::new(&[7; 1024][..]);
        assert_eq!(s.small(3).unwrap(), [7; 3]);
        assert_eq!(s.block().unwrap(), [7; BLOCK]);
        assert!(Stream::new(&[7; 100][..]).small(3).is_err());
        assert!(Stream::new(&[7; 100][..]).small(u64::MAX).is_err());
    }
}
