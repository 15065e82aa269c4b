//! Owner, mode and type kept in an extended attribute (`xattr_permissions=2`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;

use engine::{ROOT, at, split};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use vellum::overlay::{Config, Engine, Ownership, UpperConfig};
use vellum::vfs::{Caller, Kind, SetAttr};

const OVERRIDE: &str = "user.containers.override_stat";

fn mark(path: &Path, value: &str) {
    rustix::fs::setxattr(
        path,
        OVERRIDE,
        value.as_bytes(),
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
}

fn marked(path: &Path) -> String {
    let mut value = vec![0; 256];
    let n = rustix::fs::getxattr(path, OVERRIDE, value.as_mut_slice()).unwrap();
    String::from_utf8_lossy(&value[..n]).into_owned()
}

fn open(dir: &Path, ownership: Option<Ownership>) -> Engine {
    let config = Config {
        lowers: vec![dir.join("l")],
        upper: Some(UpperConfig::new(dir.join("upper"), dir.join("work"))),
        ownership,
        ..Config::default()
    };
    Engine::open(&config).unwrap()
}

fn lay() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["l/d", "upper", "work"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    fs::write(dir.path().join("l/d/f"), "data").unwrap();
    fs::write(dir.path().join("l/tty"), "").unwrap();
    mark(&dir.path().join("l/d"), "7:8:2750:dir");
    mark(&dir.path().join("l/d/f"), "1000:100:4755");
    mark(&dir.path().join("l/tty"), "0:5:0620:char-5-1");
    dir
}

#[test]
fn layers_show_what_is_kept() {
    let dir = lay();
    let e = open(dir.path(), Some(Ownership::User));
    let f = at(&e, "d/f");
    assert_eq!((f.uid, f.gid, f.perm), (1000, 100, 0o4755));
    let d = at(&e, "d");
    assert_eq!((d.uid, d.gid, d.perm), (7, 8, 0o2750));
    let tty = at(&e, "tty");
    assert_eq!((tty.kind, tty.rdev), (Kind::CharDev, libc::makedev(5, 1)));
    let mut kinds = Vec::new();
    e.readdir(
        e.lookup(vellum::vfs::NodeId::ROOT, b".")
            .unwrap()
            .unwrap()
            .ino,
        0,
        false,
        &mut |entry| {
            kinds.push((entry.name.to_vec(), entry.kind));
            true
        },
    )
    .unwrap();
    assert!(kinds.contains(&(b"tty".to_vec(), Kind::CharDev)));
    // and not how it is kept
    assert_eq!(e.listxattr(f.ino).unwrap(), b"");
    assert!(e.getxattr(f.ino, OVERRIDE.as_bytes()).is_err());
}

#[test]
fn changes_are_kept_beside_the_inode() {
    let dir = lay();
    let who = Caller {
        uid: 33,
        gid: 34,
        pid: 0,
    };
    let before = engine::fingerprint(&dir.path().join("l"));
    let e = open(dir.path(), Some(Ownership::User));
    e.create(&who, at(&e, "").ino, b"new", 0o4711, 0).unwrap();
    let mode = libc::S_IFCHR | 0o600;
    e.mknod(
        &ROOT,
        at(&e, "d").ino,
        b"null",
        mode,
        0,
        libc::makedev(1, 3),
    )
    .unwrap();
    let chown = SetAttr {
        uid: Some(5),
        mode: Some(0o600),
        ..SetAttr::default()
    };
    e.setattr(&ROOT, at(&e, "d/f").ino, &chown).unwrap();
    drop(e);
    let upper = dir.path().join("upper");
    assert_eq!(marked(&upper.join("new")), "33:34:4711:file");
    assert_eq!(marked(&upper.join("d/null")), "0:8:0600:char-1-3");
    assert_eq!(marked(&upper.join("d/f")), "5:100:0600:file");
    assert_eq!(marked(&upper.join("d")), "7:8:2750:dir");
    let on_disk = fs::metadata(upper.join("new")).unwrap();
    assert_eq!(
        (on_disk.uid(), on_disk.permissions().mode() & 0o7777),
        (0, 0o600)
    );
    assert!(fs::metadata(upper.join("d/null")).unwrap().is_file());
    // and is there again in the next mount
    let e = open(dir.path(), Some(Ownership::User));
    assert_eq!(at(&e, "d/null").kind, Kind::CharDev);
    assert_eq!((at(&e, "d/f").uid, at(&e, "d/f").perm), (5, 0o600));
    let (d, null) = split(&e, "d/null");
    e.unlink(d, null).unwrap();
    assert_eq!(engine::fingerprint(&dir.path().join("l")), before);
}

#[test]
fn the_root_of_the_topmost_layer_says_how() {
    let dir = lay();
    assert_eq!(
        at(&open(dir.path(), None), "d/f").uid,
        fs::metadata(dir.path().join("l/d/f")).unwrap().uid()
    );
    mark(&dir.path().join("upper"), "0:0:0755:dir");
    assert_eq!(at(&open(dir.path(), None), "d/f").uid, 1000);
    assert_ne!(
        at(&open(dir.path(), Some(Ownership::Inode)), "d/f").uid,
        1000
    );
}

#[test]
fn file_capabilities_are_kept_under_another_name() {
    let dir = lay();
    let e = open(dir.path(), Some(Ownership::User));
    let f = at(&e, "d/f").ino;
    e.setxattr(&ROOT, f, b"security.capability", b"caps", 0)
        .unwrap();
    assert_eq!(e.getxattr(f, b"security.capability").unwrap(), b"caps");
    assert_eq!(e.listxattr(f).unwrap(), b"security.capability\0");
    let mut value = [0; 16];
    let kept = "user.containers.override_security.capability";
    let n = rustix::fs::getxattr(dir.path().join("upper/d/f"), kept, &mut value[..]).unwrap();
    assert_eq!(&value[..n], b"caps");
}
