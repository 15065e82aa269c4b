//! A [`Lower`] over directories: `A:B:C`, topmost first, merged lazily.
//!
//! A directory is merged when it is first looked into: the listings of all layers that have it
//! are read once, and from then on a name costs one search, however many layers there are. A
//! file's attributes are asked of the one layer that has it.

use super::ahead::Ahead;
use super::layer::{self, Layer};
use super::links::LinkMap;
use super::listing::{Listing, ListingEntry};
use super::merge::{Part, Stack};
use super::shares::Shares;
use super::table::{DirNode, Node, Table};
use super::{Lower, Source};
use crate::sys::{Loc, Ownership, loc, xattr};
use crate::vfs::cookie::CookieKey;
use crate::vfs::error::Context;
use crate::vfs::whiteout::{NAME_MAX, is_private_xattr};
use crate::vfs::{Attr, Error, InoSpace, Kind, NodeId, Result, StatFs, Time};
use nix::errno::Errno;
use parking_lot::Mutex;
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

/// Layers stacked at most: layer numbers are 16 bits wide, and inode numbers keep 12 of them.
pub const MAX_LAYERS: usize = 4000;

/// The merged tree of a stack of directories.
pub struct DirsLower {
    pub(super) shares: Arc<Shares>,
    root: Arc<DirNode>,
    table: Table,
    pub(super) ahead: Ahead,
    pub(super) links: Vec<OnceLock<LinkMap>>,
    /// Where directories with redirects are in the tree.
    pub(super) moved: OnceLock<Vec<Vec<Vec<u8>>>>,
    /// How many names of a file with several show.
    pub(super) shown: Mutex<HashMap<NodeId, u32>>,
    fingerprint: u64,
}

impl DirsLower {
    /// Opens the layers, topmost first.
    pub fn open(
        paths: &[PathBuf],
        space: Arc<InoSpace>,
        key: CookieKey,
        ownership: Ownership,
    ) -> Result<DirsLower> {
        if paths.len() > MAX_LAYERS {
            return Err(Error::because(
                Errno::E2BIG,
                format!(
                    "{} layers; at most {MAX_LAYERS} can be stacked",
                    paths.len()
                ),
            ));
        }
        let layers = paths
            .iter()
            .map(|p| Layer::open(p))
            .collect::<Result<Vec<_>>>()?;
        let mut hasher = DefaultHasher::new();
        for l in &layers {
            let st = Loc::Fd(l.root.as_fd()).stat()?;
            space.node(st.st_dev, st.st_ino);
            (st.st_ino, paths.len()).hash(&mut hasher);
        }
        let stack = Stack { layers, ownership };
        let root = Arc::new(DirNode::new(NodeId::ROOT, None, stack.root()?, None));
        let links = stack.layers.iter().map(|_| OnceLock::new()).collect();
        let shares = Arc::new(Shares::new(stack, space, key));
        Ok(DirsLower {
            links,
            moved: OnceLock::new(),
            shown: Mutex::default(),
            ahead: Ahead::new(shares.clone())?,
            shares,
            root,
            table: Table::default(),
            fingerprint: hasher.finish(),
        })
    }

    /// Number of nodes that somebody refers to.
    pub fn nodes(&self) -> usize {
        self.table.len()
    }

    fn node(&self, id: NodeId) -> Result<Node> {
        if id == NodeId::ROOT {
            return Ok(Node::Dir(self.root.clone()));
        }
        self.table.get(id)
    }

