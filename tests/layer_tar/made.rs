//! Trees that are made on disk, and what the kernel shows of a tree.

use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use vellum::image::entry::{Meta, Xattr};

/// A file as a reader or the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: char,
    pub meta: Meta,
    pub device: u64,
    pub target: Vec<u8>,
    pub data: Vec<u8>,
    /// The first name of the same file.
    pub first: Vec<u8>,
}

/// Files by their paths.
pub type Tree = BTreeMap<Vec<u8>, Seen>;

/// How much of what there is the tree has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wealth {
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

/// Runs what has to succeed; gives its output.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Makes the tree.
pub fn make(root: &Path, wealth: Wealth) {
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
pub fn scan(root: &Path) -> Tree {
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
