//! The layers' shares of directories: opened when a directory is met, and kept open for a while.

use super::listing::{Listing, ListingEntry};
use super::merge::{Part, Stack};
use super::table::DirNode;
use crate::sys::Loc;
use crate::sys::process::fd_budget;
use crate::sys::recent::recent;
use crate::vfs::cookie::CookieKey;
use crate::vfs::{Error, InoSpace, NodeId, Result};
use lru::LruCache;
use nix::errno::Errno;
use parking_lot::Mutex;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

/// Directories of layers kept open at most.
const OPEN_DIRS: usize = 8192;

/// A stack of layers and what is open of it.
pub struct Shares {
    /// The layers.
    pub stack: Stack,
    /// Whence nodes get their numbers.
    pub space: Arc<InoSpace>,
    key: CookieKey,
    open: Mutex<LruCache<(NodeId, u16), Arc<OwnedFd>>>,
}

impl Shares {
    /// Nothing is open yet.
    pub fn new(stack: Stack, space: Arc<InoSpace>, key: CookieKey) -> Shares {
        Shares {
            stack,
            space,
            key,
            open: Mutex::new(recent(fd_budget(30, OPEN_DIRS))),
        }
    }

    /// The merged listing of a directory.
    pub fn listing(&self, dir: &DirNode) -> Result<Arc<Listing>> {
        if let Some(listing) = dir.listing.get() {
            return Ok(listing.clone());
        }
        let made = Arc::new(self.stack.list(&dir.parts, &self.key)?);
        Ok(dir.listing.get_or_init(|| made).clone())
    }

    /// The open directory of one layer's share.
    pub fn part_fd(&self, dir: &DirNode, part: &Part) -> Result<Arc<OwnedFd>> {
        let key = (dir.id, part.layer);
        if let Some(fd) = self.open.lock().get(&key) {
            return Ok(fd.clone());
        }
        let fd = Arc::new(self.stack.open(part)?);
        let evicted = self.open.lock().push(key, fd.clone());
        drop(evicted); // closed outside the lock
        Ok(fd)
    }

    /// A layer's share, and which it is.
    pub fn part(dir: &DirNode, layer: u16) -> Result<(usize, &Part)> {
        dir.parts
            .iter()
            .enumerate()
            .find(|(_, p)| p.layer == layer)
            .ok_or_else(|| Error::because(Errno::EIO, "entry of a layer that has no part"))
    }

    /// Meets a subdirectory for the first time.
    pub fn meet(
        &self,
        parent: &Arc<DirNode>,
        listing: &Listing,
        at: u32,
        entry: &ListingEntry,
    ) -> Result<Arc<DirNode>> {
        let name = listing.name(entry);
        let only = listing.layers(entry);
        let open = |part: &Part| self.open.lock().peek(&(parent.id, part.layer)).cloned();
        let met = self
            .stack
            .meet(&parent.parts, &open, (name, only), &self.key)?;
        let first = met.fds.first().ok_or_else(|| Error::new(Errno::EIO))?;
        let st = Loc::Fd(first.as_fd()).stat()?;
        let id = self.space.node(st.st_dev, st.st_ino);
        let place = Some((parent.clone(), name.into()));
        let layers = met.parts.iter().map(|part| (id, part.layer));
        let fds: Vec<_> = layers.zip(met.fds.into_iter().map(Arc::new)).collect();
        let dir = Arc::new(DirNode::new(id, place, met.parts, met.listing));
        {
            let mut known = parent.known.lock();
            // another thread may have met it meanwhile, and somebody may refer to what that one has made
            if let Some(first) = known.get(&at).and_then(Weak::upgrade) {
                return Ok(first);
            }
            known.insert(at, Arc::downgrade(&dir));
        }
        // the topmost last: it is the one that is used most
        let evicted: Vec<_> = {
            let mut open = self.open.lock();
            let push = |(key, fd)| open.push(key, fd);
            fds.into_iter().rev().filter_map(push).collect()
        };
        drop(evicted); // closed outside the lock
        Ok(dir)
    }
}
