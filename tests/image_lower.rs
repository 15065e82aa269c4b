//! The engine over an image: everything that a lower of directories does, and what is peculiar to
//! files that lie in packs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod engine;

use common::image::Image;
use common::layers::content;
use common::posix::{acl, set_xattr, utimens};
use engine::{ROOT, at, names, read, split};
use nix::errno::Errno;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use vellum::image::index::Index;
use vellum::overlay::{Config, Engine, UpperConfig};
use vellum::vfs::{Kind, NodeId, SetAttr};

/// An image, and an upper to lay over it.
struct Bed {
    dir: TempDir,
    image: Image,
}

impl Bed {
    /// `make` fills the directory that becomes the image.
    fn new(make: impl FnOnce(&Path)) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        for name in ["plain", "upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        make(&plain);
        let image = Image::of(&plain, &dir.path().join("image"));
        Bed { dir, image }
    }

    /// One of everything.
    fn usual() -> Bed {
        Bed::new(|d| {
            fs::create_dir_all(d.join("etc/deep")).unwrap();
            fs::write(d.join("etc/a"), "aaaa").unwrap();
            fs::write(d.join("etc/b"), content(b'b', 4500)).unwrap();
            fs::write(d.join("etc/c"), "ccc").unwrap();
            fs::write(d.join("etc/empty"), "").unwrap();
            fs::write(d.join("etc/deep/large"), content(b'l', 300_000)).unwrap();
            fs::write(d.join("one"), "linked").unwrap();
            fs::hard_link(d.join("one"), d.join("etc/two")).unwrap();
            fs::hard_link(d.join("one"), d.join("etc/deep/three")).unwrap();
            symlink("../one", d.join("etc/link")).unwrap();
            let device = rustix::fs::makedev(1, 3);
            let mode = rustix::fs::Mode::from_raw_mode(0o640);
            for (name, kind) in [
                ("null", rustix::fs::FileType::CharacterDevice),
                ("disk", rustix::fs::FileType::BlockDevice),
                ("fifo", rustix::fs::FileType::Fifo),
            ] {
                rustix::fs::mknodat(rustix::fs::CWD, d.join(name), kind, mode, device).unwrap();
            }
            set_xattr(&d.join("etc/a"), b"user.x", b"value", 0).unwrap();
            set_xattr(&d.join("etc/a"), b"security.s", b"", 0).unwrap();
            let access = acl(7, 5, 4, 5, 1);
            set_xattr(&d.join("etc/c"), b"system.posix_acl_access", &access, 0).unwrap();
            utimens(&d.join("etc/a"), (-7, 11), (-7, 11)).unwrap();
        })
    }

    fn config(&self) -> Config {
        let at = |name: &str| self.dir.path().join(name);
        Config {
            upper: Some(UpperConfig::new(at("upper"), at("work"))),
            ..Config::default()
        }
    }

    fn engine(&self) -> Engine {
        Engine::over(self.image.make(), &self.config()).unwrap()
    }

    fn upper(&self, path: &str) -> PathBuf {
        self.dir.path().join("upper").join(path)
    }
}

fn chmod(e: &Engine, id: NodeId, mode: u32) {
    let set = SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    e.setattr(&ROOT, id, &set).unwrap();
}

fn truncate(e: &Engine, id: NodeId, size: u64) {
    let set = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    e.setattr(&ROOT, id, &set).unwrap();
}

