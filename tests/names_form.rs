//! An upper whose file system keeps no extended attributes: marks are names, or devices and
//! names. What is on disk, what is refused, and that nothing else differs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod engine;
mod live;

use engine::{ROOT, at, dump, open_with, split};
use live::{Stack, may_mount, run, sh, text};
use nix::errno::Errno;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use vellum::overlay::{Config, Engine, Marks};
use vellum::vfs::Result;

const FORMS: [Marks; 2] = [Marks::Devices, Marks::Names];

fn lay(dir: &Path) {
    rustix::process::umask(rustix::fs::Mode::empty());
    for (path, data) in [
        ("l0/d/a", "a"),
        ("l0/d/sub/x", "x"),
        ("l1/d/b", "b"),
        ("l1/d/sub/y", "y"),
        ("l1/f", "f"),
    ] {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }
    fs::hard_link(dir.join("l1/f"), dir.join("l1/d/f2")).unwrap();
}

fn bed(marks: Marks) -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    lay(dir.path());
    let e = open_with(dir.path(), marks);
    (dir, e)
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
    e.mkdir(&ROOT, dir, name, 0o755, 0).map(drop)
}

fn create(e: &Engine, path: &str) -> Result<()> {
    let (dir, name) = split(e, path);
    e.create(&ROOT, dir, name, 0o644, 0).map(drop)
}

fn mv(e: &Engine, from: &str, to: &str) -> Result<()> {
    let ((a, an), (b, bn)) = (split(e, from), split(e, to));
    e.rename(a, an, b, bn, 0)
}

/// Names in the upper, sorted, below `path`.
fn on_disk(dir: &Path, path: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir.join("upper").join(path))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The same tree now, after a remount, and with the upper as one more lower.
fn everywhere(dir: &Path, e: Engine, marks: Marks) {
    let now = dump(&e);
    drop(e);
    assert_eq!(dump(&open_with(dir, marks)), now, "after a remount");
    let lowers = ["upper", "l0", "l1"].map(|l| dir.join(l)).to_vec();
    let below = Engine::open(&Config {
        lowers,
        ..Config::default()
    });
    assert_eq!(dump(&below.unwrap()), now, "as a lower");
    let marked = sh(
        "getfattr -R -h -d -m- \"$1\" 2>/dev/null",
        &[dir.join("upper").as_os_str()],
    );
    assert!(!marked.contains("overlay"), "{marked}");
}

#[test]
fn what_is_written_down() {
    let (dir, e) = bed(Marks::Names);
    rm(&e, "d/a").unwrap();
    assert_eq!(on_disk(dir.path(), "d"), [".wh.a"]);
    // a file that comes there leaves the whiteout, and goes without another
    create(&e, "d/a").unwrap();
    assert_eq!(on_disk(dir.path(), "d"), [".wh.a", "a"]);
    rm(&e, "d/a").unwrap();
    assert_eq!(on_disk(dir.path(), "d"), [".wh.a"]);
    for name in ["x", "y"] {
        rm(&e, &format!("d/sub/{name}")).unwrap();
    }
    rmdir(&e, "d/sub").unwrap();
    assert_eq!(on_disk(dir.path(), "d"), [".wh.a", ".wh.sub"]);
    // a directory that comes there says so itself, too
    mkdir(&e, "d/sub").unwrap();
    assert_eq!(on_disk(dir.path(), "d/sub"), [".wh..wh..opq"]);
    create(&e, "d/sub/new").unwrap();
    // a name with nothing below needs no whiteout
    create(&e, "d/mine").unwrap();
    rm(&e, "d/mine").unwrap();
    assert_eq!(on_disk(dir.path(), "d"), [".wh.a", ".wh.sub", "sub"]);
    everywhere(dir.path(), e, Marks::Names);
}

#[test]
fn devices_where_they_can_be_made() {
    let (dir, e) = bed(Marks::Devices);
    rm(&e, "d/a").unwrap();
    let whiteout = fs::symlink_metadata(dir.path().join("upper/d/a")).unwrap();
    assert_eq!(
        (whiteout.mode() & libc::S_IFMT, whiteout.rdev()),
        (libc::S_IFCHR, 0)
    );
    for name in ["x", "y"] {
        rm(&e, &format!("d/sub/{name}")).unwrap();
    }
    rmdir(&e, "d/sub").unwrap();
    mkdir(&e, "d/sub").unwrap();
    assert_eq!(on_disk(dir.path(), "d/sub"), [".wh..wh..opq"]);
    everywhere(dir.path(), e, Marks::Devices);
}

#[test]
fn what_needs_attributes_is_refused_or_done_without() {
    for marks in FORMS {
        let (dir, e) = bed(marks);
        for from in ["d", "d/sub"] {
            let refused = mv(&e, from, "moved").unwrap_err();
            assert!(refused.is(Errno::EXDEV), "{marks:?}: {refused:?}");
        }
        // a change of metadata copies the data
        let set = vellum::vfs::SetAttr {
            mode: Some(0o600),
            ..Default::default()
        };
        e.setattr(&ROOT, at(&e, "d/a").ino, &set).unwrap();
        assert_eq!(fs::read(dir.path().join("upper/d/a")).unwrap(), b"a");
        // all names of a file stay one file
        e.write(at(&e, "f").ino, 0, b"F", false).unwrap();
        assert_eq!(at(&e, "d/f2").nlink, 2);
        everywhere(dir.path(), e, marks);
    }
}

