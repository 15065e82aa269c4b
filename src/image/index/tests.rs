//! What is written is read; what was damaged is an error; what was made up is never a panic.

use super::{Index, write};
use crate::image::digest::Digest;
use crate::image::entry::Meta;
use crate::image::spill::Records;
use crate::image::tree::{Content, Kind, NONE, Tree};
use crate::vfs;
use nix::errno::Errno;
use std::io::Cursor;

/// A tree to be put together.
struct Maker(Tree);

impl Maker {
    fn new() -> Maker {
        let layers = vec![Digest::of(b"one"), Digest::of(b"two")];
        Maker(Tree::new(layers, &meta(0o755)).unwrap())
    }

    fn add(&mut self, dir: u32, name: &str, kind: Kind, meta: Meta) -> u32 {
        self.0.add(dir, name.as_bytes(), kind, &meta).unwrap()
    }

    fn link(&mut self, dir: u32, name: &str, number: u32) {
        self.0.link(dir, name.as_bytes(), number).unwrap();
    }

    fn dir(&mut self, dir: u32, name: &str) -> u32 {
        self.add(dir, name, Kind::Dir, meta(0o755))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        write(&self.0, &mut out).unwrap();
        out.into_inner()
    }
}

fn meta(perm: u32) -> Meta {
    Meta {
        perm,
        uid: 7,
        gid: 8,
        mtime: -5,
        mtime_nsec: 123,
        xattrs: Vec::new(),
    }
}

fn with_xattrs(perm: u32, xattrs: &[(&str, &[u8])]) -> Meta {
    Meta {
        xattrs: xattrs
            .iter()
            .map(|(n, v)| (n.as_bytes().into(), (*v).into()))
            .collect(),
        ..meta(perm)
    }
}

fn packed(layer: u32, offset: u64, size: u64) -> Kind {
    let content = Content::Packed { layer, offset };
    Kind::File { size, content }
}

/// One of everything.
fn small() -> Maker {
    let mut m = Maker::new();
    let etc = m.dir(0, "etc");
    let same: &[(&str, &[u8])] = &[("security.capability", b"\x01\0\0\x02"), ("user.a", b"")];
    m.add(
        etc,
        "packed",
        packed(1, 4096, 10),
        with_xattrs(0o4755, same),
    );
    let content = Content::Object(Digest::of(b"large"));
    let large = Kind::File {
        size: 1 << 40,
        content,
    };
    m.add(0, "large", large, with_xattrs(0o600, same));
    let empty = Kind::File {
        size: 0,
        content: Content::Empty,
    };
    m.add(etc, "empty", empty, with_xattrs(0o644, &[("user.b", b"v")]));
    let target = Kind::Symlink(b"../x y/\xff".as_slice().into());
    m.add(etc, "link", target, meta(0o777));
    m.add(0, "null", Kind::CharDev(0x103), meta(0o666));
    m.add(0, "sda", Kind::BlockDev(0x800), meta(0o660));
    m.add(0, "fifo", Kind::Fifo, meta(0o600));
    let twice = m.add(0, "twice", packed(0, 0, 5), meta(0o644));
    let deep = m.dir(etc, "deep");
    m.link(deep, "again", twice);
    m.link(etc, "packed2", twice);
    m.add(deep, "ünï", Kind::Fifo, meta(0));
    m
}

/// All that an index says, as text.
fn said(index: &Index<&[u8]>) -> vfs::Result<String> {
    use std::fmt::Write as _;
    let mut out = format!("{:?} {:?}\n", index.layers()?, index.objects()?);
    for i in 0..index.inodes() {
        let inode = index.inode(i)?;
        let xattrs = index.xattrs(i)?.collect::<vfs::Result<Vec<_>>>()?;
        let place = index.place(i)?;
        write!(out, "{inode:?} {place:?} {:?} {xattrs:?}", index.links(i)?).unwrap();
        match inode.kind {
            vfs::Kind::Dir => {
                for entry in index.entries(i, 0)? {
                    let entry = entry?;
                    let found = index.lookup(i, entry.name)?;
                    write!(out, " {entry:?} {found:?}").unwrap();
                }
            }
            vfs::Kind::File => write!(out, " {:?}", index.content(i)?).unwrap(),
            vfs::Kind::Symlink => write!(out, " {:?}", index.target(i)?).unwrap(),
            _ => {}
        }
        out.push('\n');
    }
    Ok(out)
}

