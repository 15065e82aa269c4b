//! Layers against those who made the format: what GNU tar and Python's tarfile write is read as the
//! tree it was made from, and what we write they read as that tree.
//!
//! Wants root, for owners and devices, and GNU tar; what needs Python is left out without it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use vellum::image::entry::{Entry, Item, Meta, Xattr};
use vellum::image::layer::{LayerReader, LayerWriter, Limits};

/// A file as a reader or the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    kind: char,
    meta: Meta,
    device: u64,
    target: Vec<u8>,
    data: Vec<u8>,
    /// The first name of the same file.
    first: Vec<u8>,
}

type Tree = BTreeMap<Vec<u8>, Seen>;

/// How much of what there is the tree has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wealth {
    /// What v7 can say.
    V7,
    /// Also prefixes, devices, pipes.
    Ustar,
    /// Also long names and targets, large and negative numbers, holes.
    Gnu,
    /// Also nanoseconds, attributes, ACLs.
    Pax,
}

fn xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

fn node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from(0o640), device).unwrap();
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn make(root: &Path, wealth: Wealth) {
    let at = |name: &str| root.join(name);
    fs::create_dir_all(at("d/sub")).unwrap();
    fs::write(at("d/f"), b"some data").unwrap();
    fs::write(at("d/empty"), b"").unwrap();
    fs::write(at("block"), vec![7; 512]).unwrap();
    fs::hard_link(at("d/f"), at("d/g")).unwrap();
    fs::hard_link(at("d/f"), at("d/h")).unwrap();
    symlink("../no//where/", at("d/link")).unwrap();
    fs::set_permissions(at("d/sub"), fs::Permissions::from_mode(0o1777)).unwrap();
    chown(at("d/f"), Some(1000), Some(100)).unwrap();
    lchown(at("d/link"), Some(7), Some(8)).unwrap();
    fs::set_permissions(at("d/f"), fs::Permissions::from_mode(0o6755)).unwrap();
    if wealth >= Wealth::Ustar {
        node(&at("fifo"), FileType::Fifo, 0);
        node(&at("null"), FileType::CharacterDevice, libc::makedev(1, 3));
        node(
            &at("disk"),
            FileType::BlockDevice,
            libc::makedev(259, 70000),
        );
        let deep = at(&"x".repeat(90)).join("y".repeat(60));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("z".repeat(90)), b"deep").unwrap();
    }
    if wealth >= Wealth::Gnu {
        rich(root);
    }
    if wealth >= Wealth::Pax {
        attributes(root);
    }
    date(root, wealth);
}

fn rich(root: &Path) {
    let deep = root.join("l".repeat(255)).join("m".repeat(255));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("n".repeat(255)), b"deeper").unwrap();
    fs::hard_link(deep.join("n".repeat(255)), deep.join("o".repeat(255))).unwrap();
    symlink("t/".repeat(2000), root.join("long target")).unwrap();
    fs::write(root.join("größe\n"), b"").unwrap();
    fs::write(root.join(OsStr::from_bytes(b"bytes \xff\xfe")), b"").unwrap();
    chown(root.join("block"), Some(3_000_000_000), Some(u32::MAX - 1)).unwrap();
    // one with more pieces than a header has room for, one that ends with a hole, one all hole
    let many = File::create(root.join("many holes")).unwrap();
    for n in 0..60u64 {
        many.write_all_at(&[n as u8 + 1; 3000], n * 65536 + 4096 * (n % 3))
            .unwrap();
    }
    let end = File::create(root.join("hole at the end")).unwrap();
    end.write_all_at(b"data", 1 << 18).unwrap();
    end.set_len(1 << 20).unwrap();
    let hole = File::create(root.join("hole")).unwrap();
    hole.set_len(100_000).unwrap();
}

fn attributes(root: &Path) {
    let f = root.join("d/f");
    xattr(&f, "user.binary", &(0..=255).collect::<Vec<u8>>());
    xattr(&f, "user.empty", b"");
    xattr(&f, "user.a=b 50%25", b"=\n");
    xattr(&root.join("d"), "trusted.other", b"t");
    xattr(&root.join("d/link"), "trusted.link", b"l");
    // cap_net_raw=ep
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    xattr(&root.join("block"), "security.capability", &capability);
    let acl = |who: &str, name| {
        let path = root.join(name);
        run(Command::new("setfacl").arg("-m").arg(who).arg(path));
    };
    acl("u:31337:rw,g:31338:x", "d/empty");
    acl("d:u:31337:rwx", "d/sub");
}