#[test]
fn names_are_found_and_listed() {
    let bed = Bed::usual();
    let e = bed.engine();
    let expected: [&[u8]; 5] = [b"disk", b"etc", b"fifo", b"null", b"one"];
    assert_eq!(names(&e, NodeId::ROOT), expected);
    let etc = at(&e, "etc");
    assert_eq!((etc.kind, etc.nlink), (Kind::Dir, 3));
    let expected: [&[u8]; 7] = [b"a", b"b", b"c", b"deep", b"empty", b"link", b"two"];
    assert_eq!(names(&e, etc.ino), expected);
    assert!(e.lookup(etc.ino, b"x").unwrap().is_none());
    let a = at(&e, "etc/a");
    let st = fs::symlink_metadata(bed.dir.path().join("plain/etc/a")).unwrap();
    assert_eq!((a.size, a.blocks, a.blksize, a.nlink), (4, 1, 4096, 1));
    assert_eq!((a.perm, a.uid, a.gid), (st.mode() & 0o7777, 0, 0));
    assert_eq!((a.mtime.sec, a.mtime.nsec), (-7, 11));
    assert_eq!((a.atime, a.ctime), (a.mtime, a.mtime));
    let too_long = e.lookup(etc.ino, &[b'x'; 256]).unwrap_err();
    assert!(too_long.is(Errno::ENAMETOOLONG));
    let no_directory = e.lookup(a.ino, b"x").unwrap_err();
    assert!(no_directory.is(Errno::ENOTDIR));
    assert!(e.statfs().unwrap().blocks > 0);
    // what the listing says of a number, stat says
    e.readdir(etc.ino, 0, true, &mut |entry| {
        if let Some(attr) = entry.attr {
            assert_eq!(attr.ino, entry.ino);
            let name = String::from_utf8(entry.name.to_vec()).unwrap();
            assert_eq!(e.lookup(etc.ino, name.as_bytes()).unwrap(), Some(attr));
        }
        true
    })
    .unwrap();
}

#[test]
fn looking_keeps_nothing() {
    let bed = Bed::usual();
    let e = bed.engine();
    let before = e.nodes();
    for path in ["etc/a", "etc/deep/large", "etc/link", "one"] {
        at(&e, path); // never forgotten
    }
    names(&e, at(&e, "etc").ino);
    assert_eq!(e.nodes(), before);
}

#[test]
fn data_is_read_from_packs_and_objects() {
    let bed = Bed::usual();
    let e = bed.engine();
    assert_eq!(read(&e, at(&e, "etc/a").ino), b"aaaa");
    assert_eq!(read(&e, at(&e, "etc/b").ino), content(b'b', 4500));
    assert_eq!(read(&e, at(&e, "etc/empty").ino), b"");
    let large = at(&e, "etc/deep/large").ino;
    assert_eq!(read(&e, large), content(b'l', 300_000));
    assert!(e.backing(large, false).unwrap().source.own_file().is_some());
    let packed = e.backing(at(&e, "etc/a").ino, false).unwrap();
    assert!(packed.source.own_file().is_none());
    assert!(!packed.upper);
}

/// In a pack, other files' bytes come before and after.
#[test]
fn nothing_is_read_beyond_the_end_of_a_packed_file() {
    let bed = Bed::usual();
    let e = bed.engine();
    let id = at(&e, "etc/b").ino;
    let data = content(b'b', 4500);
    for offset in [0, 1, 4095, 4096, 4499, 4500, 4501, 5000, 1 << 40, u64::MAX] {
        let mut buf = [0xEE; 8192];
        let n = e.read(id, offset, &mut buf).unwrap();
        let expected = data.get(offset as usize..).unwrap_or_default();
        assert_eq!(&buf[..n], expected, "at {offset}");
        assert!(buf[n..].iter().all(|b| *b == 0xEE), "at {offset}");
        buf = [0xEE; 8192];
        if let Some(n) = e.read_now(id, offset, &mut buf).unwrap() {
            assert_eq!(&buf[..n], expected, "at {offset}");
            assert!(buf[n..].iter().all(|b| *b == 0xEE), "at {offset}");
        }
    }
    assert_eq!(e.lseek(id, 7, libc::SEEK_DATA).unwrap(), 7);
    assert_eq!(e.lseek(id, 7, libc::SEEK_HOLE).unwrap(), 4500);
    for whence in [libc::SEEK_DATA, libc::SEEK_HOLE] {
        assert!(e.lseek(id, 4500, whence).unwrap_err().is(Errno::ENXIO));
    }
    let to = e
        .create(&ROOT, NodeId::ROOT, b"copy", 0o644, 0)
        .unwrap()
        .ino;
    let copied = e.copy_file_range(id, 4000, to, 0, 100_000).unwrap();
    assert_eq!(copied, 500);
    assert_eq!(read(&e, to), data[4000..]);
    assert_eq!(e.copy_file_range(id, 4500, to, 0, 10).unwrap(), 0);
    assert_eq!(fs::read(bed.upper("copy")).unwrap(), data[4000..]);
}

