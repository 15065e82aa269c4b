//! The tree of no layers at all: an upper alone.

use super::{Listing, Lower, Source};
use crate::vfs::{Attr, Error, Kind, NodeId, Result, StatFs};
use nix::errno::Errno;
use std::sync::Arc;

/// Knows no node, not even a root: an engine over it never asks.
#[derive(Debug)]
pub struct EmptyLower;

fn stale<T>() -> Result<T> {
    Err(Error::new(Errno::ESTALE))
}

impl Lower for EmptyLower {
    fn attr(&self, _: NodeId) -> Result<Attr> {
        stale()
    }
    fn lookup(&self, _: NodeId, _: &[u8]) -> Result<Option<Attr>> {
        stale()
    }
    fn contains(&self, _: NodeId, _: &[u8]) -> Result<Option<Kind>> {
        stale()
    }
    fn list(&self, _: NodeId) -> Result<Arc<Listing>> {
        stale()
    }
    fn pin(&self, _: NodeId) -> Result<()> {
        stale()
    }
    fn forget(&self, _: NodeId, _: u64) {}
    fn take_references(&self, _: NodeId) -> Result<Option<u64>> {
        stale()
    }
    fn place(&self, _: NodeId) -> Result<Option<(NodeId, Box<[u8]>)>> {
        stale()
    }
    fn links(&self, _: NodeId) -> Result<Vec<(NodeId, Box<[u8]>)>> {
        stale()
    }
    fn readlink(&self, _: NodeId) -> Result<Vec<u8>> {
        stale()
    }
    fn open(&self, _: NodeId) -> Result<Source> {
        stale()
    }
    fn list_xattr(&self, _: NodeId) -> Result<Vec<u8>> {
        stale()
    }
    fn get_xattr(&self, _: NodeId, _: &[u8]) -> Result<Option<Vec<u8>>> {
        stale()
    }
    fn statfs(&self) -> Result<StatFs> {
        stale()
    }
    fn fingerprint(&self) -> u64 {
        0
    }
}
