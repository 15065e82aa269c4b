//! The table of a layer: what its tar says of each path, in the tar's order, and where the data of
//! its files is. It is made when the layer is loaded, and read whenever the tree of an image with
//! that layer is made, so that no tar is read twice.
//!
//! On disk: [`MAGIC`]; rows, each a length (u32, little-endian) and so many bytes of postcard; a
//! length of 0; the SHA-256 of all that. It is a cache: a table that is damaged, or of another
//! version, is made again from the layer.

use super::digest::{Digest, Digesting};
use super::entry::Entry;
use super::tree::Content;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read, Seek, Write};

/// First in every table; the last digit is the version.
pub const MAGIC: &[u8; 8] = b"VLMTABL1";

/// A row is a path, attributes and a link target: what a tar may say of one file is limited, and so
/// is this. A length beyond it is damage.
const LONGEST_ROW: u32 = 16 << 20;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What the tar says.
    pub entry: Entry,
    /// Where the data is; a pack is the layer's own, whatever number it has here.
    pub content: Content,
}

/// Writes a table.
#[derive(Debug)]
pub struct TableWriter<W>(Digesting<W>);

impl<W: Write> TableWriter<W> {
    /// Begins a table.
    pub fn new(to: W) -> Result<TableWriter<W>> {
        let mut to = Digesting::new(to);
        to.write_all(MAGIC)?;
        Ok(TableWriter(to))
    }

    /// Adds a row.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let bytes = postcard::to_stdvec(row).map_err(|e| Error::because(Errno::EIO, e))?;
        let len = u32::try_from(bytes.len())
            .ok()
            .filter(|len| *len <= LONGEST_ROW)
            .ok_or_else(|| Error::because(Errno::E2BIG, "an entry too large for a table"))?;
        self.0.write_all(&len.to_le_bytes())?;
        self.0.write_all(&bytes)?;
        Ok(())
    }

    /// Ends the table.
    pub fn finish(mut self) -> Result<W> {
        self.0.write_all(&0u32.to_le_bytes())?;
        let (mut to, digest) = self.0.finish();
        to.write_all(digest.as_bytes())?;
        Ok(to)
    }
}

/// A table that was found whole.
#[derive(Debug)]
pub struct Table<R>(R);

impl<R: BufRead + Seek> Table<R> {
    /// Checks all of a table.
    pub fn open(mut from: R) -> Result<Table<R>> {
        check(&mut from).context(|| "table")?;
        Ok(Table(from))
    }

    /// Calls `each` for every row, from the first on; can be called again.
    pub fn rows(&mut self, mut each: impl FnMut(Row) -> Result<()>) -> Result<()> {
        self.0.seek(std::io::SeekFrom::Start(MAGIC.len() as u64))?;
        let mut bytes = Vec::new();
        while let Some(len) = row_len(&mut self.0)? {
            bytes.resize(len as usize, 0);
            self.0.read_exact(&mut bytes)?;
            each(postcard::from_bytes(&bytes).map_err(|e| damaged(&e.to_string()))?)?;
        }
        Ok(())
    }
}

fn damaged(why: &str) -> Error {
    Error::because(Errno::EBADMSG, format!("damaged: {why}"))
}

fn row_len(from: &mut impl Read) -> Result<Option<u32>> {
    let mut len = [0; 4];
    from.read_exact(&mut len)?;
    match u32::from_le_bytes(len) {
        0 => Ok(None),
        len if len <= LONGEST_ROW => Ok(Some(len)),
        _ => Err(damaged("a row without end")),
    }
}

fn check(from: &mut (impl BufRead + Seek)) -> Result<()> {
    from.rewind()?;
    let mut digesting = Digesting::new(&mut *from);
    let mut magic = [0; MAGIC.len()];
    digesting.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(damaged("no table, or one of another version"));
    }
    while let Some(len) = row_len(&mut digesting)? {
        let copied = std::io::copy(
            &mut digesting.by_ref().take(len.into()),
            &mut std::io::sink(),
        )?;
        if copied != u64::from(len) {
            return Err(damaged("cut short"));
        }
    }
    let (from, digest) = digesting.finish();
    let mut said = [0; 32];
    from.read_exact(&mut said)?;
    if Digest::from_bytes(said) != digest {
        return Err(damaged("its digest is another"));
    }
    if !from.fill_buf()?.is_empty() {
        return Err(damaged("more after its end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::entry::{Item, Meta};
    use super::*;
    use std::io::Cursor;

    fn rows() -> Vec<Row> {
        let path = |names: &[&str]| names.iter().map(|n| n.as_bytes().into()).collect();
        let row = |names: &[&str], item, content| Row {
            entry: Entry {
                path: path(names),
                item,
            },
            content,
        };
        let packed = Content::Packed {
            layer: 0,
            offset: 17,
        };
        vec![
            row(&[], Item::Dir(Meta::default()), Content::Empty),
            row(&["a", "b"], Item::File(Meta::default(), 3), packed),
            row(&["gone"], Item::Whiteout, Content::Empty),
        ]
    }

    fn table() -> Vec<u8> {
        let mut writer = TableWriter::new(Vec::new()).unwrap();
        for row in rows() {
            writer.add(&row).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_table_is_read_as_it_was_written_and_again() {
        let mut table = Table::open(Cursor::new(table())).unwrap();
        for _ in 0..2 {
            let mut got = Vec::new();
            table
                .rows(|row| {
                    got.push(row);
                    Ok(())
                })
                .unwrap();
            assert_eq!(got, rows());
        }
    }

    #[test]
    fn every_damage_is_seen() {
        let good = table();
        for cut in 0..good.len() {
            assert!(Table::open(Cursor::new(&good[..cut])).is_err(), "{cut}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(Table::open(Cursor::new(bad)).is_err(), "{at}");
        }
        let longer = [good, vec![0]].concat();
        assert!(Table::open(Cursor::new(longer)).is_err());
    }
}