#[test]
fn files_are_copied_up_from_packs_and_objects() {
    for (path, data) in [
        ("etc/a", b"aaaa".to_vec()),
        ("etc/b", content(b'b', 4500)),
        ("etc/deep/large", content(b'l', 300_000)),
        ("etc/empty", Vec::new()),
    ] {
        let bed = Bed::usual();
        let e = bed.engine();
        let was = at(&e, path);
        let end = data.len() as u64;
        e.write(was.ino, end, b"more", false).unwrap();
        let expected = [&data[..], b"more"].concat();
        assert_eq!(read(&e, was.ino), expected, "{path}");
        assert_eq!(fs::read(bed.upper(path)).unwrap(), expected, "{path}");
        assert_eq!(at(&e, path).ino, was.ino);
        drop(e);
        let e = bed.engine();
        assert_eq!(at(&e, path).ino, was.ino, "{path} after a remount");
        assert_eq!(read(&e, was.ino), expected);
    }
}

#[test]
fn a_copy_of_metadata_is_filled_from_where_the_data_is() {
    for (path, data) in [
        ("etc/b", content(b'b', 4500)),
        ("etc/deep/large", content(b'l', 300_000)),
    ] {
        let bed = Bed::usual();
        let e = bed.engine();
        let id = at(&e, path).ino;
        chmod(&e, id, 0o600);
        assert!(e.is_up(id, false) && !e.is_up(id, true), "{path}");
        assert_eq!(read(&e, id), data, "{path}");
        drop(e);
        let e = bed.engine();
        assert_eq!((at(&e, path).ino, at(&e, path).perm), (id, 0o600));
        assert_eq!(read(&e, id), data, "{path} after a remount");
        e.write(id, 3, b"!", false).unwrap();
        assert!(e.is_up(id, true));
        let mut expected = data.clone();
        expected[3] = b'!';
        assert_eq!(fs::read(bed.upper(path)).unwrap(), expected, "{path}");
    }
}

#[test]
fn a_cut_file_has_what_is_left() {
    let bed = Bed::usual();
    let e = bed.engine();
    for (path, byte) in [("etc/b", b'b'), ("etc/deep/large", b'l')] {
        let id = at(&e, path).ino;
        truncate(&e, id, 4100);
        let mut expected = content(byte, 4100);
        assert_eq!(fs::read(bed.upper(path)).unwrap(), expected);
        truncate(&e, id, 9000);
        expected.resize(9000, 0);
        assert_eq!(read(&e, id), expected);
    }
    // longer at once: zeros follow, and not the next file of the pack
    let id = at(&e, "etc/a").ino;
    truncate(&e, id, 100);
    let mut expected = b"aaaa".to_vec();
    expected.resize(100, 0);
    assert_eq!(read(&e, id), expected);
}

#[test]
fn all_names_of_a_file_come_up_together() {
    let bed = Bed::usual();
    let e = bed.engine();
    let paths = ["one", "etc/two", "etc/deep/three"];
    let id = at(&e, "one").ino;
    for path in paths {
        assert_eq!((at(&e, path).ino, at(&e, path).nlink), (id, 3), "{path}");
    }
    let (etc, two) = split(&e, "etc/two");
    e.unlink(etc, two).unwrap();
    assert_eq!(at(&e, "one").nlink, 2);
    e.write(at(&e, "one").ino, 0, b"L", false).unwrap();
    let check = |e: &Engine| {
        for path in ["one", "etc/deep/three"] {
            assert_eq!((at(e, path).ino, at(e, path).nlink), (id, 2), "{path}");
            assert_eq!(read(e, id), b"Linked");
        }
        assert!(e.lookup(at(e, "etc").ino, b"two").unwrap().is_none());
    };
    check(&e);
    drop(e);
    check(&bed.engine());
    let ino = |path| fs::metadata(bed.upper(path)).unwrap().ino();
    assert_eq!(ino("one"), ino("etc/deep/three"));
}

