//! Listings of directories that were read lately.
//!
//! A reader of a large directory comes back for every page of it, so its listing is kept; but what
//! is kept is bounded, in bytes. The last one is kept however large it is.

use crate::lower::Listing;
use crate::vfs::Result;
use lru::LruCache;
use parking_lot::Mutex;
use std::sync::Arc;

/// Memory for listings, in bytes.
const MOST: usize = 8 << 20;

/// The listings of some directories, by number.
pub(super) struct Listings {
    kept: Mutex<Kept>,
    most: usize,
}

struct Kept {
    by_dir: LruCache<u32, Arc<Listing>>,
    bytes: usize,
}

impl Listings {
    /// None yet.
    pub(super) fn new() -> Listings {
        Listings::within(MOST)
    }

    fn within(most: usize) -> Listings {
        Listings {
            kept: Mutex::new(Kept {
                by_dir: LruCache::unbounded(),
                bytes: 0,
            }),
            most,
        }
    }

    /// The listing of a directory, made by `make` if it is not here.
    pub(super) fn get(
        &self,
        dir: u32,
        make: impl FnOnce() -> Result<Listing>,
    ) -> Result<Arc<Listing>> {
        if let Some(listing) = self.kept.lock().by_dir.get(&dir) {
            return Ok(listing.clone());
        }
        let listing = Arc::new(make()?);
        let gone = self.keep(dir, listing.clone());
        drop(gone); // outside the lock
        Ok(listing)
    }

    /// Keeps a listing; returns those that had to make room.
    fn keep(&self, dir: u32, listing: Arc<Listing>) -> Vec<Arc<Listing>> {
        let mut kept = self.kept.lock();
        let mut gone = Vec::new();
        kept.bytes += listing.bytes();
        if let Some(old) = kept.by_dir.put(dir, listing) {
            kept.bytes -= old.bytes();
            gone.push(old);
        }
        while kept.bytes > self.most && kept.by_dir.len() > 1 {
            let Some((_, old)) = kept.by_dir.pop_lru() else {
                break;
            };
            kept.bytes -= old.bytes();
            gone.push(old);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lower::RawListing;
    use crate::vfs::Kind;
    use crate::vfs::cookie::CookieKey;

    fn listing(entries: u32) -> Listing {
        let entries = (0..entries)
            .map(|i| (format!("{i:010}").into_bytes().into(), Kind::File, vec![]))
            .collect();
        Listing::new(RawListing { entries }, &CookieKey::new())
    }

    fn none() -> Result<Listing> {
        panic!("it is kept");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let one = listing(100).bytes();
        let listings = Listings::within(3 * one);
        for dir in 0..10 {
            listings.get(dir, || Ok(listing(100))).unwrap();
        }
        assert_eq!(listings.kept.lock().by_dir.len(), 3);
        assert_eq!(listings.kept.lock().bytes, 3 * one);
        for dir in 7..10 {
            listings.get(dir, none).unwrap();
        }
    }

    #[test]
    fn a_large_one_is_kept_alone() {
        let listings = Listings::within(100);
        listings.get(1, || Ok(listing(5))).unwrap();
        listings.get(2, || Ok(listing(1000))).unwrap();
        let kept = listings.get(2, none).unwrap();
        assert_eq!(kept.entries().len(), 1000);
        assert_eq!(listings.kept.lock().by_dir.len(), 1);
        assert_eq!(listings.kept.lock().bytes, kept.bytes());
    }
}
