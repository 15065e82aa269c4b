//! Every step of every operation is a place where the process can be killed. After it, the next
//! mount shows the tree from before the operation or the one from after it, and nothing else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod engine;

use engine::{ROOT, at, dump, fingerprint, open_with, split};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use vellum::overlay::{Engine, Marks};
use vellum::vfs::{Result, SetAttr};

/// Two lowers with something of everything, and what an earlier mount left in the upper.
fn lay(dir: &Path, marks: Marks) {
    // the engine sets the umask of its process; the files here are to be the same before and after
    rustix::process::umask(rustix::fs::Mode::empty());
    let write = |path: &str, data: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    };
    write("l1/d/a", "a of l1");
    write("l1/d/b", "b of l1");
    write("l1/d/sub/x", "x");
    write("l1/empty/gone", "gone");
    write("l1/f", "f of l1");
    write("l1/was/x", "of a directory that goes");
    write("l1/again/x", "of a directory that comes again");
    write("l1/more/deep/x", "x");
    write("l0/d/a", "a of l0");
    write("l0/e/q", "q");
    fs::hard_link(dir.join("l1/f"), dir.join("l1/d/f2")).unwrap();
    symlink("d/a", dir.join("l1/s")).unwrap();
    fs::set_permissions(dir.join("l1/d"), fs::Permissions::from_mode(0o2750)).unwrap();
    let e = open_with(dir, marks);
    let (empty, name) = split(&e, "empty/gone");
    e.unlink(empty, name).unwrap();
    e.mkdir(&ROOT, at(&e, "").ino, b"up", 0o755, 0).unwrap();
    let new = e.create(&ROOT, at(&e, "up").ino, b"new", 0o644, 0).unwrap();
    e.write(new.ino, 0, b"new", false).unwrap();
    e.setattr(
        &ROOT,
        at(&e, "d/b").ino,
        &SetAttr {
            mode: Some(0o640),
            ..SetAttr::default()
        },
    )
    .unwrap();
    let (root, q) = split(&e, "e/q");
    e.unlink(root, q).unwrap();
    for gone in ["was", "again"] {
        rm(&e, &format!("{gone}/x")).unwrap();
        rmdir(&e, gone).unwrap();
    }
    mkdir(&e, "again").unwrap();
    mkdir(&e, "up/in").unwrap();
}

type Op = (&'static str, fn(&Engine) -> Result<()>);

fn mv(e: &Engine, from: &str, to: &str, flags: u32) -> Result<()> {
    let ((a, an), (b, bn)) = (split(e, from), split(e, to));
    e.rename(a, an, b, bn, flags)
}

fn rm(e: &Engine, path: &str) -> Result<()> {
    let (dir, name) = split(e, path);
    e.unlink(dir, name)
}

fn rmdir(e: &Engine, path: &str) -> Result<()> {
    let (dir, name) = split(e, path);
    e.rmdir(dir, name)
}

fn mkdir(e: &Engine, path: &str) -> Result<()> {
    let (dir, name) = split(e, path);
    e.mkdir(&ROOT, dir, name, 0o755, 0).map(|_| ())
}

fn create(e: &Engine, path: &str) -> Result<()> {
    let (dir, name) = split(e, path);
    e.create(&ROOT, dir, name, 0o644, 0o022).map(|_| ())
}

fn chmod(e: &Engine, path: &str) -> Result<()> {
    e.setattr(
        &ROOT,
        at(e, path).ino,
        &SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        },
    )
    .map(|_| ())
}

