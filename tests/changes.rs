//! Changes that are made without a look before: what was known of a directory is known no longer once
//! that changes, and what a call refuses is looked at after all.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod live;

use engine::{ROOT, at, names, open, read};
use nix::errno::Errno;
use std::fs;
use std::path::Path;
use std::process::Command;
use vellum::overlay::Engine;
use vellum::vfs::{DirEntry, Kind, NodeId, SetAttr, SetTime, Time};

fn device(path: &Path) {
    let mode = rustix::fs::Mode::empty();
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
}

fn set(e: &Engine, id: NodeId, set: &SetAttr) {
    e.setattr(&ROOT, id, set).unwrap();
}

fn lay(dir: &Path, files: &[&str]) {
    for path in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "low").unwrap();
    }
}

#[test]
fn new_entries_get_the_group_that_the_directory_says_now() {
    let dir = tempfile::tempdir().unwrap();
    let e = open(dir.path());
    let d = e.mkdir(&ROOT, NodeId::ROOT, b"d", 0o755, 0).unwrap().ino;
    let gid = |name: &[u8]| e.create(&ROOT, d, name, 0o644, 0).unwrap().gid;
    assert_eq!(gid(b"a"), 0);
    let group = SetAttr {
        gid: Some(7),
        ..SetAttr::default()
    };
    set(&e, d, &group);
    assert_eq!(gid(b"b"), 0);
    let mode = |mode| SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    };
    set(&e, d, &mode(0o2755));
    assert_eq!(gid(b"c"), 7);
    let sub = e.mkdir(&ROOT, d, b"sub", 0o755, 0).unwrap();
    assert_eq!((sub.gid, sub.perm), (7, 0o2755));
    assert_eq!(e.create(&ROOT, sub.ino, b"x", 0o644, 0).unwrap().gid, 7);
    let group = SetAttr {
        gid: Some(8),
        ..SetAttr::default()
    };
    set(&e, d, &group);
    set(&e, d, &mode(0o2755));
    assert_eq!(gid(b"d"), 8);
    set(&e, d, &mode(0o755));
    assert_eq!(gid(b"e"), 0);
}