#[test]
fn every_kind_of_file_is_read_as_it_was_written() {
    let bytes = small().bytes();
    let index = Index::new(&bytes[..]).unwrap();
    index.check().unwrap();
    let find = |path: &str| {
        path.split('/').fold(0, |dir, name| {
            let found = index.lookup(dir, name.as_bytes()).unwrap();
            found.unwrap_or_else(|| panic!("{path}")).inode
        })
    };
    let packed = index.inode(find("etc/packed")).unwrap();
    assert_eq!((packed.kind, packed.perm), (vfs::Kind::File, 0o4755));
    assert_eq!((packed.uid, packed.gid, packed.nlink), (7, 8, 1));
    assert_eq!((packed.mtime.sec, packed.mtime.nsec), (-5, 123));
    let offset = 4096;
    let content = Content::Packed { layer: 1, offset };
    assert_eq!(index.content(packed.number).unwrap(), content);
    let large = Content::Object(Digest::of(b"large"));
    assert_eq!(index.content(find("large")).unwrap(), large);
    assert_eq!(index.inode(find("large")).unwrap().size, 1 << 40);
    assert_eq!(index.content(find("etc/empty")).unwrap(), Content::Empty);
    assert_eq!(index.target(find("etc/link")).unwrap(), b"../x y/\xff");
    for (name, kind, rdev) in [
        ("null", vfs::Kind::CharDev, 0x103),
        ("sda", vfs::Kind::BlockDev, 0x800),
        ("fifo", vfs::Kind::Fifo, 0),
    ] {
        let inode = index.inode(find(name)).unwrap();
        assert_eq!((inode.kind, inode.rdev), (kind, rdev), "{name}");
        assert!(index.content(inode.number).unwrap_err().is(Errno::EINVAL));
        assert!(index.target(inode.number).unwrap_err().is(Errno::EINVAL));
    }
    assert_eq!(index.inode(0).unwrap().nlink, 3);
    assert_eq!(index.inode(find("etc")).unwrap().nlink, 3);
    assert_eq!(index.place(0).unwrap(), None);
    let (etc, deep) = (find("etc"), find("etc/deep"));
    assert_eq!(index.place(deep).unwrap(), Some((etc, &b"deep"[..])));
    let twice = find("twice");
    assert_eq!(find("etc/deep/again"), twice);
    assert_eq!(index.inode(twice).unwrap().nlink, 3);
    let links = index.links(twice).unwrap();
    let names: [(u32, &[u8]); 3] = [(0, b"twice"), (etc, b"packed2"), (deep, b"again")];
    assert_eq!(links, names);
    assert!(index.lookup(0, b"etc2").unwrap().is_none());
    assert!(index.lookup(twice, b"x").unwrap_err().is(Errno::ENOTDIR));
    assert!(index.inode(index.inodes()).is_err());
}

#[test]
fn attributes_are_shared() {
    let bytes = small().bytes();
    let index = Index::new(&bytes[..]).unwrap();
    let of = |i| {
        let all: vfs::Result<Vec<_>> = index.xattrs(i).unwrap().collect();
        all.unwrap()
    };
    let number = |dir, name: &[u8]| index.lookup(dir, name).unwrap().unwrap().inode;
    let (large, etc) = (number(0, b"large"), number(0, b"etc"));
    let packed = number(etc, b"packed");
    let both: [(&[u8], &[u8]); 2] = [(b"security.capability", b"\x01\0\0\x02"), (b"user.a", b"")];
    assert_eq!(of(large), both);
    assert_eq!(of(packed), both);
    let set = |i| index.inode(i).unwrap().xattrs;
    assert_eq!(set(large), set(packed));
    assert_eq!(of(number(etc, b"empty")), [(&b"user.b"[..], &b"v"[..])]);
    assert_eq!(of(0), []);
}

