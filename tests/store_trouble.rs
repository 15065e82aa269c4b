//! What comes between: a signal in the middle of a load, a disk that is full at any point. The store is
//! what it was, and the next process loads the image.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod live;
mod rich;

use live::{may_mount, sh, text, wait_for};
use rich::layout;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use vellum::image::digest::Digest;

struct Bed {
    dir: tempfile::TempDir,
    /// A file system of its own, if the test has one, for the store.
    mounted: bool,
}

impl Bed {
    /// With the image `small:1` in the store.
    fn new(size: Option<&str>) -> Bed {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("disk")).unwrap();
        let bed = Bed {
            dir,
            mounted: size.is_some(),
        };
        if let Some(size) = size {
            let line = "mount -t tmpfs -o size=$2 tmpfs \"$1\"";
            sh(line, &[bed.at("disk").as_os_str(), size.as_ref()]);
        }
        layout(&bed.at("small"), &[tar_of(3, 20_000)]);
        bed.vellum(&["load", "-q", "--name", "small:1", "small"]);
        bed
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(live::VELLUM);
        command
            .args(args)
            .env("VELLUM_ROOT", self.at("disk/store"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn vellum(&self, args: &[&str]) -> String {
        live::run(&mut self.command(args))
    }

    /// Every file of the store, with its digest.
    fn state(&self) -> BTreeMap<PathBuf, Digest> {
        fn walk(dir: &Path, all: &mut BTreeMap<PathBuf, Digest>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, all);
                } else {
                    all.insert(path.clone(), Digest::of(&fs::read(&path).unwrap()));
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(&self.at("disk/store"), &mut all);
        all
    }

    fn in_tmp(&self) -> usize {
        fs::read_dir(self.at("disk/store/vellum/tmp"))
            .unwrap()
            .count()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if self.mounted {
            drop(
                Command::new("umount")
                    .arg("-l")
                    .arg(self.at("disk"))
                    .status(),
            );
        }
    }
}

/// A layer of many small files, and of one with so many bytes that nothing compresses.
fn tar_of(files: u32, large: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, data).unwrap();
    };
    for n in 0..files {
        add(&format!("f{n}"), format!("file {n}").repeat(20).as_bytes());
    }
    let mut random = 88_172_645_463_325_252u64 + u64::from(files);
    let mut data = Vec::with_capacity(large);
    while data.len() < large {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        data.extend_from_slice(&random.to_le_bytes());
    }
    add("large", &data);
    tar.into_inner().unwrap()
}