#[test]
fn new_entries_get_the_acl_that_the_directory_has_now() {
    let dir = tempfile::tempdir().unwrap();
    let e = open(dir.path());
    let d = e.mkdir(&ROOT, NodeId::ROOT, b"d", 0o755, 0).unwrap().ino;
    let sub = e.mkdir(&ROOT, d, b"sub", 0o755, 0).unwrap().ino;
    let perm = |at, name: &[u8]| e.create(&ROOT, at, name, 0o666, 0o022).unwrap().perm;
    assert_eq!((perm(d, b"a"), perm(sub, b"a")), (0o644, 0o644));
    // rwx for the owner, r-x for the group, nothing for others
    let acl = [
        &2u32.to_le_bytes()[..],
        &[1, 0, 7, 0, 255, 255, 255, 255],
        &[4, 0, 5, 0, 255, 255, 255, 255],
        &[32, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    let name = b"system.posix_acl_default";
    for at in [sub, d] {
        e.setxattr(&ROOT, at, name, &acl, 0).unwrap();
    }
    assert_eq!((perm(d, b"b"), perm(sub, b"b")), (0o640, 0o640));
    let new = e.mkdir(&ROOT, d, b"new", 0o777, 0o022).unwrap();
    assert_eq!(new.perm, 0o750);
    assert_eq!(perm(new.ino, b"b"), 0o640);
    e.removexattr(d, name).unwrap();
    assert_eq!(perm(d, b"c"), 0o644);
}

#[test]
fn a_name_that_is_taken_is_refused_and_one_that_is_only_hidden_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    lay(d, &["l0/low", "l0/gone", "l0/dir/x"]);
    fs::create_dir(d.join("upper")).unwrap();
    for name in ["gone", "dir", "nothing", "nor this", "nor that"] {
        device(&d.join("upper").join(name));
    }
    fs::write(d.join("upper/up"), "up").unwrap();
    let e = open(d);
    for name in [&b"low"[..], b"up"] {
        let taken = |made: vellum::vfs::Result<_>| assert!(made.unwrap_err().is(Errno::EEXIST));
        taken(e.create(&ROOT, NodeId::ROOT, name, 0o644, 0));
        taken(e.mkdir(&ROOT, NodeId::ROOT, name, 0o755, 0));
        taken(e.symlink(&ROOT, NodeId::ROOT, name, b"to"));
    }
    assert_eq!(read(&e, at(&e, "low").ino), b"low");
    assert_eq!(read(&e, at(&e, "up").ino), b"up");
    for name in [&b"gone"[..], b"nothing"] {
        let made = e.create(&ROOT, NodeId::ROOT, name, 0o640, 0).unwrap();
        e.write(made.ino, 0, b"new", false).unwrap();
    }
    for name in [&b"dir"[..], b"nor this"] {
        let made = e.mkdir(&ROOT, NodeId::ROOT, name, 0o750, 0).unwrap();
        assert!(names(&e, made.ino).is_empty());
        assert_eq!(made.perm, 0o750);
    }
    e.symlink(&ROOT, NodeId::ROOT, b"nor that", b"to").unwrap();
    drop(e);
    let e = open(d);
    assert_eq!(read(&e, at(&e, "gone").ino), b"new");
    assert_eq!(read(&e, at(&e, "nothing").ino), b"new");
    assert!(names(&e, at(&e, "dir").ino).is_empty());
    assert_eq!(at(&e, "nor this").kind, Kind::Dir);
    assert_eq!(at(&e, "nor that").kind, Kind::Symlink);
}

#[test]
fn a_directory_goes_whatever_hides_in_it_but_not_with_what_shows() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    lay(d, &["l0/low/x", "upper/full/x"]);
    for bare in ["bare", "hidden"] {
        fs::create_dir(d.join("upper").join(bare)).unwrap();
    }
    device(&d.join("upper/hidden/x"));
    let e = open(d);
    for full in [&b"full"[..], b"low"] {
        assert!(
            e.rmdir(NodeId::ROOT, full)
                .unwrap_err()
                .is(Errno::ENOTEMPTY)
        );
    }
    e.unlink(at(&e, "low").ino, b"x").unwrap();
    for name in [&b"bare"[..], b"hidden", b"low"] {
        let id = e.lookup(NodeId::ROOT, name).unwrap().unwrap().ino;
        e.rmdir(NodeId::ROOT, name).unwrap();
        assert!(e.lookup(NodeId::ROOT, name).unwrap().is_none());
        // whoever is in it still is, and makes nothing there
        assert_eq!(e.getattr(id).unwrap().kind, Kind::Dir);
        let made = e.create(&ROOT, id, b"x", 0o644, 0);
        assert!(made.unwrap_err().is(Errno::ENOENT));
        assert!(names(&e, id).is_empty());
    }
    assert_eq!(names(&e, NodeId::ROOT), [b"full"]);
}

#[test]
fn a_file_without_a_name_is_used_on() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    lay(d, &["l0/low", "upper/old"]);
    let e = open(d);
    let new = e.create(&ROOT, NodeId::ROOT, b"new", 0o644, 0).unwrap();
    e.write(new.ino, 0, b"new", false).unwrap();
    for name in ["low", "old", "new"] {
        let was = at(&e, name);
        let data = read(&e, was.ino);
        e.unlink(NodeId::ROOT, name.as_bytes()).unwrap();
        let now = e.getattr(was.ino).unwrap();
        assert_eq!((now.nlink, now.size, now.mtime), (0, was.size, was.mtime));
        assert_eq!(read(&e, was.ino), data, "{name}");
        // the time that it has: nothing to be done, and the answer says all
        let times = |time| SetAttr {
            mtime: Some(SetTime::At(time)),
            ..SetAttr::default()
        };
        let same = e.unchanged_by(was.ino, &times(was.mtime)).unwrap();
        assert_eq!(
            same.map(|attr| (attr.nlink, attr.mtime)),
            Some((0, was.mtime))
        );
        let other = Time { sec: 1, nsec: 2 };
        assert!(e.unchanged_by(was.ino, &times(other)).unwrap().is_none());
        set(&e, was.ino, &times(other));
        assert_eq!(e.getattr(was.ino).unwrap().mtime, other);
        e.write(was.ino, 0, b"NEW", false).unwrap();
        assert_eq!(read(&e, was.ino), b"NEW");
        assert!(e.lookup(NodeId::ROOT, name.as_bytes()).unwrap().is_none());
    }
    assert_eq!(fs::read(d.join("l0/low")).unwrap(), b"low");
}

