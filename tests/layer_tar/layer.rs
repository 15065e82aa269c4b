//! Layers as trees: what our reader and writer make of them.

use crate::made::{Seen, Tree};
use std::io::Read;
use vellum::image::entry::{Entry, Item, Meta};
use vellum::image::layer::{LayerReader, LayerWriter, Limits};

/// Entries with their data.
pub type Entries = Vec<(Entry, Vec<u8>)>;

/// All entries of a tar.
pub fn read(tar: &[u8]) -> Entries {
    let mut reader = LayerReader::new(tar, Limits::default());
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).unwrap();
        all.push((entry, data));
    }
    all
}

/// A tar of these.
pub fn write(entries: &Entries) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new()).unwrap();
    for (entry, data) in entries {
        writer.add(entry, &mut &**data).unwrap();
    }
    writer.finish().unwrap()
}

/// The tree that entries make.
pub fn tree(entries: Entries) -> Tree {
    let mut tree = Tree::new();
    for (entry, data) in entries {
        let name = entry.path.join(&b'/');
        let mut seen = Seen {
            kind: 'd',
            meta: Meta::default(),
            device: 0,
            target: Vec::new(),
            data,
            first: name.clone(),
        };
        (seen.kind, seen.meta) = match entry.item {
            Item::Dir(meta) => ('d', meta),
            Item::File(meta, size) => {
                assert_eq!(size, seen.data.len() as u64);
                ('f', meta)
            }
            Item::Symlink(meta, target) => {
                seen.target = target.into();
                ('l', meta)
            }
            Item::CharDev(meta, device) => {
                seen.device = device;
                ('c', meta)
            }
            Item::BlockDev(meta, device) => {
                seen.device = device;
                ('b', meta)
            }
            Item::Fifo(meta) => ('p', meta),
            Item::Hardlink(target) => {
                seen = tree[&target.join(&b'/')].clone();
                (seen.kind, seen.meta.clone())
            }
            Item::Whiteout | Item::Opaque => panic!("a mark at {name:?}"),
        };
        assert!(tree.insert(name, seen).is_none());
    }
    tree
}

/// Fails where the trees differ.
#[track_caller]
pub fn same(found: Tree, expected: &Tree) {
    for (name, seen) in expected {
        assert_eq!(found.get(name), Some(seen), "{}", name.escape_ascii());
    }
    assert_eq!(found.len(), expected.len());
}