/// Gives each file a time of its own, after all else is done.
fn date(root: &Path, wealth: Wealth) {
    let names = scan(root).into_keys();
    for (n, name) in names.enumerate().collect::<Vec<_>>().into_iter().rev() {
        let n = n as i64;
        let negative = wealth >= Wealth::Gnu && n % 5 == 4;
        let time = Timespec {
            tv_sec: if negative { -n } else { 1_700_000_000 + n },
            tv_nsec: if wealth >= Wealth::Pax {
                n * 10_000_001
            } else {
                0
            },
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let path = root.join(OsStr::from_bytes(&name));
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn xattrs_of(path: &Path) -> Vec<Xattr> {
    let mut list = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut list).unwrap();
    let mut all: Vec<Xattr> = list[..len]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.into(), value[..len].into())
        })
        .collect();
    all.sort();
    all
}

/// The tree as the kernel shows it.
fn scan(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut firsts = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(name) = todo.pop() {
        let path = root.join(&name);
        let stat = fs::symlink_metadata(&path).unwrap();
        let bytes = name.as_os_str().as_bytes().to_vec();
        let kind = match stat.mode() & libc::S_IFMT {
            libc::S_IFDIR => 'd',
            libc::S_IFREG => 'f',
            libc::S_IFLNK => 'l',
            libc::S_IFCHR => 'c',
            libc::S_IFBLK => 'b',
            libc::S_IFIFO => 'p',
            other => panic!("{other:o}"),
        };
        if kind == 'd' {
            let names = fs::read_dir(&path).unwrap();
            todo.extend(names.map(|e| name.join(e.unwrap().file_name())));
        }
        let seen = Seen {
            kind,
            meta: Meta {
                perm: stat.mode() & 0o7777,
                uid: stat.uid(),
                gid: stat.gid(),
                mtime: stat.mtime(),
                mtime_nsec: stat.mtime_nsec() as u32,
                xattrs: xattrs_of(&path),
            },
            device: stat.rdev(),
            target: match kind {
                'l' => fs::read_link(&path).unwrap().into_os_string(),
                _ => Default::default(),
            }
            .as_bytes()
            .to_vec(),
            data: match kind {
                'f' => fs::read(&path).unwrap(),
                _ => Vec::new(),
            },
            first: bytes.clone(),
        };
        let first = firsts.entry(stat.ino()).or_insert_with(|| bytes.clone());
        *first = bytes.clone().min(first.clone());
        tree.insert(bytes, seen);
    }
    let ino = |name: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        fs::symlink_metadata(path).unwrap().ino()
    };
    for (name, seen) in &mut tree {
        seen.first = firsts[&ino(name)].clone();
    }
    tree
}

type Entries = Vec<(Entry, Vec<u8>)>;

fn read(tar: &[u8]) -> Entries {
    let mut reader = LayerReader::new(tar, Limits::default());
    let mut all = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).unwrap();
        all.push((entry, data));
    }
    all
}

fn write(entries: &Entries) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new());
    for (entry, data) in entries {
        writer.add(entry, &mut &**data).unwrap();
    }
    writer.finish().unwrap()
}

/// The tree that entries make.
fn tree(entries: Entries) -> Tree {
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

#[track_caller]
fn same(found: Tree, expected: &Tree) {
    for (name, seen) in expected {
        assert_eq!(found.get(name), Some(seen), "{}", name.escape_ascii());
    }
    assert_eq!(found.len(), expected.len());
}

fn gnu_tar(root: &Path, options: &[&str]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--numeric-owner", "-c"]);
    run(tar.args(options).arg("-C").arg(root).arg("."))
}

/// GNU tar with these options, of a tree that has what they can say.
fn check_gnu(wealth: Wealth, options: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), wealth);
    same(tree(read(&gnu_tar(dir.path(), options))), &scan(dir.path()));
}

#[test]
fn gnu_tars_v7() {
    check_gnu(Wealth::V7, &["--format=v7"]);
}

#[test]
fn gnu_tars_ustar() {
    check_gnu(Wealth::Ustar, &["--format=ustar"]);
}

#[test]
fn gnu_tars_own() {
    check_gnu(Wealth::Gnu, &["--format=gnu"]);
    check_gnu(Wealth::Gnu, &["--format=oldgnu"]);
    check_gnu(Wealth::Gnu, &["--format=gnu", "--sparse"]);
}

const ATTRIBUTES: [&str; 4] = ["--format=pax", "--acls", "--xattrs", "--xattrs-include=*"];

#[test]
fn gnu_tars_pax() {
    check_gnu(Wealth::Pax, &ATTRIBUTES);
    for version in ["0.0", "0.1", "1.0"] {
        let version = format!("--sparse-version={version}");
        let sparse = [&ATTRIBUTES[..], &["--sparse", &version]].concat();
        check_gnu(Wealth::Pax, &sparse);
    }
}

#[test]
fn global_records_of_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), Wealth::V7);
    let tar = gnu_tar(dir.path(), &["--format=pax", "--pax-option=gid=77,uid:=78"]);
    let found = tree(read(&tar));
    assert!(found.values().all(|s| s.meta.gid == 77 && s.meta.uid == 78));
}