/// By the signal that a terminal sends, and by the one that a service manager does.
#[test]
fn a_load_that_is_interrupted_leaves_the_store_as_it_was() {
    let bed = Bed::new(None);
    layout(
        &bed.at("big"),
        &[tar_of(2000, 60 << 20), tar_of(1000, 60 << 20)],
    );
    let before = bed.state();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut load = bed
            .command(&["load", "-q", "--name", "big:1", "big"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // layers are in the middle of being unpacked
        let begun = || bed.in_tmp() >= 2;
        assert!(wait_for(Duration::from_secs(20), begun));
        live::kill(&format!("-{signal}"), i32::try_from(load.id()).unwrap());
        let ended = load.wait().unwrap();
        assert_eq!(
            ended.signal(),
            Some(signal),
            "it was to be interrupted: {ended}"
        );
        assert!(bed.in_tmp() > 0);
        // whoever comes next cleans up
        assert_eq!(bed.vellum(&["images"]).lines().count(), 2);
        assert_eq!(bed.state(), before);
    }
    bed.vellum(&["load", "-q", "--name", "big:1", "big"]);
    bed.vellum(&["fsck", "-q"]);
    assert_eq!(bed.vellum(&["images"]).lines().count(), 3);
}

/// By `kill -9` after ever more time, until it gets to its end: no fault is found, and doing it again does it.
#[test]
fn a_process_that_is_killed_leaves_no_fault() {
    if !may_mount() {
        return;
    }
    // in memory: what is synced, and how long that takes, is not the point
    let bed = Bed::new(Some("64m"));
    layout(
        &bed.at("big"),
        &[tar_of(300, 3 << 20), tar_of(200, 1 << 20)],
    );
    fs::write(bed.at("root.tar"), tar_of(200, 300_000)).unwrap();
    let load: &[&str] = &["load", "-q", "--name", "big:1", "big"];
    let import: &[&str] = &["import", "root.tar", "big:1"];
    let rmi: &[&str] = &["rmi", "-f", "big:1"];
    for (doing, undo) in [(load, rmi), (import, rmi), (rmi, load)] {
        let mut killed = 0;
        loop {
            bed.vellum(undo);
            let mut child = bed.command(doing).stdout(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(killed * 3));
            drop(child.kill());
            let ended = child.wait().unwrap();
            bed.vellum(&["inspect", "small:1"]);
            bed.vellum(&["fsck", "-q"]);
            assert_eq!(bed.in_tmp(), 0);
            if ended.success() {
                break;
            }
            assert_eq!(ended.signal(), Some(libc::SIGKILL), "{doing:?}: {ended}");
            killed += 1;
            bed.vellum(doing);
        }
        assert!(killed > 0, "{doing:?}");
        let there = bed.command(&["inspect", "big:1"]).output().unwrap();
        assert_eq!(there.status.success(), doing != rmi);
    }
}

/// For each amount of room, from none to enough.
#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new(Some("24m"));
    layout(
        &bed.at("big"),
        &[tar_of(300, 500_000), tar_of(200, 900_000)],
    );
    sh(
        "tar -C \"$1\" -cf \"$1.tar\" .",
        &[bed.at("big").as_os_str()],
    );
    let tar = fs::read(bed.at("big.tar")).unwrap();
    fs::write(bed.at("root.tar"), tar_of(400, 800_000)).unwrap();
    for args in [
        &["load", "-q", "--name", "big:1", "big"][..],
        &["load", "-q", "--name", "big:1", "-"],
        &["import", "root.tar", "big:1"],
    ] {
        let before = bed.state();
        let mut failures = 0;
        for step in 0.. {
            let room = step * 130_000;
            fill(&bed.at("disk"), room);
            let mut command = bed.command(args);
            if args.contains(&"-") {
                fs::write(bed.at("stdin"), &tar).unwrap();
                command = bed.command(&args[..args.len() - 1]);
                let file = Command::new("cat")
                    .arg(bed.at("stdin"))
                    .stdout(Stdio::piped())
                    .spawn();
                command.stdin(file.unwrap().stdout.take().unwrap());
            }
            let out = command.output().unwrap();
            fs::remove_file(bed.at("disk/filler")).unwrap();
            if out.status.success() {
                break;
            }
            failures += 1;
            let said = text(&out);
            assert_eq!(out.status.code(), Some(1), "{said}");
            assert!(said.contains("No space left on device"), "{args:?}: {said}");
            assert_eq!(bed.in_tmp(), 0, "{args:?} with room for {room}: {said}");
            // layers that were published before the index found no room stay, without a name
            bed.vellum(&["prune"]);
            assert_eq!(bed.state(), before, "{args:?} with room for {room}: {said}");
        }
        assert!(failures > 5, "{args:?}: {failures}");
        bed.vellum(&["fsck", "-q"]);
        assert_eq!(bed.vellum(&["images"]).lines().count(), 3);
        bed.vellum(&["rmi", "big:1"]);
        assert_eq!(bed.state(), before);
    }
}

