//! The tree of an image as the engine sees it: a [`Lower`] over an [`Index`].
//!
//! It has no table of nodes. The number of a node is that of its inode in the index, and 1; a
//! look-up allocates nothing and a FORGET does nothing, so memory does not grow with what was
//! looked at. Numbers are below 2^33, and the same in every mount of the same index.
//!
//! Data lies in packs, which are opened once and stay open, and in objects, which the engine keeps
//! open as long as it likes.

use super::digest::Digest;
use super::index::{Entry, Index, Inode};
use super::listings::Listings;
use super::tree::Content;
use crate::lower::{Listing, Lower, RawListing, Source};
use crate::sys::{loc, map::Map};
use crate::vfs::cookie::CookieKey;
use crate::vfs::error::Context;
use crate::vfs::whiteout::{NAME_MAX, is_private_xattr};
use crate::vfs::{Attr, Error, Kind, NodeId, Result, StatFs};
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Where the data of an image's files is. What it opens is open for reading only, and stays as it
/// is for as long as anybody has it open.
pub trait Contents: Send + Sync {
    /// Opens the pack of the layer with this diff ID.
    fn pack(&self, layer: &Digest) -> Result<File>;

    /// Opens an object.
    fn object(&self, digest: &Digest) -> Result<File>;
}

/// The tree of an image.
pub struct ImageLower {
    index: Index<Map>,
    /// The index, for the file system that it is on.
    file: Arc<File>,
    contents: Box<dyn Contents>,
    /// By layer.
    packs: Box<[(Digest, OnceLock<Pack>)]>,
    listings: Listings,
    key: CookieKey,
}

struct Pack {
    file: Arc<File>,
    len: u64,
}

/// Number of the inode 0, the root.
const FIRST: u64 = NodeId::ROOT.0;

impl ImageLower {
    /// Opens the image whose index is at `index`. The engine gives the key.
    pub fn open(index: &Path, contents: Box<dyn Contents>, key: CookieKey) -> Result<ImageLower> {
        let said = || format!("index {}", index.display());
        let file = File::open(index).context(said)?;
        let index = Index::of(&file).context(said)?;
        let layers = index.layers().context(said)?;
        Ok(ImageLower {
            index,
            file: Arc::new(file),
            contents,
            packs: layers.into_iter().map(|l| (l, OnceLock::new())).collect(),
            listings: Listings::new(),
            key,
        })
    }

    /// The number of an inode.
    fn number(&self, id: NodeId) -> Result<u32> {
        number_of(id)
            .filter(|n| *n < self.index.inodes())
            .ok_or(Error::new(Errno::ESTALE))
    }

    fn inode(&self, id: NodeId) -> Result<Inode> {
        self.index.inode(self.number(id)?)
    }

    fn find(&self, dir: NodeId, name: &[u8]) -> Result<Option<Entry<'_>>> {
        if name.len() > NAME_MAX {
            return Err(Error::new(Errno::ENAMETOOLONG));
        }
        self.index.lookup(self.number(dir)?, name)
    }

    fn pack(&self, layer: u32) -> Result<&Pack> {
        let (digest, pack) = self
            .packs
            .get(layer as usize)
            .ok_or_else(|| Error::because(Errno::EIO, format!("no layer {layer}")))?;
        if let Some(pack) = pack.get() {
            return Ok(pack);
        }
        let said = || format!("pack of layer {digest}");
        let file = self.contents.pack(digest).map_err(missing).context(said)?;
        let len = file.metadata().context(said)?.len();
        let file = Arc::new(file);
        Ok(pack.get_or_init(|| Pack { file, len }))
    }

    fn packed(&self, layer: u32, start: u64, len: u64) -> Result<Source> {
        let pack = self.pack(layer)?;
        if start.checked_add(len).is_none_or(|end| end > pack.len) {
            return Err(Error::because(
                Errno::EIO,
                format!(
                    "the pack of layer {layer} has {} bytes, and not {len} from {start} on",
                    pack.len
                ),
            ));
        }
        Source::part(pack.file.clone(), start, len)
    }

    fn object(&self, digest: &Digest, size: u64) -> Result<Source> {
        let said = || format!("object {digest}");
        let file = self
            .contents
            .object(digest)
            .map_err(missing)
            .context(said)?;
        let len = file.metadata().context(said)?.len();
        if len != size {
            return Err(Error::because(
                Errno::EIO,
                format!("object {digest} has {len} bytes, and should have {size}"),
            ));
        }
        Ok(Source::whole(Arc::new(file)))
    }
}

/// Data that is not where it should be is an I/O error: the file itself is there.
fn missing(e: Error) -> Error {
    match e.is(Errno::ENOENT) {
        true => Error::because(Errno::EIO, "it is not in the store").context(e.reason()),
        false => e,
    }
}

