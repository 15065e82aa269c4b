//! Sources as files by name: a folder, or a tar with the places of its entries.
//!
//! A tar that can be read at any place is read where it is. One that comes by a pipe, or
//! compressed, is written to the store's `tmp` first: what an archive says of its layers may stand
//! behind them.

use super::stream::{Counted, Decoder, Limited, Limits};
use crate::image::oci::{Compression, read_document};
use crate::image::store::{Store, Temp};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Links followed from one name to the file.
const LINKS_MAX: usize = 16;

/// Most bytes that names and places of an archive's files may take: so many are 500,000 files, and an image has a
/// few for each layer.
const NAMES_MAX: usize = 64 << 20;

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A folder or a file.
    Path(PathBuf),
    /// The standard input.
    Stdin,
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Path(path) => write!(f, "{}", path.display()),
            Input::Stdin => f.write_str("standard input"),
        }
    }
}

impl Input {
    /// The name of the folder or file, without what stands after the first dot.
    pub(super) fn stem(&self) -> Option<String> {
        let Input::Path(path) = self else {
            return None;
        };
        let path = path.canonicalize().ok()?;
        let name = path.file_name()?.to_str()?;
        name.split('.').next().map(str::to_owned)
    }
}

/// The files of a source.
#[derive(Debug)]
pub(super) enum Files {
    /// Of a folder.
    Folder(PathBuf),
    /// Of a tar.
    Archive(Archive),
}

/// A tar.
#[derive(Debug)]
pub(super) struct Archive {
    file: Arc<File>,
    entries: BTreeMap<String, Place>,
    /// Goes away with the archive.
    _spool: Option<Temp>,
}

#[derive(Debug)]
enum Place {
    /// A file, where it begins and how long it is.
    At(u64, u64),
    /// Another name.
    Link(String),
}

impl Files {
    /// Opens a source.
    pub fn open(store: &Store, input: &Input, limits: &Limits) -> Result<Files> {
        match input {
            Input::Path(path) if path.is_dir() => Ok(Files::Folder(path.clone())),
            Input::Path(path) => Archive::open(store, File::open(path)?, limits),
            Input::Stdin => {
                let own = io::stdin();
                let stdin = rustix::io::dup(&own)?;
                Archive::open(store, File::from(stdin), limits)
            }
        }
    }

