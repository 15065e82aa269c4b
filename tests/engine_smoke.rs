//! The engine by hand, without a mount: the first things that must be right.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use nix::errno::Errno;
use std::fs;
use std::path::Path;
use vellum::overlay::{Config, Engine, UpperConfig};
use vellum::vfs::{Caller, Kind, NodeId, SetAttr};

const ROOT: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 0,
};

fn engine(dir: &Path, lowers: &[&str]) -> Engine {
    for d in ["upper", "work"] {
        fs::create_dir_all(dir.join(d)).unwrap();
    }
    Engine::open(&Config {
        lowers: lowers.iter().map(|l| dir.join(l)).collect(),
        upper: Some(UpperConfig::new(dir.join("upper"), dir.join("work"))),
        ..Config::default()
    })
    .unwrap()
}

fn names(e: &Engine, dir: NodeId) -> Vec<String> {
    let mut out = Vec::new();
    e.readdir(dir, 0, false, &mut |entry| {
        out.push(String::from_utf8(entry.name.to_vec()).unwrap());
        true
    })
    .unwrap();
    out.retain(|n| n != "." && n != "..");
    out.sort();
    out
}

fn read(e: &Engine, id: NodeId) -> String {
    let mut buf = vec![0; 100];
    let n = e.read(id, 0, &mut buf).unwrap();
    String::from_utf8(buf[..n].to_vec()).unwrap()
}

#[test]
fn layers_merge_and_changes_stay_in_the_upper() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for (path, data) in [
        ("b/etc/a", "low"),
        ("b/etc/b", "b"),
        ("a/etc/a", "high"),
        ("b/d/x/y", "y"),
    ] {
        let path = d.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    let e = engine(d, &["a", "b"]);
    let look = |p: NodeId, n: &str| e.lookup(p, n.as_bytes()).unwrap().unwrap();
    let etc = look(NodeId::ROOT, "etc");
    assert_eq!(etc.kind, Kind::Dir);
    assert_eq!(names(&e, etc.ino), ["a", "b"]);
    let a = look(etc.ino, "a");
    assert_eq!(read(&e, a.ino), "high");
    assert_eq!(e.write(a.ino, 4, b"er", false).unwrap(), 2);
    assert_eq!(read(&e, a.ino), "higher");
    assert_eq!(look(etc.ino, "a").ino, a.ino);
    assert_eq!(fs::read_to_string(d.join("a/etc/a")).unwrap(), "high");
    assert_eq!(fs::read_to_string(d.join("upper/etc/a")).unwrap(), "higher");
    e.unlink(etc.ino, b"b").unwrap();
    assert_eq!(names(&e, etc.ino), ["a"]);
    assert!(e.lookup(etc.ino, b"b").unwrap().is_none());
    e.create(&ROOT, etc.ino, b"b", 0o644, 0).unwrap();
    assert_eq!(names(&e, etc.ino), ["a", "b"]);

    // a directory of the lower moves, and is found again after a remount
    let x = look(look(NodeId::ROOT, "d").ino, "x");
    e.rename(look(NodeId::ROOT, "d").ino, b"x", NodeId::ROOT, b"z", 0)
        .unwrap();
    assert_eq!(look(NodeId::ROOT, "z").ino, x.ino);
    assert_eq!(names(&e, x.ino), ["y"]);
    assert_eq!(names(&e, look(NodeId::ROOT, "d").ino), [""; 0]);
    e.setattr(
        &ROOT,
        a.ino,
        &SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        },
    )
    .unwrap();
    drop(e);
    let e = engine(d, &["a", "b"]);
    let look = |p: NodeId, n: &str| e.lookup(p, n.as_bytes()).unwrap().unwrap();
    assert_eq!(look(NodeId::ROOT, "z").ino, x.ino);
    assert_eq!(read(&e, look(x.ino, "y").ino), "y");
    assert_eq!(look(look(NodeId::ROOT, "etc").ino, "a").ino, a.ino);
    assert_eq!(names(&e, NodeId::ROOT), ["d", "etc", "z"]);
}

#[test]
fn a_new_file_has_the_capability_that_it_is_given() {
    const NAME: &[u8] = b"security.capability";
    let dir = tempfile::tempdir().unwrap();
    let e = engine(dir.path(), &[]);
    let file = e.mknod(&ROOT, NodeId::ROOT, b"f", libc::S_IFREG | 0o755, 0, 0);
    let id = file.unwrap().ino;
    assert!(e.getxattr(id, NAME).unwrap_err().is(Errno::ENODATA));
    // CAP_NET_RAW, effective
    let mut value = [0; 20];
    value[..6].copy_from_slice(&[1, 0, 0, 2, 0, 0x20]);
    e.setxattr(&ROOT, id, NAME, &value, 0).unwrap();
    assert_eq!(e.getxattr(id, NAME).unwrap(), value);
    e.link(id, NodeId::ROOT, b"g").unwrap();
    e.unlink(NodeId::ROOT, b"f").unwrap();
    assert_eq!(e.getxattr(id, NAME).unwrap(), value);
    e.removexattr(id, NAME).unwrap();
    assert!(e.getxattr(id, NAME).unwrap_err().is(Errno::ENODATA));
}