#[test]
fn a_renamed_directory_is_where_it_went() {
    let bed = Bed::usual();
    let e = bed.engine();
    let (deep, large) = (at(&e, "etc/deep").ino, at(&e, "etc/deep/large").ino);
    let etc = at(&e, "etc").ino;
    e.rename(etc, b"deep", NodeId::ROOT, b"moved", 0).unwrap();
    let check = |e: &Engine| {
        assert_eq!(at(e, "moved").ino, deep);
        assert_eq!(at(e, "moved/large").ino, large);
        assert_eq!(read(e, large), content(b'l', 300_000));
        assert!(e.lookup(at(e, "etc").ino, b"deep").unwrap().is_none());
        assert_eq!((at(e, "etc").nlink, at(e, "moved").nlink), (2, 2));
    };
    check(&e);
    drop(e);
    let e = bed.engine();
    check(&e);
    // what is in it comes up where it is now
    e.write(at(&e, "moved/large").ino, 0, b"L", false).unwrap();
    assert_eq!(fs::read(bed.upper("moved/large")).unwrap()[0], b'L');
    drop(e);
    let e = bed.engine();
    assert_eq!(at(&e, "moved/large").ino, large);
    assert_eq!(
        read(&e, large)[..4],
        [&b"L"[..], &content(b'l', 4)[1..]].concat()
    );
}

#[test]
fn links_devices_and_attributes_are_shown_and_copied() {
    let bed = Bed::usual();
    let e = bed.engine();
    let link = at(&e, "etc/link");
    assert_eq!((link.kind, link.size), (Kind::Symlink, 6));
    let access = acl(7, 5, 4, 5, 1);
    let check = |e: &Engine| {
        assert_eq!(e.readlink(at(e, "etc/link").ino).unwrap(), b"../one");
        for (path, kind, rdev) in [
            ("null", Kind::CharDev, 0x103),
            ("disk", Kind::BlockDev, 0x103),
            ("fifo", Kind::Fifo, 0),
        ] {
            let attr = at(e, path);
            assert_eq!((attr.kind, attr.rdev), (kind, rdev), "{path}");
        }
        let a = at(e, "etc/a").ino;
        assert_eq!(e.getxattr(a, b"user.x").unwrap(), b"value");
        assert_eq!(e.getxattr(a, b"security.s").unwrap(), b"");
        assert!(e.getxattr(a, b"user.y").unwrap_err().is(Errno::ENODATA));
        let list = e.listxattr(a).unwrap();
        let mut names: Vec<&[u8]> = list.split_inclusive(|b| *b == 0).collect();
        names.sort_unstable();
        assert_eq!(names, [&b"security.s\0"[..], b"user.x\0"]);
        let c = at(e, "etc/c").ino;
        assert_eq!(e.getxattr(c, b"system.posix_acl_access").unwrap(), access);
    };
    check(&e);
    for path in ["null", "disk", "fifo", "etc/a", "etc/c", "etc"] {
        let attr = at(&e, path);
        chmod(&e, attr.ino, attr.perm & !0o7);
        assert_eq!(at(&e, path).perm, attr.perm & !0o7, "{path}");
    }
    let owner = SetAttr {
        uid: Some(5),
        ..SetAttr::default()
    };
    e.setattr(&ROOT, link.ino, &owner).unwrap();
    assert_eq!(
        fs::read_link(bed.upper("etc/link")).unwrap(),
        Path::new("../one")
    );
    let access = {
        let mut access = access.clone();
        // chmod took what others may
        let others = access.len() - 6;
        access[others] &= !0o7;
        access
    };
    assert_eq!(at(&e, "etc/link").uid, 5);
    let c = at(&e, "etc/c").ino;
    assert_eq!(e.getxattr(c, b"system.posix_acl_access").unwrap(), access);
    let a = at(&e, "etc/a");
    assert_eq!((a.mtime.sec, a.mtime.nsec), (-7, 11));
    assert_eq!(e.getxattr(a.ino, b"security.s").unwrap(), b"");
    assert_eq!(at(&e, "null").rdev, 0x103);
}

