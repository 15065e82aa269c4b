//! A directory of a lower, whole: the names of all layers merged, in the order of their cookies.
//!
//! It answers a lookup by one binary search, a missing name without any system call, and
//! `readdir` from any cookie. Names lie end to end in one buffer; an entry takes 24 bytes.

use crate::vfs::Kind;
use crate::vfs::cookie::CookieKey;

/// One entry.
#[derive(Clone, Copy, Debug)]
pub struct ListingEntry {
    /// Where `readdir` goes on after it.
    pub cookie: u64,
    name_at: u32,
    /// The layers that may take part, as a range of [`Listing::layers`]; empty but for directories.
    layers_at: u32,
    layers_len: u16,
    /// The topmost layer that has it.
    pub layer: u16,
    name_len: u16,
    /// The type.
    pub kind: Kind,
}

/// A merged directory.
#[derive(Debug, Default)]
pub struct Listing {
    entries: Box<[ListingEntry]>,
    names: Box<[u8]>,
    layers: Box<[u16]>,
    key: CookieKey,
}

/// What a [`Listing`] is made from.
#[derive(Debug)]
pub struct RawListing {
    /// Name, type, the layers that have it (topmost first; one but for directories).
    pub entries: Vec<(Box<[u8]>, Kind, Vec<u16>)>,
}

impl Listing {
    /// Sorts entries into a listing.
    pub fn new(raw: RawListing, key: &CookieKey) -> Listing {
        let mut order: Vec<(u64, usize)> = raw
            .entries
            .iter()
            .enumerate()
            .map(|(i, (name, ..))| (key.of(name), i))
            .collect();
        order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0)
                .then_with(|| raw.entries[a.1].0.cmp(&raw.entries[b.1].0))
        });
        let mut names = Vec::with_capacity(raw.entries.iter().map(|e| e.0.len()).sum());
        let mut layers = Vec::new();
        let mut entries = Vec::with_capacity(order.len());
        for (cookie, i) in order {
            let (name, kind, of) = &raw.entries[i];
            let (name_at, layers_at) = (names.len() as u32, layers.len() as u32);
            names.extend_from_slice(name);
            if *kind == Kind::Dir {
                layers.extend_from_slice(of);
            }
            entries.push(ListingEntry {
                cookie,
                name_at,
                name_len: name.len() as u16,
                layer: of.first().copied().unwrap_or(0),
                layers_at,
                layers_len: (layers.len() as u32 - layers_at) as u16,
                kind: *kind,
            });
        }
        Listing {
            entries: entries.into(),
            names: names.into(),
            layers: layers.into(),
            key: key.clone(),
        }
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.entries) + self.names.len() + size_of_val(&*self.layers)
    }

    /// All entries, by cookie.
    pub fn entries(&self) -> &[ListingEntry] {
        &self.entries
    }

    /// The name of an entry.
    pub fn name(&self, entry: &ListingEntry) -> &[u8] {
        let at = entry.name_at as usize;
        &self.names[at..at + usize::from(entry.name_len)]
    }

    /// The layers that have a directory of this entry's name, topmost first.
    pub fn layers(&self, entry: &ListingEntry) -> &[u16] {
        let at = entry.layers_at as usize;
        &self.layers[at..at + usize::from(entry.layers_len)]
    }

    /// Finds a name, and the place of its entry.
    pub fn find(&self, name: &[u8]) -> Option<(usize, &ListingEntry)> {
        let cookie = self.key.of(name);
        let first = self.entries.partition_point(|e| e.cookie < cookie);
        self.entries[first..]
            .iter()
            .take_while(|e| e.cookie == cookie)
            .position(|e| self.name(e) == name)
            .map(|i| (first + i, &self.entries[first + i]))
    }

    /// Number of subdirectories.
    pub fn subdirs(&self) -> u32 {
        self.entries.iter().filter(|e| e.kind == Kind::Dir).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_stays_small() {
        assert_eq!(size_of::<ListingEntry>(), 24);
    }

    #[test]
    fn finds_what_is_there_and_nothing_else() {
        let raw = RawListing {
            entries: (0..1000u32)
                .map(|i| (i.to_string().into_bytes().into(), Kind::File, vec![3]))
                .chain([(b"d".to_vec().into(), Kind::Dir, vec![1, 2])])
                .collect(),
        };
        let listing = Listing::new(raw, &CookieKey::new());
        assert_eq!(listing.entries().len(), 1001);
        assert!(listing.entries().is_sorted_by_key(|e| e.cookie));
        for i in 0..1000u32 {
            let (_, e) = listing.find(i.to_string().as_bytes()).unwrap();
            assert_eq!((e.kind, e.layer), (Kind::File, 3));
        }
        assert!(listing.find(b"1000").is_none());
        let (_, d) = listing.find(b"d").unwrap();
        assert_eq!(listing.layers(d), [1, 2]);
        assert_eq!(listing.subdirs(), 1);
    }
}