#[test]
fn holes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("f")).unwrap();
    file.write_all_at(b"data", 1 << 20).unwrap();
    for format in ["gnu", "pax"] {
        let format = format!("--format={format}");
        let tar = gnu_tar(dir.path(), &[&format, "--sparse"]);
        let mut reader = LayerReader::new(&*tar, Limits::default());
        reader.next_entry().unwrap();
        reader.next_entry().unwrap();
        let segments = reader.segments();
        assert_eq!(segments.len(), 1);
        assert_eq!((segments[0].offset, segments[0].len), (1 << 20, 4));
    }
}

#[test]
fn gnu_tar_makes_the_same_tree_of_ours() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path(), Wealth::Pax);
    let ours = write(&read(&gnu_tar(dir.path(), &ATTRIBUTES)));
    let archive = dir.path().join("ours.tar");
    fs::write(&archive, ours).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--same-owner", "-xp"]);
    tar.args(["--xattrs", "--xattrs-include=*", "-f"]);
    let stdout = run(tar.arg(&archive).arg("-C").arg(out.path()));
    assert_eq!(stdout, b"");
    fs::remove_file(&archive).unwrap();
    let mut expected = scan(dir.path());
    // the archive was in it for a while
    let root = &mut expected.get_mut(&b""[..]).unwrap().meta;
    let found = scan(out.path());
    (root.mtime, root.mtime_nsec) = (found[&b""[..]].meta.mtime, found[&b""[..]].meta.mtime_nsec);
    same(found, &expected);
}

const PYTHON_LISTS: &str = r#"
import os, sys, tarfile
x = lambda s: os.fsencode(s).hex()
for m in tarfile.open(sys.argv[1], encoding='utf-8', errors='surrogateescape'):
    kind = {b'0':'f', b'1':'h', b'2':'l', b'3':'c', b'4':'b', b'5':'d', b'6':'p'}[m.type]
    print(kind, x(m.name), x(m.linkname), m.mode, m.uid, m.gid, int(m.mtime // 1),
          m.size, m.devmajor if kind in 'cb' else 0, m.devminor if kind in 'cb' else 0)
"#;

const PYTHON_WRITES: &str = r#"
import os, sys, tarfile
form = getattr(tarfile, sys.argv[3])
with tarfile.open(sys.argv[1], 'w', format=form) as t:
    t.add(sys.argv[2], arcname='.', filter=lambda m: setattr(m, 'mtime', int(m.mtime)) or m)
"#;

fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output();
    found.is_ok_and(|o| o.status.success())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// An entry as [`PYTHON_LISTS`] prints it; `firsts` has the metadata of hard links.
fn line(entry: &Entry, firsts: &Tree) -> String {
    let (mut size, mut device, mut target) = (0, 0, Vec::new());
    let name = entry.path.join(&b'/');
    let meta = &firsts[&name].meta;
    let kind = match &entry.item {
        Item::Dir(_) => 'd',
        Item::File(_, n) => {
            size = *n;
            'f'
        }
        Item::Symlink(_, to) => {
            target = to.to_vec();
            'l'
        }
        Item::Hardlink(to) => {
            target = to.join(&b'/');
            'h'
        }
        Item::CharDev(_, d) => {
            device = *d;
            'c'
        }
        Item::BlockDev(_, d) => {
            device = *d;
            'b'
        }
        Item::Fifo(_) => 'p',
        Item::Whiteout | Item::Opaque => panic!("a mark"),
    };
    let name = if name.is_empty() { b".".to_vec() } else { name };
    format!(
        "{kind} {} {} {} {} {} {} {size} {} {}",
        hex(&name),
        hex(&target),
        meta.perm,
        meta.uid,
        meta.gid,
        meta.mtime,
        libc::major(device),
        libc::minor(device)
    )
}

#[test]
fn python_lists_ours_the_same() {
    if !has_python() {
        return;
    }
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path(), Wealth::Pax);
    let entries = read(&gnu_tar(dir.path(), &ATTRIBUTES));
    let archive = out.path().join("ours.tar");
    fs::write(&archive, write(&entries)).unwrap();
    let lines = run(Command::new("python3")
        .args(["-c", PYTHON_LISTS])
        .arg(&archive));
    let lines = String::from_utf8(lines).unwrap();
    let firsts = tree(entries.clone());
    let expected: Vec<String> = entries.iter().map(|(e, _)| line(e, &firsts)).collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_python_writes() {
    if !has_python() {
        return;
    }
    for (form, wealth) in [
        ("PAX_FORMAT", Wealth::Gnu),
        ("GNU_FORMAT", Wealth::Gnu),
        ("USTAR_FORMAT", Wealth::Ustar),
    ] {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        make(dir.path(), wealth);
        let archive = out.path().join("python.tar");
        let mut python = Command::new("python3");
        python.args(["-c", PYTHON_WRITES]).arg(&archive);
        run(python.arg(dir.path()).arg(form));
        let found = tree(read(&fs::read(&archive).unwrap()));
        same(found, &scan(dir.path()));
    }
}
