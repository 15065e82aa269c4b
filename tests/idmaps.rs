//! Owners shown by maps, and squashed: in the engine, and on a real mount by the words that podman
//! gives.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod live;

use engine::{ROOT, at};
use nix::errno::Errno;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use vellum::overlay::{Config, Engine, IdMaps, IdRange, UpperConfig};
use vellum::vfs::{Caller, SetAttr};

/// Users 0 to 9 on disk are 100,000 to 100,009 in the mount; so are groups.
fn maps() -> IdMaps {
    let range = IdRange {
        disk: 0,
        shown: 100_000,
        len: 10,
    };
    IdMaps {
        uid: vec![range],
        gid: vec![range],
        ..IdMaps::default()
    }
}

fn lay() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["l", "upper", "work"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    for (name, uid) in [("root", 0), ("nine", 9), ("stranger", 4000)] {
        let path = dir.path().join("l").join(name);
        fs::write(&path, name).unwrap();
        chown(&path, Some(uid), Some(uid)).unwrap();
    }
    dir
}

fn open(dir: &Path, ids: IdMaps) -> Engine {
    Engine::open(&Config {
        lowers: vec![dir.join("l")],
        upper: Some(UpperConfig::new(dir.join("upper"), dir.join("work"))),
        ids,
        ..Config::default()
    })
    .unwrap()
}

fn owner_on_disk(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn chown_to(uid: u32) -> SetAttr {
    SetAttr {
        uid: Some(uid),
        ..SetAttr::default()
    }
}

#[test]
fn owners_are_mapped_both_ways() {
    let dir = lay();
    let e = open(dir.path(), maps());
    let shown = |name| (at(&e, name).uid, at(&e, name).gid);
    assert_eq!(shown("root"), (100_000, 100_000));
    assert_eq!(shown("nine"), (100_009, 100_009));
    assert_eq!(shown("stranger"), (65_534, 65_534));
    let who = Caller {
        uid: 100_003,
        gid: 100_004,
        pid: 0,
    };
    let root = at(&e, "").ino;
    e.create(&who, root, b"new", 0o644, 0).unwrap();
    assert_eq!(shown("new"), (100_003, 100_004));
    e.setattr(&ROOT, at(&e, "nine").ino, &chown_to(100_001))
        .unwrap();
    let upper = dir.path().join("upper");
    assert_eq!(owner_on_disk(&upper.join("new")), (3, 4));
    assert_eq!(owner_on_disk(&upper.join("nine")), (1, 9));
}

#[test]
fn an_id_outside_the_maps_is_refused_and_changes_nothing() {
    let dir = lay();
    let e = open(dir.path(), maps());
    let outside = Caller {
        uid: 5,
        gid: 5,
        pid: 0,
    };
    let root = at(&e, "").ino;
    let made = e.create(&outside, root, b"new", 0o644, 0).unwrap_err();
    assert!(made.is(Errno::EOVERFLOW), "{made:?}");
    let owned = e
        .setattr(&ROOT, at(&e, "nine").ino, &chown_to(5))
        .unwrap_err();
    assert!(owned.is(Errno::EOVERFLOW), "{owned:?}");
    assert_eq!(at(&e, "nine").uid, 100_009);
    assert!(e.lookup(root, b"new").unwrap().is_none());
}

#[test]
fn what_the_server_itself_makes_is_its_own_on_disk() {
    let dir = lay();
    let e = open(dir.path(), maps());
    let root = at(&e, "").ino;
    // as podman makes /etc/mtab in a container's root, before it gives it to the container
    e.create(&ROOT, root, b"made", 0o644, 0).unwrap();
    assert_eq!((at(&e, "made").uid, at(&e, "made").gid), (100_000, 100_000));
    assert_eq!(owner_on_disk(&dir.path().join("upper/made")), (0, 0));
    e.setattr(&ROOT, at(&e, "made").ino, &chown_to(100_003))
        .unwrap();
    assert_eq!(owner_on_disk(&dir.path().join("upper/made")), (3, 0));
}

#[test]
fn squashed_owners_are_one() {
    let dir = lay();
    let e = open(
        dir.path(),
        IdMaps {
            squash_uid: Some(7),
            squash_gid: Some(8),
            ..IdMaps::default()
        },
    );
    for name in ["root", "nine", "stranger", ""] {
        assert_eq!((at(&e, name).uid, at(&e, name).gid), (7, 8), "{name}");
    }
    // there is nothing to set, and nothing fails
    e.setattr(&ROOT, at(&e, "nine").ino, &chown_to(3)).unwrap();
    assert_eq!(owner_on_disk(&dir.path().join("upper/nine")), (9, 9));
}

#[test]
fn podmans_words_map_a_mount() {
    if !live::may_mount() {
        return;
    }
    let dir = lay();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mnt = dir.path().join("mnt");
    fs::create_dir(&mnt).unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let map = ":0:100000:65536";
    let options = format!(
        "lowerdir={},upperdir={},workdir={},,volatile,uidmapping={map},gidmapping={map}",
        path("l"),
        path("upper"),
        path("work"),
    );
    let mounted = Command::new(live::VELLUM)
        .args(["overlayfs", "-o", &options])
        .arg(&mnt)
        .status()
        .unwrap();
    assert!(mounted.success());
    // the root of the mount is 100,000's; whoever is 100,005 in the mount is 5 on disk
    fs::set_permissions(&mnt, fs::Permissions::from_mode(0o777)).unwrap();
    let made = Command::new("setpriv")
        .args(["--reuid=100005", "--regid=100006", "--clear-groups"])
        .arg("touch")
        .arg(mnt.join("made"))
        .status();
    let shown = fs::metadata(mnt.join("nine")).map(|m| (m.uid(), m.gid()));
    let seen = fs::metadata(mnt.join("made")).map(|m| (m.uid(), m.gid()));
    let gone = Command::new(live::VELLUM)
        .arg("umount")
        .arg(&mnt)
        .status()
        .unwrap();
    assert!(gone.success());
    assert!(made.unwrap().success());
    assert_eq!(shown.unwrap(), (100_009, 100_009));
    assert_eq!(seen.unwrap(), (100_005, 100_006));
    assert_eq!(owner_on_disk(&dir.path().join("upper/made")), (5, 6));
}

#[test]
fn allow_root_lets_root_in_and_nobody_else() {
    if !live::may_mount() {
        return;
    }
    let stack = live::Stack::new(1);
    fs::set_permissions(stack.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&stack.upper, fs::Permissions::from_mode(0o777)).unwrap();
    stack.lower(0, "f", "data");
    stack.mount(&["-o", "allow_root"]);
    assert_eq!(fs::read(stack.mnt.join("f")).unwrap(), b"data");
    fs::write(stack.mnt.join("new"), "x").unwrap();
    let other = Command::new("setpriv")
        .args(["--reuid=1234", "--clear-groups", "cat"])
        .arg(stack.mnt.join("f"))
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    stack.umount();
    assert!(said.contains("Permission denied"), "{said}");
}