/// Numbers of the image and of the upper stay apart, though both are small on their side.
#[test]
fn new_files_do_not_get_the_numbers_of_old_ones() {
    let bed = Bed::new(|d| {
        for i in 0..300 {
            fs::write(d.join(format!("f{i}")), "x").unwrap();
        }
    });
    let e = bed.engine();
    let mut numbers: Vec<u64> = (0..300).map(|i| at(&e, &format!("f{i}")).ino.0).collect();
    assert!(numbers.iter().all(|n| (2..=301).contains(n)));
    for i in 0..300 {
        let name = format!("new{i}");
        let made = e.create(&ROOT, NodeId::ROOT, name.as_bytes(), 0o644, 0);
        numbers.push(made.unwrap().ino.0);
    }
    assert!(numbers[300..].iter().all(|n| *n >= 1 << 48));
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 600);
}

/// A file handle: the kernel has forgotten the file, and asks for it by its number. The image knows
/// every number for ever, but what it has is not what shows.
#[test]
fn a_number_alone_leads_to_what_shows() {
    let bed = Bed::usual();
    let e = bed.engine();
    let (a, c, deep) = (
        at(&e, "etc/a").ino,
        at(&e, "etc/c").ino,
        at(&e, "etc/deep").ino,
    );
    e.write(a, 0, b"A", false).unwrap();
    let etc = at(&e, "etc").ino;
    e.unlink(etc, b"c").unwrap();
    e.rename(etc, b"deep", NodeId::ROOT, b"moved", 0).unwrap();
    drop(e);
    let e = bed.engine();
    let by_number = |id| e.lookup(id, b".").map(|found| found.unwrap());
    assert_eq!(by_number(a).unwrap().ino, a);
    assert_eq!(read(&e, a), b"Aaaa");
    assert!(by_number(c).unwrap_err().is(Errno::ESTALE));
    assert_eq!(by_number(deep).unwrap().ino, deep);
    let b = by_number(at(&bed_twin(&bed), "etc/b").ino).unwrap();
    assert_eq!(read(&e, b.ino), content(b'b', 4500));
}

/// An engine over the same image, without the upper.
fn bed_twin(bed: &Bed) -> Engine {
    Engine::over(bed.image.make(), &Config::default()).unwrap()
}

#[test]
fn without_an_upper_nothing_is_written() {
    let bed = Bed::usual();
    let e = bed_twin(&bed);
    assert!(e.read_only());
    let a = at(&e, "etc/a").ino;
    assert!(e.write(a, 0, b"x", false).unwrap_err().is(Errno::EROFS));
    assert_eq!(read(&e, a), b"aaaa");
    assert_eq!(e.lookup(a, b".").unwrap().unwrap().ino, a);
    let both = Config {
        lowers: vec![bed.upper("")],
        ..bed.config()
    };
    assert!(
        Engine::over(bed.image.make(), &both)
            .unwrap_err()
            .is(Errno::EINVAL)
    );
}

/// An image without layers has no root, either.
#[test]
fn an_upper_may_stand_over_nothing() {
    let bed = Bed::usual();
    let nothing = || -> vellum::overlay::MakeLower {
        Box::new(|_| Ok(std::sync::Arc::new(vellum::lower::EmptyLower)))
    };
    let e = Engine::over(nothing(), &bed.config()).unwrap();
    let made = e.create(&ROOT, NodeId::ROOT, b"f", 0o644, 0).unwrap();
    e.write(made.ino, 0, b"x", false).unwrap();
    assert_eq!(names(&e, NodeId::ROOT), [b"f"]);
    drop(e);
    let e = Engine::over(nothing(), &bed.config()).unwrap();
    assert_eq!(
        (at(&e, "f").ino, read(&e, made.ino)),
        (made.ino, b"x".to_vec())
    );
    assert!(Engine::over(nothing(), &Config::default()).is_err());
}