#[test]
fn a_large_directory_is_searched() {
    let mut m = Maker::new();
    let dir = m.dir(0, "d");
    for i in 0..100_000u32 {
        m.add(dir, &format!("f{i}"), packed(0, i.into(), 1), meta(0o644));
    }
    let bytes = m.bytes();
    let index = Index::new(&bytes[..]).unwrap();
    for i in (0..100_000u32).step_by(997).chain([99_999]) {
        let found = index.lookup(dir, format!("f{i}").as_bytes()).unwrap();
        let found = found.unwrap();
        let content = Content::Packed {
            layer: 0,
            offset: i.into(),
        };
        assert_eq!(index.content(found.inode).unwrap(), content);
    }
    assert!(index.lookup(dir, b"f100000").unwrap().is_none());
    // in pages, from where the last one ended
    let (mut seen, mut from) = (0, 0);
    loop {
        let mut page = index.entries(dir, from).unwrap();
        seen += page.by_ref().take(999).filter(Result::is_ok).count();
        if page.place() == from {
            break;
        }
        from = page.place();
    }
    assert_eq!(seen, 100_000);
    index.check().unwrap();
}

#[test]
fn one_tree_is_one_sequence_of_bytes() {
    assert_eq!(small().bytes(), small().bytes());
    let mut other = small();
    other.0.nodes.change(3, |node| node.uid = 9).unwrap();
    let (a, b) = (small().bytes(), other.bytes());
    let identity = |bytes: &[u8]| Index::new(bytes).unwrap().identity();
    assert_ne!(identity(&a), identity(&b));
}

/// The format changes only with its version: indexes of other builds are out there.
#[test]
fn the_format_is_the_one_of_the_golden_file() {
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/small.vellum-index"
    );
    let bytes = small().bytes();
    if std::env::var_os("VELLUM_GOLDEN").is_some_and(|v| v == "write") {
        std::fs::write(golden, &bytes).unwrap();
    }
    let kept = std::fs::read(golden).unwrap();
    let differs = kept.iter().zip(&bytes).position(|(a, b)| a != b);
    assert!(
        kept == bytes,
        "the format changed (first at byte {differs:?}): raise VERSION, describe it in \
         docs/index-format.md, and write the file anew with VELLUM_GOLDEN=write"
    );
    assert_eq!(bytes[8..12], super::VERSION.to_le_bytes());
}

#[test]
fn another_version_is_told_from_damage() {
    let mut bytes = small().bytes();
    bytes[8] = 2;
    let refused = Index::new(&bytes[..]).map(drop).unwrap_err();
    assert!(refused.is(Errno::ESTALE), "{refused}");
    bytes[0] = b'v';
    let refused = Index::new(&bytes[..]).map(drop).unwrap_err();
    assert!(refused.is(Errno::EIO), "{refused}");
}

#[test]
fn a_file_that_ends_early_is_refused() {
    let bytes = small().bytes();
    for len in 0..bytes.len() {
        let cut = Index::new(&bytes[..len]).map(drop).unwrap_err();
        assert!(cut.is(Errno::EIO), "{len}: {cut}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(Index::new(&longer[..]).is_err());
}

#[test]
fn a_flipped_byte_is_an_error_and_never_other_data() {
    let bytes = small().bytes();
    let right = said(&Index::new(&bytes[..]).unwrap()).unwrap();
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            let Ok(index) = Index::new(&bytes[..]) else {
                continue;
            };
            assert!(index.check().is_err(), "byte {at}");
            if let Ok(said) = said(&index) {
                assert_eq!(said, right, "byte {at}");
            }
        }
    }
}

/// Damage to one block concerns what is in it: the rest is read.
#[test]
fn damage_is_where_it_is() {
    let mut m = Maker::new();
    for i in 0..1000 {
        m.add(0, &format!("f{i}"), packed(0, i, 1), meta(0o644));
    }
    let mut bytes = m.bytes();
    bytes[8 * 4096 + 5] ^= 4; // inode records, 64 a block
    let index = Index::new(&bytes[..]).unwrap();
    let bad = |i: &u32| index.inode(*i).is_err();
    let first = (8 * 4096 - 256) / 64;
    let damaged: Vec<u32> = (0..1001).filter(bad).collect();
    assert_eq!(damaged, (first..first + 64).collect::<Vec<u32>>());
}

