//! Tests of the reader by tars made by hand, and of the writer by the reader.

mod marks;
mod read;
mod refusals;
mod round;
mod sparse;
mod write;

use super::stream::padding;
use super::{BLOCK, LayerReader, LayerWriter, Limits, pax};
use crate::image::entry::{Entry, Item, Meta, Path};
use crate::image::spill::{Pages, Room};
use crate::vfs::Result;
use std::io::Read;

/// A tar in the making.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

/// A header: a ustar one with mode 0644 unless changed.
fn header(kind: u8, name: &[u8], size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}

impl Tar {
    /// Adds a block with the right checksum in it.
    fn block(mut self, mut block: [u8; BLOCK]) -> Tar {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    /// Adds data and its padding.
    fn data(mut self, data: &[u8]) -> Tar {
        self.0.extend_from_slice(data);
        let end = self.0.len() + padding(data.len() as u64) as usize;
        self.0.resize(end, 0);
        self
    }

    /// Adds an entry.
    fn entry(self, kind: u8, name: &[u8], data: &[u8]) -> Tar {
        self.block(header(kind, name, data.len() as u64)).data(data)
    }

    /// Adds an entry with a target.
    fn link(self, kind: u8, name: &[u8], target: &[u8]) -> Tar {
        let mut block = header(kind, name, 0);
        block[157..157 + target.len()].copy_from_slice(target);
        self.block(block)
    }

    /// Adds an extended header.
    fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Tar {
        let mut text = Vec::new();
        for (key, value) in records {
            pax::append(&mut text, key.as_bytes(), value);
        }
        self.entry(kind, b"pax", &text)
    }

    /// The bytes, with an end.
    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 2 * BLOCK]);
        self.0
    }

    fn read(self) -> Result<Vec<(Entry, Vec<u8>)>> {
        read(&self.end(), Limits::default())
    }

    /// The entries' items, without data.
    fn items(self) -> Vec<Item> {
        let entries = self.read().unwrap();
        entries.into_iter().map(|(e, _)| e.item).collect()
    }

    fn error(self) -> String {
        self.read().unwrap_err().reason().to_owned()
    }
}

/// All entries with their data.
fn read(tar: &[u8], limits: Limits) -> Result<Vec<(Entry, Vec<u8>)>> {
    let mut reader = LayerReader::new(tar, limits);
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data)?;
        all.push((entry, data));
    }
    assert_eq!(reader.next_entry()?, None);
    assert_eq!(reader.into_inner(), b"", "read to its end");
    Ok(all)
}

fn path(name: &str) -> Path {
    let parts = name.split('/').filter(|p| !p.is_empty());
    parts.map(|p| p.as_bytes().into()).collect()
}

fn entry(name: &str, item: Item) -> Entry {
    Entry {
        path: path(name),
        item,
    }
}

/// What the headers made here say.
fn plain() -> Meta {
    Meta {
        perm: 0o644,
        ..Meta::default()
    }
}

fn write_to(mut writer: LayerWriter<Vec<u8>>, entries: &[(Entry, Vec<u8>)]) -> Result<Vec<u8>> {
    for (entry, data) in entries {
        writer.add(entry, &mut &**data)?;
    }
    writer.finish()
}

/// The tar; the same whether what the writer remembers is in memory or not.
fn write(entries: &[(Entry, Vec<u8>)]) -> Result<Vec<u8>> {
    let tar = write_to(LayerWriter::new(Vec::new()).unwrap(), entries);
    let dir = tempfile::tempdir().unwrap();
    let pages = Pages::new(Room::limited(0, dir.path()));
    let spilled = write_to(LayerWriter::within(Vec::new(), &pages).unwrap(), entries);
    assert_eq!(tar.as_ref().ok(), spilled.as_ref().ok());
    tar
}