/// The number of the inode of a node, if it can be an image's.
pub fn number_of(id: NodeId) -> Option<u32> {
    u32::try_from(id.0.checked_sub(FIRST)?).ok()
}

/// The number of the node of an inode.
fn id_of(number: u32) -> NodeId {
    NodeId(u64::from(number) + FIRST)
}

fn attr_of(inode: &Inode) -> Attr {
    let (size, blocks) = match inode.kind {
        // as a directory of few entries on a disk
        Kind::Dir => (4096, 8),
        Kind::File => (inode.size, inode.size.div_ceil(512)),
        _ => (inode.size, 0),
    };
    Attr {
        ino: id_of(inode.number),
        kind: inode.kind,
        perm: inode.perm,
        nlink: inode.nlink,
        uid: inode.uid,
        gid: inode.gid,
        rdev: inode.rdev,
        size,
        blocks,
        blksize: 4096,
        atime: inode.mtime,
        mtime: inode.mtime,
        ctime: inode.mtime,
    }
}

impl Lower for ImageLower {
    fn attr(&self, id: NodeId) -> Result<Attr> {
        self.inode(id).map(|inode| attr_of(&inode))
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<Option<Attr>> {
        let Some(entry) = self.find(dir, name)? else {
            return Ok(None);
        };
        let inode = self.index.inode(entry.inode)?;
        // a directory that is somewhere else, too, would have two places
        let elsewhere = inode.kind == Kind::Dir && id_of(inode.parent) != dir;
        if inode.kind != entry.kind || elsewhere {
            return Err(Error::because(
                Errno::EIO,
                format!("index: inode {} is not what its name says", entry.inode),
            ));
        }
        Ok(Some(attr_of(&inode)))
    }

    fn contains(&self, dir: NodeId, name: &[u8]) -> Result<Option<Kind>> {
        Ok(self.find(dir, name)?.map(|entry| entry.kind))
    }

    fn list(&self, dir: NodeId) -> Result<Arc<Listing>> {
        let number = self.number(dir)?;
        self.listings.get(number, || {
            let entries = self
                .index
                .entries(number, 0)?
                .map(|entry| entry.map(|e| (e.name.into(), e.kind, Vec::new())))
                .collect::<Result<_>>()?;
            Ok(Listing::new(RawListing { entries }, &self.key))
        })
    }

    fn pin(&self, id: NodeId) -> Result<()> {
        self.number(id).map(drop)
    }

    fn forget(&self, _: NodeId, _: u64) {}

    fn take_references(&self, id: NodeId) -> Result<Option<u64>> {
        self.number(id).map(|_| None)
    }

    fn place(&self, id: NodeId) -> Result<Option<(NodeId, Box<[u8]>)>> {
        let place = self.index.place(self.number(id)?)?;
        Ok(place.map(|(dir, name)| (id_of(dir), name.into())))
    }

    fn links(&self, id: NodeId) -> Result<Vec<(NodeId, Box<[u8]>)>> {
        if self.inode(id)?.kind == Kind::Dir {
            return Ok(Vec::new());
        }
        let links = self.index.links(self.number(id)?)?;
        Ok(links
            .into_iter()
            .map(|(dir, name)| (id_of(dir), name.into()))
            .collect())
    }

    fn readlink(&self, id: NodeId) -> Result<Vec<u8>> {
        self.index.target(self.number(id)?).map(<[u8]>::to_vec)
    }

    fn open(&self, id: NodeId) -> Result<Source> {
        let inode = self.inode(id)?;
        if inode.kind == Kind::Dir {
            return Err(Error::new(Errno::EISDIR));
        }
        match self.index.content(inode.number)? {
            // any file has an empty part
            Content::Empty => Source::part(self.file.clone(), 0, 0),
            Content::Packed { layer, offset } => self.packed(layer, offset, inode.size),
            Content::Object(digest) => self.object(&digest, inode.size),
        }
    }

    fn is_stateless(&self) -> bool {
        true
    }

    fn list_xattr(&self, id: NodeId) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for xattr in self.index.xattrs(self.number(id)?)? {
            let (name, _) = xattr?;
            if !is_private_xattr(name) {
                out.extend_from_slice(name);
                out.push(0);
            }
        }
        Ok(out)
    }

    fn get_xattr(&self, id: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        if is_private_xattr(name) {
            return Ok(None);
        }
        for xattr in self.index.xattrs(self.number(id)?)? {
            let (found, value) = xattr?;
            if found == name {
                return Ok(Some(value.to_vec()));
            }
        }
        Ok(None)
    }

    fn statfs(&self) -> Result<StatFs> {
        loc::statfs(self.file.as_fd())
    }

    fn fingerprint(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.index.identity().as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}