    pub(super) fn dir(&self, id: NodeId) -> Result<Arc<DirNode>> {
        match self.node(id)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(..) => Err(Error::new(Errno::ENOTDIR)),
        }
    }

    /// Calls `then` with the place of a file in its layer.
    fn with_file<T>(
        &self,
        dir: &DirNode,
        at: u32,
        then: impl FnOnce(Loc<'_>, usize, &[u8]) -> Result<T>,
    ) -> Result<T> {
        let listing = self.shares.listing(dir)?;
        let entry = listing
            .entries()
            .get(at as usize)
            .ok_or_else(|| Error::new(Errno::ESTALE))?;
        let (i, part) = Shares::part(dir, entry.layer)?;
        let fd = self.shares.part_fd(dir, part)?;
        let name = listing.name(entry);
        then(Loc::At(fd.as_fd(), name), i, name).context(|| {
            format!(
                "{}, file {:?}",
                self.shares.stack.say(part),
                String::from_utf8_lossy(name)
            )
        })
    }

    /// Calls `then` with the place of any node in its (topmost) layer.
    fn with_loc<T>(&self, id: NodeId, then: impl FnOnce(Loc<'_>) -> Result<T>) -> Result<T> {
        match self.node(id)? {
            Node::File(dir, at) => self.with_file(&dir, at, |l, _, _| then(l)),
            Node::Dir(dir) => {
                let fd = self.shares.part_fd(&dir, &dir.parts[0])?;
                then(Loc::Fd(fd.as_fd()))
            }
        }
    }

    fn dir_attr(&self, dir: &DirNode) -> Result<Attr> {
        let fd = self.shares.part_fd(dir, &dir.parts[0])?;
        let mut attr = loc::attr_of(
            &self.shares.stack.ownership.stat(Loc::Fd(fd.as_fd()))?,
            dir.id,
        )?;
        if dir.parts.len() > 1 {
            attr.nlink = 2 + self.shares.listing(dir)?.subdirs();
        }
        Ok(attr)
    }

    fn look_up_dir(
        &self,
        parent: &Arc<DirNode>,
        listing: &Listing,
        at: u32,
        entry: &ListingEntry,
    ) -> Result<Attr> {
        let known = parent.known.lock().get(&at).and_then(Weak::upgrade);
        let dir = match known {
            Some(dir) => dir,
            None => self.shares.meet(parent, listing, at, entry)?,
        };
        let id = dir.id;
        let node = self.table.count(id, || Node::Dir(dir));
        match node {
            Node::Dir(dir) => self
                .dir_attr(&dir)
                .inspect_err(|_| self.table.forget(id, 1)),
            Node::File(..) => {
                self.table.forget(id, 1);
                Err(Error::because(
                    Errno::EIO,
                    "one inode number for a directory and a file",
                ))
            }
        }
    }

    fn look_up(&self, parent: &Arc<DirNode>, name: &[u8]) -> Result<Option<Attr>> {
        let listing = self.shares.listing(parent)?;
        let Some((at, entry)) = listing.find(name) else {
            return Ok(None);
        };
        self.ahead.asked(parent, &listing);
        if entry.kind == Kind::Dir {
            return self
                .look_up_dir(parent, &listing, at as u32, entry)
                .map(Some);
        }
        let (_, part) = Shares::part(parent, entry.layer)?;
        let fd = self.shares.part_fd(parent, part)?;
        let st = self
            .shares
            .stack
            .ownership
            .stat(Loc::At(fd.as_fd(), name))?;
        let id = if st.st_nlink > 1 {
            self.shares
                .space
                .linked(usize::from(entry.layer), st.st_ino)
        } else {
            self.shares.space.node(st.st_dev, st.st_ino)
        };
        let mut attr = loc::attr_of(&st, id)?;
        self.count_names(&mut attr, entry.layer, st.st_ino)?;
        self.table
            .count(id, || Node::File(parent.clone(), at as u32));
        Ok(Some(attr))
    }
}

impl Lower for DirsLower {
    fn attr(&self, id: NodeId) -> Result<Attr> {
        match self.node(id)? {
            Node::Dir(dir) => self.dir_attr(&dir),
            Node::File(dir, at) => self.with_file(&dir, at, |l, part, _| {
                let st = self.shares.stack.ownership.stat(l)?;
                let mut attr = loc::attr_of(&st, id)?;
                self.count_names(&mut attr, dir.parts[part].layer, st.st_ino)?;
                Ok(attr)
            }),
        }
    }

    fn btime(&self, id: NodeId) -> Result<Option<Time>> {
        self.with_loc(id, |l| l.btime())
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<Option<Attr>> {
        if name.len() > NAME_MAX {
            return Err(Error::new(Errno::ENAMETOOLONG));
        }
        self.look_up(&self.dir(dir)?, name)
    }

    fn contains(&self, dir: NodeId, name: &[u8]) -> Result<Option<Kind>> {
        let dir = self.dir(dir)?;
        Ok(self.shares.listing(&dir)?.find(name).map(|(_, e)| e.kind))
    }

    fn list(&self, dir: NodeId) -> Result<Arc<Listing>> {
        self.shares.listing(&*self.dir(dir)?)
    }

    fn pin(&self, id: NodeId) -> Result<()> {
        if id == NodeId::ROOT {
            return Ok(());
        }
        self.table.pin(id)
    }

    fn forget(&self, id: NodeId, n: u64) {
        self.table.forget(id, n);
    }

    fn take_references(&self, id: NodeId) -> Result<Option<u64>> {
        if id == NodeId::ROOT {
            return Ok(None);
        }
        self.table.take(id).map(Some)
    }

    fn place(&self, id: NodeId) -> Result<Option<(NodeId, Box<[u8]>)>> {
        Ok(match self.node(id)? {
            Node::Dir(dir) => dir.place.as_ref().map(|(p, name)| (p.id, name.clone())),
            Node::File(dir, at) => {
                let listing = self.shares.listing(&dir)?;
                let entry = listing
                    .entries()
                    .get(at as usize)
                    .ok_or_else(|| Error::new(Errno::ESTALE))?;
                Some((dir.id, listing.name(entry).into()))
            }
        })
    }

    fn links(&self, id: NodeId) -> Result<Vec<(NodeId, Box<[u8]>)>> {
        let Node::File(dir, at) = self.node(id)? else {
            return Ok(Vec::new());
        };
        let listing = self.shares.listing(&dir)?;
        let entry = listing
            .entries()
            .get(at as usize)
            .ok_or_else(|| Error::new(Errno::ESTALE))?;
        let ino = self.with_file(&dir, at, |l, _, _| Ok(l.stat()?.st_ino))?;
        self.names_shown(entry.layer, ino)
    }

    fn readlink(&self, id: NodeId) -> Result<Vec<u8>> {
        self.with_loc(id, |l| l.readlink())
    }

    fn open(&self, id: NodeId) -> Result<Source> {
        let Node::File(dir, at) = self.node(id)? else {
            return Err(Error::new(Errno::EISDIR));
        };
        self.with_file(&dir, at, |l, part, name| {
            let fd = open_read(l)?;
            match layer::metacopy(Loc::Fd(fd.as_fd()))? {
                None => Ok(fd),
                Some(redirect) => self.open_data(&dir.parts, part, name, redirect),
            }
        })
        .map(|fd| Source::whole(Arc::new(File::from(fd))))
    }

    fn list_xattr(&self, id: NodeId) -> Result<Vec<u8>> {
        let list = self.with_loc(id, xattr::list)?;
        let mut out = Vec::with_capacity(list.len());
        for name in xattr::names(&list).filter(|n| !is_private_xattr(n)) {
            out.extend_from_slice(name);
            out.push(0);
        }
        Ok(out)
    }

    fn get_xattr(&self, id: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        if is_private_xattr(name) {
            return Ok(None);
        }
        self.with_loc(id, |l| xattr::get(l, name))
    }

    fn origin(&self, id: NodeId) -> Option<Vec<u8>> {
        let layer = |n: u16| &self.shares.stack.layers[usize::from(n)];
        let found = match self.node(id).ok()? {
            Node::File(dir, at) => self.with_file(&dir, at, |l, part, _| {
                layer(dir.parts[part].layer).origin(l)
            }),
            Node::Dir(dir) => self
                .shares
                .part_fd(&dir, &dir.parts[0])
                .and_then(|fd| layer(dir.parts[0].layer).origin(Loc::Fd(fd.as_fd()))),
        };
        found
            .inspect_err(|e| log::debug!("a copy does without the mark of its origin: {e}"))
            .ok()?
    }

    fn statfs(&self) -> Result<StatFs> {
        loc::statfs(self.shares.stack.layers[0].root.as_fd())
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

impl DirsLower {
    /// Follows metadata-only copies down to the layer with the data.
    fn open_data(
        &self,
        parts: &[Part],
        at: usize,
        name: &[u8],
        redirect: Option<crate::vfs::whiteout::Redirect>,
    ) -> Result<OwnedFd> {
        let (mut dirs, mut name) = self.shares.stack.data_of(parts, at, name, redirect)?;
        for _ in 0..=self.shares.stack.layers.len() {
            let mut hit = None;
            for (i, part) in dirs.iter().enumerate() {
                let dir = self.shares.stack.open(part)?;
                match layer::entry(dir.as_fd(), &name)? {
                    layer::LayerEntry::Absent => {}
                    layer::LayerEntry::Present(Kind::File) => {
                        hit = Some((i, dir));
                        break;
                    }
                    _ => break,
                }
            }
            let Some((i, dir)) = hit else { break };
            let fd = open_read(Loc::At(dir.as_fd(), &name))?;
            match layer::metacopy(Loc::Fd(fd.as_fd()))? {
                None => return Ok(fd),
                Some(redirect) => {
                    (dirs, name) = self.shares.stack.data_of(&dirs, i, &name, redirect)?
                }
            }
        }
        Err(Error::because(
            Errno::EIO,
            "the data of a metadata-only copy is in no layer",
        ))
    }
}

/// Opens a lower's file. Never for writing: that is what keeps layers as they are.
fn open_read(at: Loc<'_>) -> Result<OwnedFd> {
    match at.open(OFlags::RDONLY | OFlags::NOATIME | OFlags::NONBLOCK) {
        Err(e) if e.is(Errno::EPERM) => at.open(OFlags::RDONLY | OFlags::NONBLOCK),
        other => other,
    }
}