const OPS: &[Op] = &[
    ("write to a lower file", |e| {
        e.write(at(e, "d/a").ino, 0, b"W", false).map(|_| ())
    }),
    ("write to a metadata-only copy", |e| {
        e.write(at(e, "d/b").ino, 0, b"W", false).map(|_| ())
    }),
    ("truncate a lower file", |e| {
        e.setattr(
            &ROOT,
            at(e, "d/a").ino,
            &SetAttr {
                size: Some(0),
                ..SetAttr::default()
            },
        )
        .map(|_| ())
    }),
    ("chmod a lower file", |e| chmod(e, "d/a")),
    ("chmod a lower directory", |e| chmod(e, "d/sub")),
    ("setxattr on a lower file", |e| {
        e.setxattr(&ROOT, at(e, "d/a").ino, b"user.k", b"v", 0)
    }),
    ("create", |e| create(e, "d/new")),
    ("create over a whiteout", |e| create(e, "e/q")),
    ("mkdir", |e| mkdir(e, "d/newdir")),
    ("mkdir over a whiteout", |e| mkdir(e, "e/q")),
    ("write to a file with two names", |e| {
        e.write(at(e, "f").ino, 0, b"W", false).map(|_| ())
    }),
    ("chmod a file with two names", |e| chmod(e, "d/f2")),
    ("unlink one of two names", |e| rm(e, "f")),
    ("symlink", |e| {
        e.symlink(&ROOT, at(e, "d").ino, b"ln", b"target")
            .map(|_| ())
    }),
    ("link a lower file", |e| {
        e.link(at(e, "d/a").ino, at(e, "e").ino, b"a2").map(|_| ())
    }),
    ("link over a whiteout", |e| {
        e.link(at(e, "d/a").ino, at(e, "e").ino, b"q").map(|_| ())
    }),
    ("unlink a lower file", |e| rm(e, "d/a")),
    ("unlink an upper file", |e| rm(e, "up/new")),
    ("unlink a copied-up file", |e| rm(e, "d/b")),
    ("unlink a lower symlink", |e| rm(e, "s")),
    ("rmdir a merged directory", |e| rmdir(e, "empty")),
    ("rename a lower file", |e| mv(e, "d/a", "e/moved", 0)),
    ("rename a lower file over a lower file", |e| {
        mv(e, "d/a", "d/b", 0)
    }),
    ("rename a lower file over a whiteout", |e| {
        mv(e, "d/a", "e/q", 0)
    }),
    ("rename an upper file over a lower file", |e| {
        mv(e, "up/new", "d/a", 0)
    }),
    ("rename a lower directory", |e| mv(e, "d/sub", "e/moved", 0)),
    ("rename a lower directory over a whiteout", |e| {
        mv(e, "d/sub", "e/q", 0)
    }),
    ("rename a lower directory over an empty one", |e| {
        mv(e, "d", "empty", 0)
    }),
    ("rename an upper directory over an empty lower one", |e| {
        mv(e, "up", "empty", 0)
    }),
    ("rename an upper directory over a whiteout", |e| {
        mv(e, "up", "e/q", 0)
    }),
    ("mkdir over a removed directory", |e| mkdir(e, "was")),
    ("rmdir of an opaque directory", |e| rmdir(e, "again")),
    ("symlink over a removed directory", |e| {
        e.symlink(&ROOT, at(e, "").ino, b"was", b"target")
            .map(|_| ())
    }),
    ("rename an upper directory over an opaque one", |e| {
        mv(e, "up", "again", 0)
    }),
    ("rename an upper directory over a removed one", |e| {
        mv(e, "up/in", "was", 0)
    }),
    ("rename an opaque directory", |e| {
        mv(e, "again", "d/again", 0)
    }),
    ("rename an opaque directory over a removed one", |e| {
        mv(e, "again", "was", 0)
    }),
    ("rename an upper file over a removed directory", |e| {
        mv(e, "up/new", "was", 0)
    }),
    ("exchange upper directories", |e| {
        mv(e, "up", "again", libc::RENAME_EXCHANGE)
    }),
    ("exchange a copied-up file and an upper directory", |e| {
        mv(e, "d/b", "up", libc::RENAME_EXCHANGE)
    }),
    ("exchange files", |e| {
        mv(e, "d/a", "up/new", libc::RENAME_EXCHANGE)
    }),
    ("exchange directories", |e| {
        mv(e, "d/sub", "up", libc::RENAME_EXCHANGE)
    }),
    ("exchange a file and a directory", |e| {
        mv(e, "d/a", "d/sub", libc::RENAME_EXCHANGE)
    }),
];

/// What needs a redirect, and so is refused (EXDEV) where marks are names.
const REDIRECTED: &[&str] = &[
    "rename a lower directory",
    "rename a lower directory over a whiteout",
    "rename a lower directory over an empty one",
    "exchange directories",
    "exchange a file and a directory",
];

