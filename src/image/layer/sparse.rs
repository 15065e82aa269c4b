//! Sparse files: which pieces of a file are in the tar, the rest being holes.
//!
//! Four forms, all GNU tar's: a map in the header and blocks after it (old GNU), a record for each
//! number (PAX 0.0), one record for all (0.1), and a text before the data (1.0).

use super::header::{self, Raw};
use super::limits::{Limits, within};
use super::pax::{Said, decimal};
use super::stream::Stream;
use super::{BLOCK, invalid};
use crate::vfs::Result;
use crate::vfs::error::Context;
use std::io::Read;
use tar::{GnuExtSparseHeader, GnuHeader};

/// A piece of a file that is data; between them are holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// The pieces of a file and its size, holes included.
#[derive(Debug, Default)]
pub struct Map {
    /// In order, apart, none of them empty.
    pub segments: Vec<Segment>,
    /// Size of the file.
    pub size: u64,
    most: u64,
}

impl Map {
    /// Of a file without holes.
    pub fn dense(size: u64) -> Map {
        let segment = Segment {
            offset: 0,
            len: size,
        };
        Map {
            segments: (size > 0).then_some(segment).into_iter().collect(),
            size,
            most: 1,
        }
    }

    fn new(size: u64, limits: &Limits) -> Map {
        Map {
            segments: Vec::new(),
            size,
            most: limits.segments,
        }
    }

    /// Bytes of data.
    pub fn stored(&self) -> u64 {
        // they lie within the size, and apart
        self.segments.iter().map(|s| s.len).sum()
    }

    fn push(&mut self, (offset, len): (u64, u64)) -> Result<()> {
        let before = self.segments.last().map_or(0, |s| s.offset + s.len);
        let end = offset.checked_add(len);
        if offset < before || end.is_none_or(|end| end > self.size) {
            return Err(invalid(format!(
                "data of a sparse file at {offset}, {len} bytes long, where {before} to {} is left",
                self.size
            )));
        }
        // an empty one only says where the file ends
        if len > 0 {
            self.segments.push(Segment { offset, len });
        }
        within("segments", self.segments.len() as u64, self.most)
    }
}

/// The map of a file of which `stored` bytes follow, and how many of these are left after it.
pub fn map<R: Read>(
    raw: &Raw,
    said: &Said<'_>,
    stored: u64,
    from: &mut Stream<R>,
    limits: &Limits,
) -> Result<(Map, u64)> {
    let (map, left) = if raw.kind() == b'S' {
        let gnu = raw
            .gnu()
            .ok_or_else(|| invalid("a sparse file of a dialect that is not GNU's"))?;
        (old(gnu, from, limits)?, stored)
    } else if let Some(map) = records(said, limits)? {
        (map, stored)
    } else if is_1_0(said)? {
        let size = real_size(said)?;
        text(size, stored, from, limits).context(|| "map of a sparse file")?
    } else {
        return Ok((Map::dense(stored), stored));
    };
    if map.stored() != left {
        return Err(invalid(format!(
            "a sparse file with {left} bytes of data where its map has {}",
            map.stored()
        )));
    }
    Ok((map, left))
}

/// The file's own name, where the header has one that was made up.
pub fn name<'a>(said: &Said<'a>) -> Option<&'a [u8]> {
    said.get("GNU.sparse.name")
}

/// True if the records speak of holes.
pub fn is_told_by_records(said: &Said<'_>) -> bool {
    said.below("GNU.sparse.").next().is_some() || said.pieces().next().is_some()
}

fn old<R: Read>(gnu: &GnuHeader, from: &mut Stream<R>, limits: &Limits) -> Result<Map> {
    let mut map = Map::new(header::sparse_size(gnu)?, limits);
    let mut more = gnu.is_extended();
    add(&mut map, &gnu.sparse)?;
    while more {
        let mut block = GnuExtSparseHeader::new();
        block.as_mut_bytes().copy_from_slice(&from.block()?);
        let before = map.segments.len();
        add(&mut map, &block.sparse)?;
        more = block.is_extended();
        if more && map.segments.len() == before {
            return Err(invalid("a map of a sparse file that goes on with nothing"));
        }
    }
    Ok(map)
}

fn add(map: &mut Map, pieces: &[tar::GnuSparseHeader]) -> Result<()> {
    for piece in pieces {
        let Some(piece) = header::sparse_piece(piece)? else {
            break;
        };
        map.push(piece)?;
    }
    Ok(())
}

