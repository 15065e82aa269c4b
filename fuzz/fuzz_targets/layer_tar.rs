//! Tars: what is read obeys the rules of entries, and is read back after it is written.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::io::Read;
use vellum::image::entry::{Entry, Item, Meta, Path};
use vellum::image::layer::{LayerReader, LayerWriter, Limits};
use vellum::vfs::whiteout::is_private_xattr;

/// A piece of a tar.
#[derive(Arbitrary, Debug)]
enum Piece {
    /// Anything.
    Raw(Vec<u8>),
    /// A header with a right checksum, and its data.
    Header(Header),
    /// PAX records of keys that mean something.
    Records(bool, Vec<(u8, Vec<u8>)>),
}

#[derive(Arbitrary, Debug)]
struct Header {
    kind: u8,
    dialect: u8,
    name: Vec<u8>,
    target: Vec<u8>,
    /// What the fields after the name are overwritten with, and where.
    patches: Vec<(u16, u8)>,
    data: Vec<u8>,
}

const KINDS: &[u8] = b"01234567LKxgS\0V";
const DIALECTS: [&[u8; 8]; 3] = [b"ustar\x0000", b"ustar  \0", &[0; 8]];
const KEYS: [&str; 20] = [
    "path",
    "linkpath",
    "size",
    "uid",
    "gid",
    "mtime",
    "SCHILY.devmajor",
    "SCHILY.xattr.user.a",
    "SCHILY.xattr.user.%3D",
    "SCHILY.xattr.trusted.overlay.opaque",
    "SCHILY.acl.access",
    "LIBARCHIVE.xattr.user.%61",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.name",
    "GNU.sparse.realsize",
    "GNU.sparse.size",
    "GNU.sparse.map",
    "GNU.sparse.offset",
    "GNU.sparse.numbytes",
];

fn put(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

impl Header {
    fn block(&self) -> [u8; 512] {
        let mut block = [0; 512];
        put(&mut block[..100], &self.name);
        put(
            &mut block[124..136],
            format!("{:011o}", self.data.len()).as_bytes(),
        );
        block[156] = KINDS[usize::from(self.kind) % KINDS.len()];
        put(&mut block[157..257], &self.target);
        put(
            &mut block[257..265],
            DIALECTS[usize::from(self.dialect) % 3],
        );
        for (at, byte) in &self.patches {
            block[usize::from(*at) % 512] = *byte;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        put(&mut block[148..156], format!("{sum:06o}\0").as_bytes());
        block
    }
}

fn append(tar: &mut Vec<u8>, header: &Header) {
    tar.extend(header.block());
    tar.extend(&header.data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

fn records(list: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in list {
        let key = KEYS[usize::from(*key) % KEYS.len()];
        let rest = key.len() + value.len() + 3;
        let len = (rest + 1..)
            .find(|len| rest + len.to_string().len() == *len)
            .unwrap_or_default();
        text.extend(format!("{len} {key}=").as_bytes());
        text.extend(value);
        text.push(b'\n');
    }
    text
}

fn tar(pieces: &[Piece]) -> Vec<u8> {
    let mut tar = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Raw(bytes) => tar.extend(bytes),
            Piece::Header(header) => append(&mut tar, header),
            Piece::Records(global, list) => append(
                &mut tar,
                &Header {
                    kind: if *global { 11 } else { 10 },
                    dialect: 0,
                    name: Vec::new(),
                    target: Vec::new(),
                    patches: Vec::new(),
                    data: records(list),
                },
            ),
        }
    }
    tar
}

fn limits() -> Limits {
    Limits {
        pax_bytes: 1 << 13,
        name_bytes: 1 << 10,
        entries: 64,
        segments: 16,
        file_bytes: 1 << 16,
        total_bytes: 1 << 18,
        ..Limits::default()
    }
}

/// Entries as far as they can be read, and whether that is to the end.
fn read(tar: &[u8], limits: Limits) -> (Vec<(Entry, Vec<u8>)>, bool) {
    let mut reader = LayerReader::new(tar, limits);
    let mut all = Vec::new();
    loop {
        let entry = match reader.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                assert!(reader.into_inner().is_empty());
                return (all, true);
            }
            Err(error) => {
                assert_eq!(reader.next_entry(), Err(error));
                return (all, false);
            }
        };
        let mut data = Vec::new();
        if reader.read_to_end(&mut data).is_err() {
            assert!(reader.next_entry().is_err());
            return (all, false);
        }
        all.push((entry, data));
    }
}

fn check_path(path: &Path) {
    for part in path {
        assert!((1..=255).contains(&part.len()));
        assert!(&**part != b"." && &**part != b"..");
        assert!(!part.iter().any(|b| matches!(b, 0 | b'/')));
        assert!(!part.starts_with(b".wh."));
    }
}

fn check_meta(meta: &Meta) {
    assert!(meta.perm <= 0o7777 && meta.mtime_nsec < 1_000_000_000);
    assert!(meta.xattrs.is_sorted_by(|a, b| a.0 < b.0));
    assert!(
        !meta
            .xattrs
            .iter()
            .any(|(n, _)| n.is_empty() || is_private_xattr(n))
    );
}

fn check(entry: &Entry, data: &[u8]) {
    check_path(&entry.path);
    let root = entry.path.is_empty();
    assert!(!root || matches!(entry.item, Item::Dir(_) | Item::Opaque));
    let mut size = 0;
    match &entry.item {
        Item::File(meta, told) => {
            size = *told;
            check_meta(meta);
        }
        Item::Symlink(meta, target) => {
            assert!(!target.is_empty() && !target.contains(&0));
            check_meta(meta);
        }
        Item::Hardlink(target) => {
            assert!(!target.is_empty());
            check_path(target);
        }
        Item::CharDev(meta, device) => {
            assert_ne!(*device, 0);
            check_meta(meta);
        }
        Item::Dir(meta) | Item::BlockDev(meta, _) | Item::Fifo(meta) => check_meta(meta),
        Item::Whiteout | Item::Opaque => {}
    }
    assert_eq!(data.len() as u64, size);
}

fuzz_target!(|pieces: Vec<Piece>| {
    let (entries, _) = read(&tar(&pieces), limits());
    let mut writer = LayerWriter::new(Vec::new()).unwrap();
    for (entry, data) in &entries {
        check(entry, data);
        writer
            .add(entry, &mut &**data)
            .expect("what is read can be written");
    }
    let written = writer.finish().expect("a vector takes it");
    assert_eq!(read(&written, Limits::default()), (entries, true));
});
