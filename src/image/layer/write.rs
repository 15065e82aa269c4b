//! The writer: entries in, a tar out.

use super::limits::{Limits, within};
use super::metas::Metas;
use super::plain::Plain;
use super::stream::padding;
use super::{BLOCK, head, invalid, paths, pax, shown, xattrs};
use crate::image::entry::{Entry, Item, Meta, Path};
use crate::image::spill::{Pages, Room};
use crate::vfs::error::Context;
use crate::vfs::whiteout::{AUFS_OPAQUE, AUFS_PREFIX, is_private_xattr};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::io::{self, Read, Write};

/// The name of every header that holds records: it is no file's.
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// Writes a layer, entry by entry.
///
/// The tar is POSIX PAX: a ustar header, and records before it only for what that has no room for.
/// Nothing in it comes from anywhere but the entries, so the same entries make the same bytes.
/// Holes are written as zeros.
///
/// A hard link is written with owner, mode, time and attributes of its file, since docker and
/// containerd set them once more when they meet it. Those of a file that is not in this layer are
/// not known; they are written as zeros.
///
/// Headers are written one by one: a file wants a [`std::io::BufWriter`] around it.
#[derive(Debug)]
pub struct LayerWriter<W> {
    out: W,
    /// What could be the target of a hard link.
    metas: Metas,
    /// An entry was written in part, so nothing can follow.
    broken: bool,
    /// What data goes through.
    buf: Vec<u8>,
}

/// An entry's header in the making: what goes into the block, and what into records.
struct Head {
    plain: Plain,
    records: Vec<u8>,
}

impl<W: Write> LayerWriter<W> {
    /// Writes to `out`. What is remembered of each entry is in memory.
    pub fn new(out: W) -> Result<LayerWriter<W>> {
        LayerWriter::within(out, &Pages::new(Room::unlimited()))
    }

    /// The same; what is remembered of each entry is in `pages`.
    pub fn within(out: W, pages: &Pages) -> Result<LayerWriter<W>> {
        Ok(LayerWriter {
            out,
            metas: Metas::new(pages)?,
            broken: false,
            buf: vec![0; 1 << 17],
        })
    }