/// The same for a commit: the container has what it had, and is committed once there is room.
#[test]
fn a_commit_to_a_full_disk_leaves_the_store_as_it_was() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new(Some("24m"));
    let mnt = bed.at("mnt");
    fs::create_dir(&mnt).unwrap();
    let on = mnt.to_str().unwrap();
    bed.vellum(&["mount", "--name", "web", "small:1", on]);
    for n in 0..50 {
        fs::write(mnt.join(format!("new{n}")), vec![n; 3000]).unwrap();
    }
    fs::write(mnt.join("big"), tar_of(1, 900_000)).unwrap();
    sh("sync -f \"$1\"", &[mnt.as_os_str()]);
    let before = bed.state();
    let mut failures = 0;
    for step in 0.. {
        fill(&bed.at("disk"), step * 130_000);
        let out = bed.command(&["commit", "web", "new:1"]).output().unwrap();
        fs::remove_file(bed.at("disk/filler")).unwrap();
        if out.status.success() {
            break;
        }
        failures += 1;
        let said = text(&out);
        assert!(said.contains("No space left on device"), "{said}");
        assert_eq!(bed.in_tmp(), 0, "{said}");
        // what was published has no name
        bed.vellum(&["prune"]);
        assert_eq!(bed.state(), before, "step {step}: {said}");
    }
    assert!(failures > 5, "{failures}");
    bed.vellum(&["umount", "web"]);
    let daemons_gone = || live::daemons_of(&mnt).is_empty();
    assert!(wait_for(Duration::from_secs(10), daemons_gone));
    bed.vellum(&["fsck", "-q"]);
    let copy = bed.at("copy.tar");
    bed.vellum(&["export", "-o", copy.to_str().unwrap(), "new:1"]);
    assert!(sh("tar -tf \"$1\"", &[copy.as_os_str()]).contains("new49\n"));
}

/// An archive is there whole, or not at all.
#[test]
fn what_is_saved_to_a_full_disk_is_not_there() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new(Some("24m"));
    fs::write(bed.at("disk/old.tar"), "old").unwrap();
    fill(&bed.at("disk"), 10_000);
    for args in [
        ["save", "-o", "disk/old.tar", "small:1"],
        [
            "save",
            "--output=disk/new.tar",
            "--format=docker",
            "small:1",
        ],
        ["export", "-o", "disk/new.tar", "small:1"],
    ] {
        let out = bed.command(&args).output().unwrap();
        let said = text(&out);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("No space left on device"), "{args:?}: {said}");
        let mut names: Vec<_> = fs::read_dir(bed.at("disk"))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["filler", "old.tar", "store"], "{args:?}");
        assert_eq!(fs::read(bed.at("disk/old.tar")).unwrap(), b"old");
    }
}

/// Several load two images that share a layer, others remove them: each command works, and nothing is
/// missing from what is there in the end.
#[test]
fn images_are_loaded_and_removed_at_once() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new(Some("64m"));
    let shared = tar_of(500, 300_000);
    layout(&bed.at("one"), &[shared.clone(), tar_of(100, 200_000)]);
    layout(&bed.at("two"), &[shared, tar_of(200, 100_000)]);
    let run = |args: &[&str]| drop(bed.vellum(args));
    std::thread::scope(|s| {
        for image in ["one", "two", "one", "two"] {
            s.spawn(move || {
                for _ in 0..8 {
                    run(&["load", "-q", "--name", image, image]);
                }
            });
        }
        for image in ["one", "two"] {
            s.spawn(move || {
                for _ in 0..12 {
                    run(&["rmi", "-f", image]);
                    run(&["prune"]);
                }
            });
        }
    });
    bed.vellum(&["fsck", "-q"]);
    run(&["load", "-q", "--name", "one", "one"]);
    run(&["load", "-q", "--name", "two", "two"]);
    bed.vellum(&["fsck", "-q"]);
    run(&["rmi", "one", "two"]);
    run(&["prune"]);
    assert_eq!(bed.vellum(&["images"]).lines().count(), 2);
    assert_eq!(bed.in_tmp(), 0);
}

/// Fills a file system up to so many bytes.
fn fill(disk: &Path, room: u64) {
    let stat = rustix::fs::statvfs(disk).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    let filler = fs::File::create(disk.join("filler")).unwrap();
    let flags = rustix::fs::FallocateFlags::empty();
    rustix::fs::fallocate(&filler, flags, 0, free.saturating_sub(room).max(1)).unwrap();
}