#[test]
fn a_listing_shows_what_has_become_of_an_entry_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let files: Vec<String> = (0..20).map(|i| format!("l0/d/f{i}")).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    lay(d, &files);
    lay(d, &["l0/d/sub/x", "upper/d/own"]);
    let e = open(d);
    let id = at(&e, "d").ino;
    let list = |from: u64, most: usize| {
        let (mut got, mut last) = (Vec::new(), from);
        e.readdir(id, from, true, &mut |entry| {
            if got.len() == most {
                return false;
            }
            last = entry.cookie;
            let size = entry.attr.map(|attr| attr.size);
            got.push((String::from_utf8(entry.name.to_vec()).unwrap(), size));
            true
        })
        .unwrap();
        (got, last)
    };
    let (first, cookie) = list(0, 12);
    let shown = |name: &str| first.iter().any(|(n, _)| n == name);
    let later: Vec<String> = (0..20)
        .map(|i| format!("f{i}"))
        .filter(|name| !shown(name))
        .collect();
    let [gone, changed, replaced] = [&later[0], &later[1], &later[2]];
    e.unlink(id, gone.as_bytes()).unwrap();
    let up = at(&e, &format!("d/{changed}")).ino;
    e.write(up, 0, b"longer than low", false).unwrap();
    e.unlink(id, replaced.as_bytes()).unwrap();
    e.create(&ROOT, id, replaced.as_bytes(), 0o644, 0).unwrap();
    let (rest, _) = list(cookie, usize::MAX);
    let size = |name: &str| rest.iter().find(|(n, _)| n == name).map(|(_, size)| *size);
    assert_eq!(size(gone), None);
    assert_eq!(size(changed), Some(Some(15)));
    assert_eq!(size(replaced), Some(Some(0)));
    assert_eq!(size(&later[3]), Some(Some(3)));
    // and from the start again
    let (all, _) = list(0, usize::MAX);
    assert_eq!(all.len(), 2 + 20 - 1 + 2);
}

/// A copy-up that fails when the copy is in its place already, as the times of its directory cannot be kept
/// (`chattr +a`): what the file becomes then shows in the listing, too.
#[test]
fn a_listing_shows_what_a_failed_copy_up_left() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    lay(d, &["l0/dir/file", "l0/dir/first"]);
    let e = open(d);
    let parent = at(&e, "dir").ino;
    // the directory has its marks
    e.write(at(&e, "dir/first").ino, 0, b"x", false).unwrap();
    let size = |name: &[u8]| {
        let mut sizes = Vec::new();
        let mut each = |entry: &DirEntry<'_>| {
            if entry.name == name {
                sizes.push(entry.attr.map(|a| a.size));
            }
            true
        };
        e.readdir(parent, 0, true, &mut each).unwrap();
        sizes
    };
    assert_eq!(size(b"file"), [Some(3)]);
    let upper = d.join("upper/dir");
    let chattr = |flag| Command::new("chattr").arg(flag).arg(&upper).status();
    if !chattr("+a").is_ok_and(|done| done.success()) {
        return live::skip("the file system of temporary files has no chattr +a");
    }
    let file = at(&e, "dir/file").ino;
    let failed = e.write(file, 0, b"longer", false);
    chattr("-a").unwrap();
    assert!(failed.unwrap_err().is(Errno::EPERM));
    e.forget(file, 2); // the listing's, too
    // the copy is there, and is what a look finds; that it is written to then shows everywhere
    assert!(upper.join("file").exists());
    let file = at(&e, "dir/file").ino;
    e.write(file, 0, b"longer", false).unwrap();
    e.forget(file, 1);
    assert_eq!(size(b"file"), [Some(6)]);
}