    /// Writes an entry. Of a file, as many bytes as the entry says are read from `data`; of others
    /// nothing is.
    pub fn add(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<()> {
        let what = || format!("entry {}", shown(&paths::join(&entry.path)));
        self.check_whole().context(what)?;
        let head = self.head(entry).context(what)?;
        let size = match &entry.item {
            Item::File(_, size) => *size,
            _ => 0,
        };
        self.broken = true;
        head.write(&mut self.out).context(what)?;
        copy(data, &mut self.out, size, &mut self.buf).context(what)?;
        self.broken = false;
        self.remember(entry).context(what)
    }

    /// Writes the end of the archive, and gives back what was written to.
    pub fn finish(mut self) -> Result<W> {
        self.check_whole()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn check_whole(&self) -> Result<()> {
        if self.broken {
            return Err(Error::because(
                Errno::EIO,
                "the entry before it was written in part",
            ));
        }
        Ok(())
    }

    fn head(&self, entry: &Entry) -> Result<Head> {
        let path = &entry.path;
        paths::check(path)?;
        let is_dir = matches!(entry.item, Item::Dir(_) | Item::Opaque);
        if path.is_empty() && !is_dir {
            return Err(invalid("the root can only be a directory"));
        }
        let name = paths::join(path);
        match &entry.item {
            Item::Dir(meta) => Head::new(b'5', &[name, b"/".to_vec()].concat(), meta),
            Item::File(meta, size) => Ok(Head::new(b'0', &name, meta)?.size(*size)),
            Item::Symlink(meta, target) => {
                head::check_target(target, &Limits::default())?;
                Ok(Head::new(b'2', &name, meta)?.target(target))
            }
            Item::Hardlink(target) => self.link(&name, target),
            Item::CharDev(_, 0) => Err(invalid("the device 0:0 would be a whiteout")),
            Item::CharDev(meta, device) => Ok(Head::new(b'3', &name, meta)?.device(*device)),
            Item::BlockDev(meta, device) => Ok(Head::new(b'4', &name, meta)?.device(*device)),
            Item::Fifo(meta) => Head::new(b'6', &name, meta),
            Item::Whiteout => whiteout(path),
            Item::Opaque => {
                let mark = [path.as_slice(), &[AUFS_OPAQUE.into()]].concat();
                Head::new(b'0', &paths::join(&mark), &Meta::default())
            }
        }
    }

    fn link(&self, name: &[u8], target: &Path) -> Result<Head> {
        paths::check(target).context(|| "hard link")?;
        if target.is_empty() {
            return Err(invalid("a hard link to the root"));
        }
        let meta = match self.metas.find(target)? {
            Some(known) => self.metas.get(known)?,
            None => Meta::default(),
        };
        let target = paths::join(target);
        within(
            "name_bytes",
            target.len() as u64,
            Limits::default().name_bytes,
        )?;
        Ok(Head::new(b'1', name, &meta)?.target(&target))
    }

    /// Notes what the path is now, in case a hard link names it.
    fn remember(&mut self, entry: &Entry) -> Result<()> {
        let known = match &entry.item {
            Item::File(meta, _)
            | Item::Symlink(meta, _)
            | Item::CharDev(meta, _)
            | Item::BlockDev(meta, _)
            | Item::Fifo(meta) => Some(self.metas.note(meta)?),
            Item::Hardlink(target) => self.metas.find(target)?,
            Item::Dir(_) | Item::Whiteout => None,
            Item::Opaque => return Ok(()),
        };
        match known {
            Some(known) => self.metas.set(&entry.path, known),
            None => self.metas.clear(&entry.path),
        }
    }
}

/// An empty file with a name that says what it hides. That name may be longer than a file's can be: no
/// reader makes a file of it, and so buildah writes it, too.
fn whiteout(path: &[Box<[u8]>]) -> Result<Head> {
    let Some((name, dir)) = path.split_last() else {
        return Err(invalid("a whiteout of the root"));
    };
    let mark = [AUFS_PREFIX, name].concat();
    let path = [dir, &[mark.into()]].concat();
    Head::new(b'0', &paths::join(&path), &Meta::default())
}

impl Head {
    fn new(kind: u8, name: &[u8], meta: &Meta) -> Result<Head> {
        check(name, meta)?;
        let mut head = Head {
            plain: Plain::new(kind),
            records: Vec::new(),
        };
        // the root's name is "./", as everyone writes it
        let name = if name == b"/" { b"./" } else { name };
        if !head.plain.name(name) {
            head.plain.name(&short(name));
            pax::append(&mut head.records, b"path", name);
        }
        head.plain.perm(meta.perm);
        if !head.plain.uid(meta.uid) {
            head.record("uid", &meta.uid.to_string());
        }
        if !head.plain.gid(meta.gid) {
            head.record("gid", &meta.gid.to_string());
        }
        if !head.plain.mtime(meta.mtime) || meta.mtime_nsec != 0 {
            head.record("mtime", &pax::time(meta.mtime, meta.mtime_nsec));
        }
        for (name, value) in &meta.xattrs {
            pax::append(&mut head.records, &xattrs::key(name), value);
        }
        Ok(head)
    }

    fn record(&mut self, key: &str, value: &str) {
        pax::append(&mut self.records, key.as_bytes(), value.as_bytes());
    }

    fn size(mut self, size: u64) -> Head {
        if !self.plain.size(size) {
            self.record("size", &size.to_string());
        }
        self
    }

    fn target(mut self, target: &[u8]) -> Head {
        if !self.plain.target(target) {
            self.plain.target(&short(target));
            pax::append(&mut self.records, b"linkpath", target);
        }
        self
    }

    fn device(mut self, device: u64) -> Head {
        let (major, minor) = (libc::major(device), libc::minor(device));
        // star's records: neither POSIX nor Linux has numbers so large
        if !self.plain.major(major) {
            self.record("SCHILY.devmajor", &major.to_string());
        }
        if !self.plain.minor(minor) {
            self.record("SCHILY.devminor", &minor.to_string());
        }
        self
    }

    fn write(self, out: &mut impl Write) -> Result<()> {
        let len = self.records.len() as u64;
        within("pax_bytes", len, Limits::default().pax_bytes)?;
        if len > 0 {
            let mut plain = Plain::new(b'x');
            plain.name(PAX_NAME);
            plain.perm(0o644);
            plain.size(len);
            out.write_all(&plain.into_block())?;
            out.write_all(&self.records)?;
            pad(out, len)?;
        }
        out.write_all(&self.plain.into_block())?;
        Ok(())
    }
}

/// Checks that an entry is one, and that the reader would take it.
fn check(name: &[u8], meta: &Meta) -> Result<()> {
    let limits = Limits::default();
    within("name_bytes", name.len() as u64, limits.name_bytes)?;
    if meta.perm > 0o7777 || meta.mtime_nsec >= 1_000_000_000 {
        return Err(invalid(format!(
            "mode {:o} or {} nanoseconds: out of range",
            meta.perm, meta.mtime_nsec
        )));
    }
    let in_order = meta.xattrs.is_sorted_by(|a, b| a.0 < b.0);
    if !in_order || meta.xattrs.iter().any(|(n, _)| is_private_xattr(n)) {
        return Err(invalid(
            "attributes out of order, or an overlay's own among them",
        ));
    }
    xattrs::check(&meta.xattrs, &limits)
}

/// What stands in the header for a text that does not fit, for those who do not read records.
fn short(text: &[u8]) -> Vec<u8> {
    let ascii = |b: &u8| if b.is_ascii() { *b } else { b'_' };
    text.iter().map(ascii).take(100).collect()
}

/// Copies `len` bytes and their padding.
fn copy(from: &mut dyn Read, to: &mut impl Write, len: u64, buf: &mut [u8]) -> Result<()> {
    let mut left = len;
    while left > 0 {
        let room = usize::try_from(left).map_or(buf.len(), |l| l.min(buf.len()));
        let (part, _) = buf.split_at_mut(room);
        let n = match from.read(part) {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        };
        if n == 0 {
            return Err(Error::because(
                Errno::EIO,
                format!("{} bytes of data where {len} were announced", len - left),
            ));
        }
        to.write_all(part.get(..n).unwrap_or_default())?;
        left -= n as u64;
    }
    pad(to, len)
}

/// Fills up the last block of `len` bytes.
fn pad(to: &mut impl Write, len: u64) -> Result<()> {
    let zeros = [0; BLOCK];
    let (padding, _) = zeros.split_at(padding(len) as usize);
    Ok(to.write_all(padding)?)
}