#[test]
fn link_counts_are_right_after_a_remount() {
    for marks in FORMS {
        let (dir, e) = bed(marks);
        rm(&e, "f").unwrap();
        assert_eq!(at(&e, "d/f2").nlink, 1);
        drop(e);
        let e = open_with(dir.path(), marks);
        assert_eq!(at(&e, "d/f2").nlink, 1, "{marks:?}");
    }
}

#[test]
fn a_directory_that_becomes_opaque_keeps_its_times() {
    for marks in FORMS {
        let (dir, e) = bed(marks);
        for path in ["d/sub/x", "d/sub/y"] {
            rm(&e, path).unwrap();
        }
        rmdir(&e, "d/sub").unwrap();
        mkdir(&e, "new").unwrap();
        create(&e, "new/file").unwrap();
        let before = at(&e, "new").mtime;
        std::thread::sleep(std::time::Duration::from_millis(20));
        mv(&e, "new", "d/sub").unwrap();
        assert_eq!(at(&e, "d/sub").mtime, before, "{marks:?}");
        assert!(on_disk(dir.path(), "d/sub").contains(&".wh..wh..opq".to_owned()));
        everywhere(dir.path(), e, marks);
    }
}

#[test]
fn what_one_form_left_another_goes_on_with() {
    for (first, then) in [
        (Marks::Devices, Marks::Names),
        (Marks::Names, Marks::Devices),
    ] {
        let (dir, e) = bed(first);
        for path in ["d/a", "d/b", "d/sub/x", "d/sub/y"] {
            rm(&e, path).unwrap();
        }
        rmdir(&e, "d/sub").unwrap();
        let before = dump(&e);
        drop(e);
        let e = open_with(dir.path(), then);
        assert_eq!(dump(&e), before);
        create(&e, "d/a").unwrap();
        mkdir(&e, "d/b").unwrap();
        mkdir(&e, "dir").unwrap();
        create(&e, "dir/in").unwrap();
        mv(&e, "dir", "d/sub").unwrap();
        rm(&e, "d/a").unwrap();
        everywhere(dir.path(), e, then);
    }
}

#[test]
fn a_name_too_long_for_a_whiteout_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    lay(dir.path());
    let (fits, long) = ("n".repeat(251), "n".repeat(252));
    for name in [&fits, &long] {
        fs::write(dir.path().join("l1/d").join(name), "x").unwrap();
    }
    let e = open_with(dir.path(), Marks::Names);
    rm(&e, &format!("d/{fits}")).unwrap();
    let before = dump(&e);
    let path = format!("d/{long}");
    for refused in [rm(&e, &path), mv(&e, &path, "short")] {
        let refused = refused.unwrap_err();
        assert!(refused.is(Errno::ENAMETOOLONG), "{refused:?}");
        assert!(refused.reason().contains("251 bytes"), "{refused:?}");
    }
    assert_eq!(dump(&e), before);
    // one of the upper alone needs none
    let own = "m".repeat(255);
    create(&e, &own).unwrap();
    mv(&e, &own, "d/short").unwrap();
    // and with devices there is no such limit
    let other = tempfile::tempdir().unwrap();
    lay(other.path());
    fs::write(other.path().join("l1/d").join(&long), "x").unwrap();
    let e = open_with(other.path(), Marks::Devices);
    rm(&e, &path).unwrap();
    everywhere(other.path(), e, Marks::Devices);
}

#[test]
fn a_file_cannot_get_the_name_of_a_mark() {
    for marks in [Marks::Devices, Marks::Names] {
        let (dir, e) = bed(marks);
        let f = at(&e, "f").ino;
        let d = at(&e, "d").ino;
        for name in [".wh.a", ".wh..wh..opq", ".wh..wh.plnk"] {
            for refused in [
                create(&e, &format!("d/{name}")),
                mkdir(&e, &format!("d/{name}")),
                mv(&e, "f", &format!("d/{name}")),
                e.link(f, d, name.as_bytes()).map(drop),
                e.symlink(&ROOT, d, name.as_bytes(), b"x").map(drop),
            ] {
                let refused = refused.unwrap_err();
                assert!(refused.is(Errno::EPERM), "{marks:?} {name}: {refused:?}");
                assert!(refused.reason().contains(".wh."), "{refused:?}");
            }
        }
        create(&e, "d/.wh").unwrap();
        create(&e, "d/.wh.").unwrap();
        let now = dump(&e);
        drop(e);
        assert_eq!(dump(&open_with(dir.path(), marks)), now);
    }
}

