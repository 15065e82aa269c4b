//! Every step of every operation is a place where the process can be killed. After it, the next
//! mount shows the tree from before the operation or the one from after it, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;

use engine::{ROOT, at, dump, fingerprint, open, split};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use vellum::overlay::Engine;
use vellum::vfs::{Result, SetAttr};

/// Two lowers with something of everything, and what an earlier mount left in the upper.
fn lay(dir: &Path) {
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
    write("l0/d/a", "a of l0");
    write("l0/e/q", "q");
    fs::hard_link(dir.join("l1/f"), dir.join("l1/d/f2")).unwrap();
    symlink("d/a", dir.join("l1/s")).unwrap();
    fs::set_permissions(dir.join("l1/d"), fs::Permissions::from_mode(0o2750)).unwrap();
    let e = open(dir);
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

/// What a new mount shows, and that it can be made at all.
fn remounted(dir: &Path) -> String {
    dump(&open(dir))
}

#[test]
fn every_step_leaves_the_old_state_or_the_new() {
    for (name, op) in OPS {
        let whole = tempfile::tempdir().unwrap();
        lay(whole.path());
        let before = remounted(whole.path());
        let e = open(whole.path());
        let first = e.stop().unwrap().taken();
        op(&e).unwrap_or_else(|err| panic!("{name}: {err}"));
        let steps = e.stop().unwrap().taken() - first;
        drop(e);
        let after = remounted(whole.path());
        assert!(steps > 0, "{name} takes no step");
        for n in 0..steps {
            let dir = tempfile::tempdir().unwrap();
            lay(dir.path());
            let lowers = [
                fingerprint(&dir.path().join("l0")),
                fingerprint(&dir.path().join("l1")),
            ];
            let e = open(dir.path());
            e.stop().unwrap().after(n);
            let result = op(&e);
            drop(e);
            let now = remounted(dir.path());
            assert!(
                now == before || now == after,
                "{name}, stopped after step {n} of {steps} ({result:?}):\n{now}\nbefore:\n{before}\nafter:\n{after}"
            );
            if result.is_ok() {
                assert_eq!(now, after, "{name}: said done after step {n} of {steps}");
            }
            let kept = [
                fingerprint(&dir.path().join("l0")),
                fingerprint(&dir.path().join("l1")),
            ];
            assert_eq!(kept, lowers, "{name}: a lower changed");
            let left = fs::read_dir(dir.path().join("work/work")).unwrap().count();
            assert_eq!(left, 0, "{name}: the work directory was not swept");
        }
    }
}