/// Makes all checksums right, so that it is the reader itself that is asked.
fn seal(bytes: &mut [u8], sums: usize) {
    let superblock = 256;
    let identity = Digest::of(&bytes[superblock..sums]);
    bytes[40..72].copy_from_slice(identity.as_bytes());
    let table = crc32c::crc32c(&bytes[superblock..sums]);
    bytes[sums..].copy_from_slice(&table.to_le_bytes());
    let of_table = crc32c::crc32c(&bytes[sums..]);
    bytes[32..36].copy_from_slice(&of_table.to_le_bytes());
    let own = crc32c::crc32c(&bytes[..superblock - 4]);
    bytes[superblock - 4..superblock].copy_from_slice(&own.to_le_bytes());
}

/// Asks everything of bytes that nobody wrote. What passes the check answers everything.
fn interrogate(bytes: &[u8], what: &str) {
    let Ok(index) = Index::new(bytes) else {
        return;
    };
    let (said, checked) = (said(&index), index.check());
    assert!(said.is_ok() || checked.is_err(), "{what}: {said:?}");
    for i in 0..index.inodes().min(20) {
        // each by itself: one error does not keep the next from being tried
        let entries = index.entries(i, 0).map(Iterator::count);
        let xattrs = index.xattrs(i).map(Iterator::count);
        let rest = (index.links(i), index.content(i), index.target(i));
        assert!(entries.is_err() || entries.is_ok_and(|n| n <= 20));
        assert!(xattrs.is_err() || xattrs.is_ok_and(|n| n <= 20));
        drop(rest);
    }
}

fn sums_of(bytes: &[u8]) -> usize {
    u64::from_le_bytes(bytes[24..32].try_into().unwrap()) as usize
}

#[test]
fn a_made_up_byte_is_an_error_or_an_answer() {
    let bytes = small().bytes();
    let sums = sums_of(&bytes);
    for at in 0..sums {
        for value in [0, 1, 0x7f, 0xff, bytes[at] ^ 1] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            seal(&mut bytes, sums);
            interrogate(&bytes, &format!("byte {at}"));
        }
    }
}

#[test]
fn made_up_words_are_an_error_or_an_answer() {
    let bytes = small().bytes();
    let sums = sums_of(&bytes);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for case in 0..10_000 {
        let mut bytes = bytes.clone();
        for _ in 0..=random() % 4 {
            let at = random() as usize % (sums / 4) * 4;
            let value = match random() % 5 {
                0 => random() as u32,
                1 => u32::MAX - random() as u32 % 3,
                2 => 1 << 31,
                // such as other records have: it may lead somewhere
                _ => random() as u32 % 16,
            };
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        seal(&mut bytes, sums);
        interrogate(&bytes, &format!("case {case}"));
    }
}

#[test]
fn a_tree_that_does_not_hold_together_is_not_written() {
    let refused = |change: &dyn Fn(&mut Tree)| {
        let mut m = small();
        change(&mut m.0);
        let said = write(&m.0, &mut Cursor::new(Vec::new()));
        said.is_err_and(|e| e.is(Errno::EINVAL))
    };
    let intern = |t: &mut Tree, text: &[u8]| t.strings.intern(text).unwrap();
    assert!(!refused(&|_| ()));
    assert!(refused(&|t| t.nodes = Records::new(&t.pages)));
    assert!(refused(&|t| t.nodes.change(2, |n| n.name = NONE).unwrap()));
    assert!(refused(&|t| t.layers.clear()));
    assert!(refused(&|t| {
        let name = t.nodes.get(2).unwrap().name;
        t.names.change(name, |n| n.dir = 99).unwrap();
    }));
    assert!(refused(&|t| {
        let mut set = Vec::new();
        for text in [&b"user.a"[..], b"", b"user.a", b""] {
            set.extend_from_slice(&intern(t, text).number().to_ne_bytes());
        }
        let set = t.sets.intern(&set).unwrap().number();
        t.nodes.change(2, |n| n.xattrs = set).unwrap();
    }));
    assert!(refused(&|t| t.link(0, b"a/b", 2).unwrap()));
    // a directory with two names
    assert!(refused(&|t| t.link(0, b"etc2", 1).unwrap()));
}
