//! The reader: a tar in, entries out.

use super::data::Data;
use super::head::{Head, Type, check_target};
use super::header::Raw;
use super::limits::{Limits, within};
use super::paths::{self, Place};
use super::pax::{Records, check_global};
use super::sparse::{self, Segment};
use super::stream::Stream;
use super::{BLOCK, invalid, shown, xattrs};
use crate::image::entry::{Entry, Item, Path};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use std::io::{self, Read};

/// Reads a layer, entry by entry.
///
/// [`LayerReader::next_entry`] gives the next entry; what is read from the reader itself, by [`Read`],
/// is the data of the file that it gave, with holes as zeros. Data that is not asked for is passed
/// over. After the last entry the stream was read to its end, so that a digest of what went through
/// it is that of the whole. After an error there is only that error.
///
/// The stream is read in pieces of 512 bytes: a file wants a [`std::io::BufReader`] around it.
#[derive(Debug)]
pub struct LayerReader<R> {
    stream: Stream<R>,
    limits: Limits,
    global: Records,
    /// The opaque mark of the directory that was given last.
    pending: Option<Entry>,
    data: Data,
    /// The name of the entry that was given last, for errors.
    name: Vec<u8>,
    entries: u64,
    total: u64,
    ended: bool,
    failed: Option<Error>,
}

impl<R: Read> LayerReader<R> {
    /// Reads the tar that `reader` gives.
    pub fn new(reader: R, limits: Limits) -> LayerReader<R> {
        LayerReader {
            stream: Stream::new(reader),
            limits,
            global: Records::default(),
            pending: None,
            data: Data::default(),
            name: Vec::new(),
            entries: 0,
            total: 0,
            ended: false,
            failed: None,
        }
    }

