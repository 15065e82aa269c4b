//! The reader: a tar in, entries out.

use super::data::Data;
use super::header::Raw;
use super::limits::{Limits, within};
use super::paths::{self, Place};
use super::pax::{Records, Said, check_global};
use super::sparse::{self, Segment};
use super::stream::Stream;
use super::{BLOCK, invalid, shown, xattrs};
use crate::image::entry::{Entry, Item, Meta, Path};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
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

/// A header with what was said of the entry before it.
struct Head {
    raw: Raw,
    own: Records,
    long_name: Option<Vec<u8>>,
    long_target: Option<Vec<u8>>,
}

/// What an entry is, by its type and, in old tars, its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    File,
    Hardlink,
    Symlink,
    CharDev,
    BlockDev,
    Dir,
    Fifo,
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

impl Head {
    fn said<'a>(&'a self, global: &'a Records) -> Said<'a> {
        Said {
            own: &self.own,
            global,
        }
    }

    /// The name. Where there are several, that which docker takes: a sparse file's own, GNU's long
    /// one, the record, the header.
    fn name(&self, global: &Records) -> Vec<u8> {
        let said = self.said(global);
        sparse::name(&said)
            .or(self.long_name.as_deref())
            .or_else(|| said.get("path"))
            .map_or_else(|| self.raw.name(), <[u8]>::to_vec)
    }

    fn target(&self, said: &Said<'_>) -> Vec<u8> {
        self.long_target
            .as_deref()
            .or_else(|| said.get("linkpath"))
            .map_or_else(|| self.raw.target(), <[u8]>::to_vec)
    }

    /// Bytes of data in the tar, if it has data.
    fn stored(&self, global: &Records) -> Result<u64> {
        match self.said(global).number("size")? {
            Some(size) => Ok(size),
            None => self.raw.size(),
        }
    }

    fn what(&self, name: &[u8], stored: u64) -> Result<Type> {
        let slash = name.ends_with(b"/");
        Ok(match self.raw.kind() {
            // v7 has no type for a directory
            0 if slash => Type::Dir,
            b'0' | b'7' if slash && stored == 0 => Type::Dir,
            b'0' | b'7' | b'S' if slash => {
                return Err(invalid("a file whose name ends with a slash"));
            }
            0 | b'0' | b'7' | b'S' => Type::File,
            b'1' => Type::Hardlink,
            b'2' => Type::Symlink,
            b'3' => Type::CharDev,
            b'4' => Type::BlockDev,
            b'5' => Type::Dir,
            b'6' => Type::Fifo,
            other => {
                let other = [other];
                return Err(Error::because(
                    Errno::EOPNOTSUPP,
                    format!("its type '{}' is not known", other.escape_ascii()),
                ));
            }
        })
    }

    fn meta(&self, said: &Said<'_>, xattrs: Vec<crate::image::entry::Xattr>) -> Result<Meta> {
        let (mtime, mtime_nsec) = match said.time("mtime")? {
            Some(time) => time,
            None => (self.raw.mtime()?, 0),
        };
        Ok(Meta {
            perm: self.raw.perm()?,
            uid: match said.number("uid")? {
                Some(uid) => uid,
                None => self.raw.uid()?,
            },
            gid: match said.number("gid")? {
                Some(gid) => gid,
                None => self.raw.gid()?,
            },
            mtime,
            mtime_nsec,
            xattrs,
        })
    }

    /// The number of a device. The records are star's, for those that are too large for a header.
    fn device(&self, said: &Said<'_>) -> Result<u64> {
        let (major, minor) = self.raw.device()?;
        Ok(libc::makedev(
            said.number("SCHILY.devmajor")?.unwrap_or(major),
            said.number("SCHILY.devminor")?.unwrap_or(minor),
        ))
    }
}

/// Checks the target of a symlink, which may be any text.
pub(super) fn check_target(target: &[u8], limits: &Limits) -> Result<()> {
    if target.is_empty() || target.contains(&0) {
        return Err(invalid(format!(
            "a symlink to {}, which is no path",
            shown(target)
        )));
    }
    within("target_bytes", target.len() as u64, limits.target_bytes)
}