/// Formats 0.0 and 0.1.
fn records(said: &Said<'_>, limits: &Limits) -> Result<Option<Map>> {
    if said.get("GNU.sparse.major").is_some() {
        return Ok(None);
    }
    let pairs: Vec<(u64, u64)> = if let Some(list) = said.get("GNU.sparse.map") {
        let numbers = list.split(|b| *b == b',').map(decimal);
        let numbers = numbers.collect::<Result<Vec<u64>>>()?;
        let (pairs, rest) = numbers.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(invalid("a map of a sparse file that ends with an offset"));
        }
        pairs.iter().map(|[offset, len]| (*offset, *len)).collect()
    } else if said.get("GNU.sparse.size").is_some() {
        said.pieces().collect()
    } else {
        return Ok(None);
    };
    if let Some(n) = said.number::<u64>("GNU.sparse.numblocks")?
        && n != pairs.len() as u64
    {
        return Err(invalid(format!(
            "a sparse file with {} pieces of data, not {n}",
            pairs.len()
        )));
    }
    let mut map = Map::new(real_size(said)?, limits);
    for pair in pairs {
        map.push(pair)?;
    }
    Ok(Some(map))
}

fn is_1_0(said: &Said<'_>) -> Result<bool> {
    match (said.get("GNU.sparse.major"), said.get("GNU.sparse.minor")) {
        (Some(b"1"), Some(b"0")) => Ok(true),
        (None, None) if !is_told_by_records(said) => Ok(false),
        _ => Err(invalid("a sparse file in a format that is not known")),
    }
}

fn real_size(said: &Said<'_>) -> Result<u64> {
    let size = match said.number("GNU.sparse.realsize")? {
        Some(size) => Some(size),
        None => said.number("GNU.sparse.size")?,
    };
    size.ok_or_else(|| invalid("a sparse file without a size"))
}

/// Format 1.0: a count, then offset and length of each piece, a number a line, in whole blocks.
fn text<R: Read>(
    size: u64,
    stored: u64,
    from: &mut Stream<R>,
    limits: &Limits,
) -> Result<(Map, u64)> {
    let mut lines = Lines {
        from,
        left: stored,
        block: [0; BLOCK],
        at: BLOCK,
    };
    let pieces = lines.number()?;
    // also the empty ones take time
    within("segments", pieces, limits.segments)?;
    let mut map = Map::new(size, limits);
    for _ in 0..pieces {
        let offset = lines.number()?;
        map.push((offset, lines.number()?))?;
    }
    Ok((map, lines.left))
}

struct Lines<'a, R> {
    from: &'a mut Stream<R>,
    left: u64,
    block: super::stream::Block,
    at: usize,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return decimal(&digits),
                digit if digits.len() < 20 => digits.push(digit),
                _ => return Err(invalid("a number that is too long")),
            }
        }
    }

    fn byte(&mut self) -> Result<u8> {
        if self.at == BLOCK {
            self.left = self
                .left
                .checked_sub(BLOCK as u64)
                .ok_or_else(|| invalid("it is longer than the data"))?;
            self.block = self.from.block()?;
            self.at = 0;
        }
        let byte = self.block.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_text(text_: &[u8], size: u64) -> Result<(Map, u64)> {
        let mut padded = text_.to_vec();
        padded.resize(text_.len().next_multiple_of(BLOCK), 0);
        let stored = padded.len() as u64 + 7;
        let limits = Limits {
            segments: 2,
            ..Limits::default()
        };
        text(size, stored, &mut Stream::new(&*padded), &limits)
    }

    #[test]
    fn a_map_in_text() {
        let (map, left) = from_text(b"2\n0\n3\n10\n4\n", 20).unwrap();
        let at = |offset, len| Segment { offset, len };
        assert_eq!(map.segments, [at(0, 3), at(10, 4)]);
        assert_eq!((map.stored(), left), (7, 7));
        let (map, _) = from_text(b"1\n20\n0\n", 20).unwrap();
        assert_eq!(map.segments, []);
    }

    #[test]
    fn maps_that_make_no_sense() {
        for bad in [
            &b""[..],
            b"x\n",
            b"1\n0\n21\n",
            b"1\n18446744073709551615\n1\n",
            b"2\n5\n1\n0\n1\n",
            b"3\n0\n1\n2\n1\n4\n1\n",
            b"1\n0",
            b"000000000000000000001\n",
        ] {
            assert!(from_text(bad, 20).is_err(), "{:?}", bad.escape_ascii());
        }
    }
}