    /// The next entry; `None` after the last.
    pub fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let next = self.advance();
        if let Err(error) = &next {
            self.failed = Some(error.clone());
            self.data = Data::default();
        }
        next
    }

    /// Which pieces of the file that was given last are data, in order; the rest is holes.
    pub fn segments(&self) -> &[Segment] {
        self.data.segments()
    }

    /// The reader, as far as it was read.
    pub fn into_inner(self) -> R {
        self.stream.into_inner()
    }

    fn advance(&mut self) -> Result<Option<Entry>> {
        if let Some(opaque) = self.pending.take() {
            return Ok(Some(opaque));
        }
        let last = self.data.finish(&mut self.stream);
        last.context(|| format!("entry {}", shown(&self.name)))?;
        loop {
            if self.ended {
                return Ok(None);
            }
            let head = self.head();
            let Some(head) = head.context(|| format!("after {} entries", self.entries))? else {
                self.ended = true;
                return Ok(None);
            };
            self.name = head.name(&self.global);
            let entry = self.entry(&head);
            let entry = entry.context(|| format!("entry {}", shown(&self.name)))?;
            if entry.is_some() {
                return Ok(entry);
            }
        }
    }

    /// The next header of an entry, and what is said before it.
    fn head(&mut self) -> Result<Option<Head>> {
        let mut own = Records::default();
        let (mut long_name, mut long_target) = (None, None);
        let mut announced = false;
        loop {
            let block = self.stream.block_or_end()?;
            let Some(block) = block.filter(|b| *b != [0; BLOCK]) else {
                if announced {
                    return Err(invalid("the archive ends where an entry was announced"));
                }
                self.stream.zeros_to_end()?;
                return Ok(None);
            };
            let raw = Raw::new(&block)?;
            announced |= raw.kind() != b'g';
            match raw.kind() {
                b'g' => {
                    let text = self.extension(&raw, "pax_bytes", self.limits.pax_bytes)?;
                    self.global.add(&text, self.limits.pax_bytes)?;
                    check_global(&self.global)?;
                }
                b'x' => {
                    let text = self.extension(&raw, "pax_bytes", self.limits.pax_bytes)?;
                    own.add(&text, self.limits.pax_bytes)?;
                }
                b'L' => long_name = Some(self.long(&raw)?),
                b'K' => long_target = Some(self.long(&raw)?),
                _ => {
                    return Ok(Some(Head {
                        raw,
                        own,
                        long_name,
                        long_target,
                    }));
                }
            }
        }
    }

    /// The data of what is no entry, but says something of one.
    fn extension(&mut self, raw: &Raw, limit: &str, most: u64) -> Result<Vec<u8>> {
        let size = raw.size()?;
        within(limit, size, most)?;
        self.stream.small(size)
    }

    /// A name of GNU's, which ends with a NUL.
    fn long(&mut self, raw: &Raw) -> Result<Vec<u8>> {
        // the NUL is no part of it
        let most = self.limits.name_bytes.saturating_add(1);
        let mut name = self.extension(raw, "name_bytes", most)?;
        if let Some(end) = name.iter().position(|b| *b == 0) {
            name.truncate(end);
        }
        Ok(name)
    }

    /// The entry; `None` if it is nothing of the image.
    fn entry(&mut self, head: &Head) -> Result<Option<Entry>> {
        self.entries += 1;
        within("entries", self.entries, self.limits.entries)?;
        within("name_bytes", self.name.len() as u64, self.limits.name_bytes)?;
        let stored = head.stored(&self.global)?;
        within("file_bytes", stored, self.limits.file_bytes)?;
        let what = head.what(&self.name, stored)?;
        // only files have data, whatever the size of others is said to be
        let stored = if what == Type::File { stored } else { 0 };
        let (path, item) = match paths::place(paths::parse(&self.name)?)? {
            Place::File(path) => {
                let item = self.item(head, what, stored, &path)?;
                return Ok(Some(Entry { path, item }));
            }
            Place::Whiteout(path) => (path, Some(Item::Whiteout)),
            Place::Opaque(path) => (path, Some(Item::Opaque)),
            Place::Aufs => (Path::new(), None),
        };
        let mut data = Data::new(sparse::Map::dense(stored), stored);
        data.finish(&mut self.stream)?;
        Ok(item.map(|item| Entry { path, item }))
    }

    fn item(&mut self, head: &Head, what: Type, stored: u64, path: &Path) -> Result<Item> {
        let said = head.said(&self.global);
        if path.is_empty() && what != Type::Dir {
            return Err(invalid("the root is no directory"));
        }
        if what != Type::File && sparse::is_told_by_records(&said) {
            return Err(invalid("a sparse map of what is no file"));
        }
        if what == Type::Hardlink {
            let target = head.target(&said);
            within("name_bytes", target.len() as u64, self.limits.name_bytes)?;
            return Ok(Item::Hardlink(paths::link_target(&target)?));
        }
        let found = xattrs::find(&said, &self.limits)?;
        let meta = head.meta(&said, found.xattrs)?;
        Ok(match what {
            Type::File => Item::File(meta, self.open(head, stored)?),
            Type::Symlink => Item::Symlink(meta, self.symlink(head.target(&said))?),
            Type::BlockDev => Item::BlockDev(meta, head.device(&said)?),
            Type::CharDev => match head.device(&said)? {
                // the kernel's overlayfs has its whiteouts so
                0 => Item::Whiteout,
                device => Item::CharDev(meta, device),
            },
            Type::Fifo => Item::Fifo(meta),
            Type::Dir | Type::Hardlink => {
                self.pending = found.opaque.then(|| Entry {
                    path: path.clone(),
                    item: Item::Opaque,
                });
                Item::Dir(meta)
            }
        })
    }

    /// Makes the data of a file ready to be read; gives its size.
    fn open(&mut self, head: &Head, stored: u64) -> Result<u64> {
        let said = head.said(&self.global);
        let (map, left) = sparse::map(&head.raw, &said, stored, &mut self.stream, &self.limits)?;
        let size = map.size;
        within("file_bytes", size, self.limits.file_bytes)?;
        self.total = self.total.saturating_add(size);
        within("total_bytes", self.total, self.limits.total_bytes)?;
        self.data = Data::new(map, left);
        Ok(size)
    }

    fn symlink(&self, target: Vec<u8>) -> Result<Box<[u8]>> {
        check_target(&target, &self.limits)?;
        Ok(target.into())
    }
}

impl<R: Read> Read for LayerReader<R> {
    /// Reads the data of the file that was given last.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.data.read(&mut self.stream, buf).map_err(|e| {
            // one of the system's says more by its number
            if e.raw_os_error().is_some() {
                return e;
            }
            io::Error::new(e.kind(), format!("entry {}: {e}", shown(&self.name)))
        })
    }
}