/// Flips one byte of a file.
fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_damaged_block_is_an_error_for_what_is_in_it() {
    let bed = Bed::new(|d| {
        for i in 0..400 {
            fs::write(d.join(format!("f{i:03}")), format!("data {i}")).unwrap();
        }
    });
    let numbers: Vec<NodeId> = {
        let e = bed.engine();
        (0..400).map(|i| at(&e, &format!("f{i:03}")).ino).collect()
    };
    flip(&bed.image.index(), 3 * 4096 + 100); // inode records, 64 in a block
    let damaged = Index::open(&bed.image.index()).unwrap();
    assert!(damaged.check().unwrap_err().is(Errno::EIO));
    let e = bed.engine();
    let mut bad = 0;
    for (i, id) in numbers.iter().enumerate() {
        let name = format!("f{i:03}");
        match e.lookup(NodeId::ROOT, name.as_bytes()) {
            Ok(found) => {
                assert_eq!(found.unwrap().ino, *id);
                assert_eq!(read(&e, *id), format!("data {i}").as_bytes());
            }
            Err(err) => {
                assert!(err.is(Errno::EIO), "{name}: {err}");
                assert!(err.to_string().contains("block 3"), "{err}");
                assert!(e.getattr(*id).unwrap_err().is(Errno::EIO));
                bad += 1;
            }
        }
    }
    assert_eq!(bad, 64);
    // the superblock concerns everything
    flip(&bed.image.index(), 9);
    assert!(Engine::over(bed.image.make(), &bed.config()).is_err());
}

#[test]
fn data_that_is_missing_is_an_error_for_its_file() {
    let bed = Bed::usual();
    let e = bed.engine();
    let large = at(&e, "etc/deep/large").ino;
    let object = fs::read_dir(&bed.image.0)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::metadata(path).unwrap().len() == 300_000)
        .unwrap();
    fs::remove_file(object).unwrap();
    let err = e.read(large, 0, &mut [0; 10]).unwrap_err();
    assert!(err.is(Errno::EIO), "{err}");
    assert_eq!(read(&e, at(&e, "etc/b").ino), content(b'b', 4500));
    drop(e);
    // packs that end too early: what is still in them is read, the rest is an error
    for layer in 0..2 {
        let pack = fs::OpenOptions::new()
            .write(true)
            .open(bed.image.pack(layer));
        pack.unwrap().set_len(600).unwrap();
    }
    let e = bed.engine();
    assert_eq!(read(&e, at(&e, "etc/a").ino), b"aaaa");
    let b = at(&e, "etc/b").ino;
    assert!(e.read(b, 0, &mut [0; 10]).unwrap_err().is(Errno::EIO));
    assert!(e.write(b, 0, b"x", false).unwrap_err().is(Errno::EIO));
    assert!(!bed.upper("etc/b").exists());
}

/// A pack that is cut while it is open.
#[test]
fn a_read_is_never_short_within_a_file() {
    let bed = Bed::usual();
    let e = bed.engine();
    let b = at(&e, "etc/b").ino;
    assert_eq!(read(&e, b).len(), 4500);
    for layer in 0..2 {
        let pack = fs::OpenOptions::new()
            .write(true)
            .open(bed.image.pack(layer));
        pack.unwrap().set_len(600).unwrap();
    }
    let mut buf = [0; 4500];
    assert!(e.read(b, 0, &mut buf).unwrap_err().is(Errno::EIO));
    let seen = e.read_now(b, 0, &mut buf);
    assert!(seen.map_or_else(|err| err.is(Errno::EIO), |n| n.is_none()));
    assert!(e.write(b, 0, b"x", false).unwrap_err().is(Errno::EIO));
    assert!(!bed.upper("etc/b").exists());
}
