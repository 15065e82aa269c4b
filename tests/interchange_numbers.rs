//! An upper of ours under kernel overlayfs: inode numbers there are those that the files had
//! before they were copied up, a listing shows the number that stat does, and what the kernel
//! leaves of the marks is what we go on with.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod live;

use engine::{ROOT, at, open, split};
use live::{may_mount, run, sh};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use vellum::overlay::Engine;
use vellum::vfs::SetAttr;

struct Kernel(PathBuf);

impl Kernel {
    /// Kernel overlayfs over the layers of `dir`.
    fn mount(dir: &Path) -> Kernel {
        let mnt = dir.join("mnt");
        for name in ["mnt", "upper", "work"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        let options = "lowerdir=l0:l1,upperdir=upper,workdir=work,redirect_dir=on,metacopy=on,index=off,xino=off";
        run(Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", options])
            .arg(&mnt)
            .current_dir(dir));
        Kernel(mnt)
    }

    /// The number of every file by path. A listing must show the one that stat does, and `find
    /// -inum` must find it.
    fn numbers(&self) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        let mut todo = vec![PathBuf::new()];
        while let Some(at) = todo.pop() {
            for entry in fs::read_dir(self.0.join(&at)).unwrap() {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                let path = at.join(entry.file_name());
                assert_eq!(entry.ino(), meta.ino(), "{path:?}: d_ino, st_ino");
                let found = sh(
                    "cd \"$1\"; find . -inum \"$2\"",
                    &[self.0.as_os_str(), meta.ino().to_string().as_ref()],
                );
                let want = format!("./{}", path.display());
                assert!(found.lines().any(|l| l == want), "{want}: {found}");
                if meta.is_dir() {
                    todo.push(path.clone());
                }
                out.insert(path.display().to_string(), meta.ino());
            }
        }
        out
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

fn lay(dir: &Path) {
    for path in [
        "l0/d/a",
        "l0/d/sub/x",
        "l1/d/sub/y",
        "l1/d/b",
        "l1/d/deep/er/z",
        "l1/f",
        "l1/two",
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, path.to_str().unwrap()).unwrap();
    }
    fs::hard_link(dir.join("l1/two"), dir.join("l1/d/names")).unwrap();
    symlink("target", dir.join("l1/d/link")).unwrap();
}

/// Copies up, by data, by metadata alone, by name: files, directories, a symlink. And moves.
fn change(e: &Engine) {
    let chmod = |path: &str| {
        let set = SetAttr {
            mode: Some(0o700),
            ..SetAttr::default()
        };
        e.setattr(&ROOT, at(e, path).ino, &set).unwrap();
    };
    let mv = |from: &str, to: &str| {
        let ((a, an), (b, bn)) = (split(e, from), split(e, to));
        e.rename(a, an, b, bn, 0).unwrap();
    };
    e.write(at(e, "d/a").ino, 0, b"new", false).unwrap();
    chmod("d/b");
    chmod("d/sub");
    chmod("d/deep/er");
    let owner = SetAttr {
        uid: Some(7),
        ..SetAttr::default()
    };
    e.setattr(&ROOT, at(e, "d/link").ino, &owner).unwrap();
    e.mkdir(&ROOT, at(e, "").ino, b"new", 0o755, 0).unwrap();
    e.write(at(e, "f").ino, 0, b"new", false).unwrap();
    mv("f", "new/f");
    mv("d/sub", "new/sub");
    e.write(at(e, "two").ino, 0, b"new", false).unwrap();
}

fn moved(path: &str) -> String {
    match path.strip_prefix("d/sub") {
        Some(rest) => format!("new/sub{rest}"),
        None if path == "f" => "new/f".to_owned(),
        None => path.to_owned(),
    }
}

#[test]
fn numbers_stay_and_listings_show_them() {
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    lay(d);
    let before = Kernel::mount(d).numbers();
    assert!(before.len() >= 12, "{before:?}");
    let e = open(d);
    change(&e);
    let ours: BTreeMap<String, u64> = before
        .keys()
        .map(|p| (moved(p), at(&e, &moved(p)).ino.0))
        .collect();
    drop(e);
    for round in ["fresh", "as the kernel left it"] {
        let after = Kernel::mount(d).numbers();
        for (path, number) in &before {
            let path = moved(path);
            // names of one file: the kernel, too, shows the copy's own number
            if !["two", "d/names"].contains(&path.as_str()) {
                assert_eq!(after[&path], *number, "{path}, {round}");
            }
        }
        assert_eq!(after["two"], after["d/names"]);
        let e = open(d);
        for (path, number) in &ours {
            assert_eq!(at(&e, path).ino.0, *number, "{path}, ours, {round}");
        }
    }
}

/// The very bytes that the kernel writes for the same file.
#[test]
fn the_mark_is_the_kernels_own() {
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    lay(d);
    let origins = || {
        let of = |path: &str| {
            let at = d.join("upper").join(path);
            let said = sh(
                "getfattr -h --only-values -e hex -n trusted.overlay.origin \"$1\" | od -An -tx1",
                &[at.as_os_str()],
            );
            assert!(said.len() > 60, "{path}: {said}");
            said
        };
        ["d", "d/a", "d/b", "d/deep", "d/deep/er"].map(of)
    };
    let e = open(d);
    change(&e);
    drop(e);
    let ours = origins();
    for name in ["upper", "work"] {
        fs::remove_dir_all(d.join(name)).unwrap();
    }
    let kernel = Kernel::mount(d);
    sh(
        "cd \"$1\"; echo new >d/a; chmod 700 d/b d/deep/er",
        &[kernel.0.as_os_str()],
    );
    drop(kernel);
    assert_eq!(ours, origins());
}
