//! The data of an entry: what of the stream is its, with holes filled in.

use super::sparse::{Map, Segment};
use super::stream::{Stream, padding};
use crate::vfs::Result;
use std::io::{self, Read};

/// How far the data of an entry was read.
#[derive(Debug, Default)]
pub struct Data {
    map: Map,
    /// The first segment that was not read to its end.
    next: usize,
    /// Where in the file the reading is.
    at: u64,
    /// Bytes in the stream.
    left: u64,
    /// Bytes in the stream after these.
    padding: u64,
}

impl Data {
    /// All of `map`, of which `left` bytes follow in the stream.
    pub fn new(map: Map, left: u64) -> Data {
        Data {
            map,
            next: 0,
            at: 0,
            left,
            padding: padding(left),
        }
    }

    /// The pieces that are no holes.
    pub fn segments(&self) -> &[Segment] {
        &self.map.segments
    }

    /// Reads some of it; nothing at its end.
    pub fn read<R: Read>(&mut self, from: &mut Stream<R>, buf: &mut [u8]) -> io::Result<usize> {
        let segment = self.map.segments.get(self.next);
        let hole_end = segment.map_or(self.map.size, |s| s.offset);
        if self.at < hole_end {
            let part = most(buf, hole_end - self.at);
            part.fill(0);
            self.at += part.len() as u64;
            return Ok(part.len());
        }
        let Some(segment) = segment else {
            return Ok(0);
        };
        let end = segment.offset + segment.len;
        let n = from.some(most(buf, end - self.at))?;
        self.at += n as u64;
        self.left -= n as u64;
        if self.at == end {
            self.next += 1;
        }
        Ok(n)
    }

    /// Passes over what is left of it.
    pub fn finish<R: Read>(&mut self, from: &mut Stream<R>) -> Result<()> {
        from.skip(self.left)?;
        from.skip_padding(self.padding)?;
        *self = Data::default();
        Ok(())
    }
}

/// The front of `buf`, no longer than `most`.
fn most(buf: &mut [u8], most: u64) -> &mut [u8] {
    let len = usize::try_from(most).map_or(buf.len(), |m| m.min(buf.len()));
    buf.split_at_mut(len).0
}