#[test]
fn where_marks_are_attributes_a_name_is_a_name() {
    for marks in [Marks::Auto, Marks::Attributes] {
        let (dir, e) = bed(marks);
        for name in ["d/.wh.a", "d/.wh..wh..opq", ".wh.f"] {
            create(&e, name).unwrap();
        }
        mv(&e, "d/.wh.a", "d/.wh.b").unwrap();
        // what they would hide shows
        for name in ["d/a", "d/b", "f", "d/.wh.b", "d/.wh..wh..opq", ".wh.f"] {
            at(&e, name);
        }
        let now = dump(&e);
        drop(e);
        assert_eq!(dump(&open_with(dir.path(), marks)), now);
    }
}

#[test]
fn in_an_upper_that_another_program_began_a_name_may_be_a_mark() {
    let dir = tempfile::tempdir().unwrap();
    lay(dir.path());
    fs::create_dir_all(dir.path().join("upper/d")).unwrap();
    fs::write(dir.path().join("upper/d/.wh.a"), "").unwrap();
    for _ in 0..2 {
        let e = open_with(dir.path(), Marks::Auto);
        let d = at(&e, "d").ino;
        assert!(e.lookup(d, b"a").unwrap().is_none());
        assert!(e.lookup(d, b".wh.a").unwrap().is_none());
        assert!(create(&e, "d/.wh.b").unwrap_err().is(Errno::EPERM));
    }
}

/// A file system in a directory of a stack, gone at the end.
struct Ram(PathBuf);

impl Ram {
    fn new(stack: &mut Stack) -> Ram {
        let at = stack.dir().join("ram");
        fs::create_dir(&at).unwrap();
        run(Command::new("mount")
            .args(["-t", "ramfs", "ramfs"])
            .arg(&at));
        for (name, path) in [("upper", &mut stack.upper), ("work", &mut stack.work)] {
            *path = at.join(name);
            fs::create_dir(&*path).unwrap();
        }
        Ram(at)
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // the mount over it, if a failed test left it, holds it until it goes itself
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// What is done in the mount, and beside it in a plain directory.
const LIFE: &str = "
    cd \"$1\"
    echo more >>d/a
    chmod 600 d/b
    rm f; echo new >f
    ln d/a link
    rm -r d/sub; mkdir d/sub; echo in >d/sub/own
    mkdir own; mkdir own/in; mv own moved
    rm -r gone; mv moved gone
    ln -s d/a symlink; mkfifo fifo
    mv d/b d/c
    cp -a d copy; rm -r copy/sub
    touch -d @1000 d gone .
";

#[test]
fn a_mount_over_ramfs() {
    if !may_mount() {
        return;
    }
    let mut s = Stack::new(2);
    for (layer, path) in [
        (0, "d/a"),
        (0, "d/sub/x"),
        (1, "d/b"),
        (1, "d/sub/y"),
        (1, "f"),
        (1, "gone/z"),
    ] {
        s.lower(layer, path, path);
    }
    let lowers: Vec<String> = s.lowers.iter().map(|l| live::digest(l)).collect();
    let plain = s.dir().join("plain");
    sh(
        "cp -a \"$1\" \"$3\"; cp -a \"$2/.\" \"$3\"",
        &[
            s.lowers[1].as_os_str(),
            s.lowers[0].as_os_str(),
            plain.as_os_str(),
        ],
    );
    let _ram = Ram::new(&mut s);
    let out = s.command(&[]).output().unwrap();
    assert!(out.status.success(), "{}", text(&out));
    for lost in ["keeps no extended attributes", "EXDEV", "inode numbers"] {
        assert!(
            text(&out).contains(lost),
            "not told: {lost}: {}",
            text(&out)
        );
    }
    for place in [&s.mnt, &plain] {
        sh(LIFE, &[place.as_os_str()]);
    }
    // names, types, modes, owners, link counts, data; times of what was touched
    let tree = |at: &Path| {
        sh(
            "cd \"$1\"; find . -printf '%p %y %m %U:%G %l\\n' | sort; find . -type f -printf '%p %n\\n' | sort
             find . -type f | sort | xargs -d '\\n' sha256sum; stat -c '%n %Y' . d gone",
            &[at.as_os_str()],
        )
    };
    let want = tree(&plain);
    assert_eq!(tree(&s.mnt), want);
    // a directory of a layer: mv copies it, as between file systems
    sh(
        "mv \"$1/d\" \"$1/e\"; mv \"$1/e\" \"$1/d\"; touch -d @1000 \"$1/d\" \"$1\"",
        &[s.mnt.as_os_str()],
    );
    assert_eq!(
        tree(&s.mnt)
            .replace("./link 1", "./link 2")
            .replace("./d/a 1", "./d/a 2"),
        want
    );
    s.umount();
    s.mount(&[]);
    assert_eq!(
        tree(&s.mnt)
            .replace("./link 1", "./link 2")
            .replace("./d/a 1", "./d/a 2"),
        want
    );
    s.umount();
    // what was asked for by name is not done without
    let refused = s.command(&["-o", "userxattr"]).output().unwrap();
    assert!(
        !refused.status.success() && text(&refused).contains("extended attributes"),
        "{}",
        text(&refused)
    );
    let now: Vec<String> = s.lowers.iter().map(|l| live::digest(l)).collect();
    assert_eq!(now, lowers);
}
