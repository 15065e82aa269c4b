//! Unpacking: from the entries of a layer's tar to what the store keeps of the layer.
//!
//! The data of small files goes end to end into one *pack*: reading many of them touches few pages
//! and opens one file. A large file becomes an *object*, a file of its own that is named by its
//! digest, so that layers which have the same one share it; runs of zeros in it are holes. What
//! the tar says of each path, and where its data went, is written to the [`table`](super::table).
//!
//! All is written to a staging directory, objects too. It is synced and published by who asked for
//! it, once the whole tar had the right digest.

use super::digest::{Digest, Digesting};
use super::entry::{Entry, Item, show};
use super::layer::{LayerReader, Limits};
use super::spill::{DigestSorter, Digests, Room};
use super::table::{Row, TableWriter};
use super::tree::Content;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file of this size or larger is an object. Smaller ones would each cost a block, an inode and
/// an open; larger ones are worth sharing, and the kernel can be given them as they are
/// (`io=passthrough`).
pub const LARGE: u64 = 64 * 1024;

/// The pack's name in a layer's directory.
pub const PACK: &str = "pack";
/// The table's name there.
pub const TABLE: &str = "table";

/// Runs of zeros are left out block by block, as file systems keep them.
const BLOCK: usize = 4096;

/// Memory for what is known of large files; the rest is in a file.
const SORTED: usize = 4 << 20;

/// Objects that come of the layer, in a layer's directory while it is staged, by their digits.
pub const OBJECTS: &str = "objects";

/// What the unpacked layer takes.
#[derive(Debug)]
pub struct Unpacked {
    /// Entries of the tar.
    pub entries: u64,
    /// Bytes of the data of all files.
    pub data: u64,
    /// The objects that it refers to.
    pub objects: Digests,
}

/// A layer being unpacked.
pub struct Unpacker<'k> {
    objects: PathBuf,
    /// Whether there is such an object already.
    known: &'k dyn Fn(Digest) -> bool,
    pack: BufWriter<File>,
    packed: u64,
    table: TableWriter<BufWriter<File>>,
    entries: u64,
    data: u64,
    referred: DigestSorter,
}

impl Unpacker<'_> {
    /// Into the empty directory `stage`.
    pub fn new<'k>(stage: &Path, known: &'k dyn Fn(Digest) -> bool) -> Result<Unpacker<'k>> {
        let objects = stage.join(OBJECTS);
        std::fs::create_dir(&objects).context(|| objects.display().to_string())?;
        Ok(Unpacker {
            objects,
            known,
            pack: BufWriter::with_capacity(1 << 20, create(&stage.join(PACK))?),
            packed: 0,
            table: TableWriter::new(BufWriter::new(create(&stage.join(TABLE))?))?,
            entries: 0,
            data: 0,
            referred: DigestSorter::new(&Room::limited(SORTED, stage)),
        })
    }

    /// Takes one entry, with the data if it is a file.
    pub fn add(&mut self, entry: Entry, data: &mut dyn Read) -> Result<()> {
        let said = |entry: &Entry| format!("entry {}", show(&entry.path));
        let content = self.content(&entry, data).context(|| said(&entry))?;
        let row = Row { entry, content };
        self.table.add(&row).context(|| said(&row.entry))
    }

    fn content(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<Content> {
        let content = match entry.item {
            Item::File(_, 0) => Content::Empty,
            Item::File(_, size) if size < LARGE => self.pack(data, size)?,
            Item::File(_, size) => self.object(data, size)?,
            _ => Content::Empty,
        };
        if let Item::File(_, size) = entry.item {
            self.data += size;
        }
        self.entries += 1;
        Ok(content)
    }

    fn pack(&mut self, data: &mut dyn Read, size: u64) -> Result<Content> {
        let content = Content::Packed {
            layer: 0, // the one that this table is of
            offset: self.packed,
        };
        copy(data, &mut self.pack, size)?;
        self.packed += size;
        Ok(content)
    }

    fn object(&mut self, data: &mut dyn Read, size: u64) -> Result<Content> {
        let path = self.objects.join("new");
        let file = create(&path)?;
        let mut to = Digesting::new(Holes::new(&file));
        copy(data, &mut to, size)?;
        let (holes, digest) = to.finish();
        holes.finish(size)?;
        if (self.known)(digest) {
            std::fs::remove_file(&path)?;
        } else {
            std::fs::rename(&path, self.objects.join(digest.hex()))?;
        }
        self.referred.add(digest)?;
        Ok(Content::Object(digest))
    }

    /// Ends the layer.
    pub fn finish(self) -> Result<Unpacked> {
        self.pack.into_inner().map_err(|e| e.into_error())?;
        let table = self.table.finish()?;
        table.into_inner().map_err(|e| e.into_error())?;
        Ok(Unpacked {
            entries: self.entries,
            data: self.data,
            objects: self.referred.finish()?,
        })
    }
}

/// Unpacks all of a layer's tar into the empty directory `stage`; but for objects that are `known`.
pub fn unpack(
    tar: impl Read,
    limits: Limits,
    stage: &Path,
    known: &dyn Fn(Digest) -> bool,
) -> Result<Unpacked> {
    let mut reader = LayerReader::new(BufReader::with_capacity(1 << 18, tar), limits);
    let mut unpacker = Unpacker::new(stage, known)?;
    while let Some(entry) = reader.next_entry()? {
        unpacker.add(entry, &mut reader)?;
    }
    unpacker.finish()
}

fn create(path: &Path) -> Result<File> {
    let made = File::options().write(true).create_new(true).open(path);
    made.context(|| path.display().to_string())
}