    /// True if there is such a file.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Files::Folder(dir) => dir.join(name).is_file(),
            Files::Archive(archive) => archive.find(name).is_ok(),
        }
    }

    /// Size of a file.
    pub fn size(&self, name: &str) -> Result<u64> {
        match self {
            Files::Folder(dir) => std::fs::metadata(dir.join(name))
                .map(|m| m.len())
                .context(|| name.to_owned()),
            Files::Archive(archive) => archive.find(name).map(|(_, size)| size),
        }
    }

    /// Opens a file.
    pub fn read(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        match self {
            Files::Folder(dir) => match File::open(dir.join(name)) {
                Ok(file) => Ok(Box::new(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Err(missing(name)),
                Err(e) => Err(Error::from(e).context(name)),
            },
            Files::Archive(archive) => {
                let (at, left) = archive.find(name)?;
                let file = Arc::clone(&archive.file);
                Ok(Box::new(Section { file, at, left }))
            }
        }
    }

    /// Reads a document.
    pub fn document(&self, name: &str) -> Result<Vec<u8>> {
        read_document(name, self.read(name)?)
    }
}

fn missing(name: &str) -> Error {
    Error::because(Errno::ENOENT, format!("{name} is missing"))
}

impl Archive {
    fn open(store: &Store, mut file: File, limits: &Limits) -> Result<Files> {
        let regular = file.metadata()?.is_file();
        let mut head = Vec::new();
        file.by_ref().take(8).read_to_end(&mut head)?;
        let compression = match Compression::sniff(&head) {
            Compression::None => compression_not_known(&head)?,
            known => known,
        };
        let (file, spool) = if regular && compression == Compression::None {
            (file, None)
        } else {
            let spool = spool(store, head, file, compression, limits)?;
            (File::open(spool.path())?, Some(spool))
        };
        let entries = entries(&file, NAMES_MAX).map_err(|e| match e.is(Errno::E2BIG) {
            true => e,
            false => e.context("it is no whole tar"),
        })?;
        Ok(Files::Archive(Archive {
            file: Arc::new(file),
            entries,
            _spool: spool,
        }))
    }

    /// Begin and length of a file, by way of links.
    fn find(&self, name: &str) -> Result<(u64, u64)> {
        let mut at = normal(Path::new(name), Path::new("")).ok_or_else(|| missing(name))?;
        for _ in 0..LINKS_MAX {
            match self.entries.get(&at) {
                Some(Place::At(begin, len)) => return Ok((*begin, *len)),
                Some(Place::Link(to)) => at.clone_from(to),
                None => return Err(missing(name)),
            }
        }
        Err(Error::because(
            Errno::ELOOP,
            format!("{name}: too many links"),
        ))
    }
}

/// Writes an archive to disk, decompressed.
fn spool(
    store: &Store,
    head: Vec<u8>,
    file: File,
    compression: Compression,
    limits: &Limits,
) -> Result<Temp> {
    let mut spool = store.temp()?;
    let consumed = Arc::default();
    let counted = Counted::new(io::Cursor::new(head).chain(file), Arc::clone(&consumed));
    let limits = Limits {
        layer_max: limits.archive_max,
        ..*limits
    };
    let decoder = Decoder::new(compression, BufReader::new(counted))?;
    let mut plain = Limited::new(decoder, limits, consumed);
    let copied = io::copy(&mut plain, spool.file());
    plain.finish().1.context(|| "the archive")?;
    copied?;
    Ok(spool)
}

/// A tar that comes plain or compressed, as the plain one. More than the limits allow is an error.
pub(in crate::image) fn plain(mut from: impl Read, limits: Limits) -> Result<impl Read> {
    let mut head = Vec::new();
    from.by_ref().take(8).read_to_end(&mut head)?;
    let compression = match Compression::sniff(&head) {
        Compression::None => compression_not_known(&head)?,
        known => known,
    };
    let all = BufReader::with_capacity(1 << 18, io::Cursor::new(head).chain(from));
    // who imports a file chose it: its size counts, not how well it was compressed
    let limits = Limits {
        ratio_free: u64::MAX,
        ..limits
    };
    let consumed = Arc::default();
    Ok(Limited::new(
        Decoder::new(compression, all)?,
        limits,
        consumed,
    ))
}

/// Names what is compressed in a way that is not understood.
fn compression_not_known(head: &[u8]) -> Result<Compression> {
    let name = match head {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [b'B', b'Z', b'h', ..] => "bzip2",
        _ => return Ok(Compression::None),
    };
    Err(Error::because(
        Errno::EOPNOTSUPP,
        format!("it is compressed with {name}; gzip, zstd and plain are understood"),
    ))
}

/// Where everything is. Of two entries of one name the later counts, as for tar itself.
fn entries(file: &File, most: usize) -> Result<BTreeMap<String, Place>> {
    let mut names = 0;
    let len = file.metadata()?.len();
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut all = BTreeMap::new();
    let mut tar = tar::Archive::new(BufReader::with_capacity(4096, file));
    for entry in tar.entries_with_seek()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        // a name that leads out of the archive is nobody's
        let Some(name) = normal(&path, Path::new("")) else {
            continue;
        };
        let kind = entry.header().entry_type();
        let place = if kind.is_file() || kind.is_contiguous() {
            let (at, size) = (entry.raw_file_position(), entry.size());
            if at.checked_add(size).is_none_or(|end| end > len) {
                return Err(Error::because(
                    Errno::EBADMSG,
                    format!("the archive ends within {name}"),
                ));
            }
            Some(Place::At(at, size))
        } else if kind.is_symlink() || kind.is_hard_link() {
            let base = match kind.is_symlink() {
                true => path.parent().unwrap_or(Path::new("")),
                false => Path::new(""),
            };
            let target = entry.link_name()?;
            target
                .and_then(|target| normal(&target, base))
                .map(Place::Link)
        } else {
            None
        };
        if let Some(place) = place {
            let target = match &place {
                Place::At(..) => 0,
                Place::Link(target) => target.len(),
            };
            // as a map keeps them
            names += name.len() + target + 2 * size_of::<(String, Place)>();
            if names > most {
                return Err(Error::because(
                    Errno::E2BIG,
                    format!(
                        "more files than any image has, {} and counting; a root file system is for 'vellum import'",
                        all.len()
                    ),
                ));
            }
            all.insert(name, place);
        }
    }
    if all.is_empty() {
        return Err(Error::because(Errno::EBADMSG, "there is no file in it"));
    }
    Ok(all)
}

/// A path from the top of the archive; nothing if it leads out of it.
fn normal(path: &Path, base: &Path) -> Option<String> {
    use std::path::Component;
    let mut parts: Vec<&str> = Vec::new();
    let joined = base.join(path.strip_prefix("/").unwrap_or(path));
    for part in joined.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir | Component::RootDir => {}
            Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// A part of a file.
#[derive(Debug)]
struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let want = buf.len().min(most);
        let Some(buf) = buf.get_mut(..want).filter(|b| !b.is_empty()) else {
            return Ok(0);
        };
        match self.file.read_at(buf, self.at)? {
            0 => Err(io::Error::other("the archive became shorter")),
            n => {
                self.at += n as u64;
                self.left -= n as u64;
                Ok(n)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_names_than_an_image_has_are_not_remembered() {
        let mut tar = tar::Builder::new(tempfile::tempfile().unwrap());
        for i in 0..100 {
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            let at = format!("usr/bin/{i}");
            tar.append_data(&mut header, at, std::io::empty()).unwrap();
        }
        let file = tar.into_inner().unwrap();
        assert_eq!(entries(&file, 20_000).unwrap().len(), 100);
        let refused = entries(&file, 5000).unwrap_err();
        assert!(refused.is(Errno::E2BIG));
        assert!(refused.reason().contains("vellum import"), "{refused}");
    }

    #[test]
    fn names_do_not_lead_out() {
        for (path, base, want) in [
            ("a/b", "", Some("a/b")),
            ("./a//b/.", "", Some("a/b")),
            ("../x/layer.tar", "y", Some("x/layer.tar")),
            ("/a", "", Some("a")),
            ("../a", "", None),
            ("a/../../b", "", None),
            (".", "", None),
        ] {
            assert_eq!(
                normal(Path::new(path), Path::new(base)).as_deref(),
                want,
                "{path}"
            );
        }
    }
}