/// Where no rename leaves a whiteout behind by itself, the target of one that does is hidden
/// first: after a crash in between, the file that was to be replaced, of this name, is gone, and all
/// else is as before.
const TARGET_FIRST: &[(&str, &str)] = &[
    ("rename a lower file over a lower file", "/d/b"),
    ("rename a lower directory over an empty one", "/empty"),
];

/// True if the tree is the one from before, without the target that goes first.
fn target_gone(name: &str, marks: Marks, before: &str, now: &str) -> bool {
    let target = TARGET_FIRST.iter().find(|(op, _)| *op == name);
    let Some((_, target)) = target.filter(|_| marks == Marks::Attributes) else {
        return false;
    };
    let kept: Vec<&str> = before
        .lines()
        .filter(|l| l.split(' ').next() != Some(target))
        .collect();
    now.lines().eq(kept)
}

/// What a new mount shows, and that it can be made at all.
fn remounted(dir: &Path, marks: Marks) -> String {
    dump(&open_with(dir, marks))
}

fn lowers(dir: &Path) -> [Vec<String>; 2] {
    ["l0", "l1"].map(|l| fingerprint(&dir.join(l)))
}

/// Does all of it, and counts the steps.
fn whole(name: &str, op: fn(&Engine) -> Result<()>, marks: Marks) -> (String, String, u64) {
    let whole = tempfile::tempdir().unwrap();
    lay(whole.path(), marks);
    let before = remounted(whole.path(), marks);
    let e = open_with(whole.path(), marks);
    let first = e.stop().unwrap().taken();
    let names = matches!(marks, Marks::Devices | Marks::Names);
    let done = op(&e);
    let refused = names && REDIRECTED.contains(&name);
    if refused {
        let why = done.expect_err(name);
        assert!(why.is(nix::errno::Errno::EXDEV), "{name}: {why:?}");
        assert_eq!(dump(&e), before, "{name}: refused, and something changed");
    } else {
        done.unwrap_or_else(|err| panic!("{name}: {err}"));
        // what shows now is what shows later
        assert_eq!(dump(&e), remounted_copy(whole.path(), marks), "{name}");
    }
    let steps = e.stop().unwrap().taken() - first;
    drop(e);
    let after = remounted(whole.path(), marks);
    assert!(steps > 0 || refused, "{name} takes no step");
    (before, after, steps)
}

/// What a mount of a copy of the upper shows.
fn remounted_copy(dir: &Path, marks: Marks) -> String {
    let copy = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-a", "--"])
        .args(["l0", "l1", "upper"].map(|d| dir.join(d)))
        .arg(copy.path())
        .status();
    assert!(copied.unwrap().success());
    remounted(copy.path(), marks)
}

fn every_step(marks: Marks) {
    for (name, op) in OPS {
        let (before, after, steps) = whole(name, *op, marks);
        for n in 0..steps {
            let dir = tempfile::tempdir().unwrap();
            lay(dir.path(), marks);
            let kept = lowers(dir.path());
            let e = open_with(dir.path(), marks);
            e.stop().unwrap().after(n);
            let result = op(&e);
            drop(e);
            let now = remounted(dir.path(), marks);
            assert!(
                now == before || now == after || target_gone(name, marks, &before, &now),
                "{name}, stopped after step {n} of {steps} ({result:?}):\n{now}\nbefore:\n{before}\nafter:\n{after}"
            );
            if result.is_ok() {
                assert_eq!(now, after, "{name}: said done after step {n} of {steps}");
            }
            assert_eq!(lowers(dir.path()), kept, "{name}: a lower changed");
            let left = fs::read_dir(dir.path().join("work/work")).unwrap().count();
            assert_eq!(left, 0, "{name}: the work directory was not swept");
        }
    }
}

#[test]
fn every_step_leaves_the_old_state_or_the_new() {
    every_step(Marks::Auto);
}

#[test]
fn also_with_whiteouts_that_are_attributes() {
    every_step(Marks::Attributes);
}

#[test]
fn also_with_devices_and_no_attributes() {
    every_step(Marks::Devices);
}

#[test]
fn also_with_marks_that_are_names() {
    every_step(Marks::Names);
}