fn copy(from: &mut dyn Read, to: &mut dyn Write, size: u64) -> Result<()> {
    let copied = std::io::copy(&mut from.take(size), to)?;
    if copied == size {
        return Ok(());
    }
    let why = format!("{copied} bytes of data, not {size}");
    Err(Error::because(Errno::EIO, why))
}

/// Writes a file, and leaves out blocks of zeros.
struct Holes<'f> {
    file: &'f File,
    /// What does not fill a block yet.
    rest: Vec<u8>,
}

impl<'f> Holes<'f> {
    fn new(file: &'f File) -> Holes<'f> {
        Holes {
            file,
            rest: Vec::with_capacity(BLOCK),
        }
    }

    fn block(mut file: &File, block: &[u8]) -> std::io::Result<()> {
        if block.iter().all(|b| *b == 0) {
            let len = i64::try_from(block.len()).unwrap_or_default(); // one of a few blocks
            file.seek(SeekFrom::Current(len)).map(drop)
        } else {
            file.write_all(block)
        }
    }

    fn finish(self, size: u64) -> Result<()> {
        Holes::block(self.file, &self.rest)?;
        Ok(self.file.set_len(size)?)
    }
}

impl Write for Holes<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        if !self.rest.is_empty() || buf.len() < BLOCK {
            let missing = (BLOCK - self.rest.len()).min(buf.len());
            self.rest.extend_from_slice(&buf[..missing]);
            if self.rest.len() == BLOCK {
                Holes::block(self.file, &self.rest)?;
                self.rest.clear();
            }
            return Ok(missing);
        }
        // runs of blocks of one kind by one call
        let zero = |block: &[u8]| block.iter().all(|b| *b == 0);
        let mut blocks = buf.chunks_exact(BLOCK);
        let first = blocks.next().is_some_and(zero);
        let run = 1 + blocks.take_while(|block| zero(block) == first).count();
        Holes::block(self.file, &buf[..run * BLOCK])?;
        Ok(run * BLOCK)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Meta;
    use super::super::table::Table;
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn file(name: &str, size: usize) -> Entry {
        Entry {
            path: vec![name.as_bytes().into()],
            item: Item::File(Meta::default(), size as u64),
        }
    }

    /// Unpacks files of these contents; where each went, and the stage.
    fn unpack(
        files: &[&[u8]],
        known: &dyn Fn(Digest) -> bool,
    ) -> (Vec<Content>, tempfile::TempDir) {
        let stage = tempfile::tempdir().unwrap();
        let mut unpacker = Unpacker::new(stage.path(), known).unwrap();
        for data in files {
            unpacker.add(file("f", data.len()), &mut &data[..]).unwrap();
        }
        let done = unpacker.finish().unwrap();
        assert_eq!(done.entries, files.len() as u64);
        let table = File::open(stage.path().join(TABLE)).unwrap();
        let mut contents = Vec::new();
        Table::open(BufReader::new(table))
            .unwrap()
            .rows(|row| {
                contents.push(row.content);
                Ok(())
            })
            .unwrap();
        (contents, stage)
    }

    #[test]
    fn small_files_lie_end_to_end_and_large_ones_are_objects() {
        let large = vec![7; LARGE as usize];
        let digest = Digest::of(&large);
        let packed = |offset| Content::Packed { layer: 0, offset };
        let want = [
            packed(0),
            Content::Empty,
            Content::Object(digest),
            packed(3),
        ];
        let files: [&[u8]; 4] = [b"one", b"", &large, b"three"];
        for known in [false, true] {
            let (contents, stage) = unpack(&files, &|_| known);
            assert_eq!(contents, want);
            assert_eq!(fs::read(stage.path().join(PACK)).unwrap(), b"onethree");
            let object = stage.path().join(OBJECTS).join(digest.hex());
            assert_eq!(fs::read(object).ok(), (!known).then_some(large.clone()));
            let objects = fs::read_dir(stage.path().join(OBJECTS)).unwrap();
            assert_eq!(objects.count(), usize::from(!known));
        }
    }

    #[test]
    fn runs_of_zeros_are_holes_and_read_as_zeros() {
        let mut data = vec![0; 1 << 20];
        data[500_000] = 1; // within a block
        data.extend_from_slice(b"tail");
        data.extend_from_slice(&[0; 100]);
        let (_, stage) = unpack(&[&data], &|_| false);
        let path = stage.path().join(OBJECTS).join(Digest::of(&data).hex());
        assert_eq!(fs::read(&path).unwrap(), data);
        let blocks = fs::metadata(&path).unwrap().blocks();
        assert!(blocks * 512 <= 4 * BLOCK as u64, "{blocks} blocks");
    }

    #[test]
    fn pieces_of_any_size_make_the_same_file() {
        let data: Vec<u8> = (0..50_000u32)
            .map(|i| if i / 5000 % 2 == 0 { 0 } else { i as u8 })
            .collect();
        for piece in [1, 4095, 4096, 4097, 20_000] {
            let file = tempfile::tempfile().unwrap();
            let mut holes = Holes::new(&file);
            for part in data.chunks(piece) {
                holes.write_all(part).unwrap();
            }
            holes.finish(data.len() as u64).unwrap();
            let mut got = vec![0; data.len() + 1];
            let n = std::os::unix::fs::FileExt::read_at(&file, &mut got, 0).unwrap();
            assert!(n == data.len() && got[..n] == data, "{piece}");
        }
    }

    #[test]
    fn less_data_than_it_says_is_an_error() {
        let stage = tempfile::tempdir().unwrap();
        let mut unpacker = Unpacker::new(stage.path(), &|_| false).unwrap();
        let said = unpacker.add(file("f", 10), &mut &b"short"[..]);
        assert!(
            said.unwrap_err()
                .reason()
                .contains("5 bytes of data, not 10")
        );
    }
}
