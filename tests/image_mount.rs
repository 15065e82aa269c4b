//! A real mount of an image: the tree is made in the process that serves it, and a file that lies
//! in a pack never shows what is beside it, however data travels.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod live;

use common::image::Image;
use common::layers::content;
use common::mounts::is_mountpoint;
use nix::errno::Errno;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use vellum::fuse::{self, Io, MountOptions};
use vellum::overlay::{Config, UpperConfig};

const DIR: &str = "VELLUM_TEST_IMAGE";
const IO: &str = "VELLUM_TEST_IO";

/// Serves a mount; no test by itself. It is run in a process of its own, on its first thread.
#[test]
#[ignore = "started by the other tests"]
fn serve() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let config = Config {
        upper: Some(UpperConfig::new(dir.join("upper"), dir.join("work"))),
        ..Config::default()
    };
    let options = MountOptions {
        io: match std::env::var(IO).as_deref() {
            Ok("passthrough") => Io::Passthrough,
            _ => Io::Cached,
        },
        ..MountOptions::default()
    };
    let make = Image(dir.join("image")).make();
    fuse::run_over(make, &config, &options, &dir.join("mnt"), true).unwrap();
}

/// A mount, gone with the value.
struct Mount {
    mnt: PathBuf,
    server: Child,
}

impl Mount {
    fn new(dir: &Path, io: &str) -> Mount {
        let mut server = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve", "--ignored", "--test-threads=1"])
            .env(DIR, dir)
            .env(IO, io)
            // what its harness counts is no test of this run
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mnt = dir.join("mnt");
        let began = Instant::now();
        while !is_mountpoint(&mnt) {
            assert_eq!(server.try_wait().unwrap(), None, "the server ended");
            assert!(began.elapsed() < Duration::from_secs(20), "no mount");
            std::thread::sleep(Duration::from_millis(20));
        }
        Mount { mnt, server }
    }

    fn end(mut self) -> ExitStatus {
        // a process that another test begins has this one's files until it executes its program
        let began = Instant::now();
        while let Err(e) = fuse::unmount(&self.mnt, false) {
            let busy = e.is(Errno::EBUSY) && began.elapsed() < Duration::from_secs(5);
            assert!(busy, "{e}");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.server.wait().unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if is_mountpoint(&self.mnt) {
            drop(fuse::unmount(&self.mnt, true));
        }
    }
}

fn bed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["plain/d", "upper", "work", "mnt"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    let plain = dir.path().join("plain");
    for i in 0..50usize {
        fs::write(plain.join(format!("d/f{i}")), content(i as u8, 90 * i)).unwrap();
    }
    fs::write(plain.join("large"), content(b'l', 3_000_000)).unwrap();
    fs::hard_link(plain.join("large"), plain.join("d/large2")).unwrap();
    Image::of(&plain, &dir.path().join("image"));
    dir
}

fn check(mnt: &Path) {
    for i in 0..50usize {
        let path = mnt.join(format!("d/f{i}"));
        let data = content(i as u8, 90 * i);
        assert_eq!(fs::read(&path).unwrap(), data, "f{i}");
        let file = fs::File::open(&path).unwrap();
        let mut beyond = [0; 100];
        let n = file.read_at(&mut beyond, data.len() as u64).unwrap();
        assert_eq!(n, 0, "f{i}");
    }
    assert_eq!(
        fs::read(mnt.join("large")).unwrap(),
        content(b'l', 3_000_000)
    );
    let ino = |path| fs::metadata(mnt.join(path)).unwrap().ino();
    assert_eq!(ino("large"), ino("d/large2"));
    assert_eq!(fs::read_dir(mnt.join("d")).unwrap().count(), 51);
}

fn whole(io: &str) {
    if !live::may_mount() {
        return;
    }
    let dir = bed();
    let mount = Mount::new(dir.path(), io);
    check(&mount.mnt);
    // a reader has a packed file open while it is copied up
    let path = mount.mnt.join("d/f40");
    let reader = fs::File::open(&path).unwrap();
    let writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all_at(b"new", 3600).unwrap();
    writer.sync_all().unwrap();
    let expected = [&content(40, 3600)[..], b"new"].concat();
    assert_eq!(fs::read(&path).unwrap(), expected);
    let mut seen = vec![0; 4000];
    let n = reader.read_at(&mut seen, 0).unwrap();
    assert_eq!(seen[..n], expected, "with {io} by the reader");
    fs::rename(mount.mnt.join("d"), mount.mnt.join("e")).unwrap();
    drop((reader, writer));
    assert!(mount.end().success());
    let upper = dir.path().join("upper");
    assert_eq!(fs::read(upper.join("e/f40")).unwrap(), expected);

    let mount = Mount::new(dir.path(), io);
    assert_eq!(fs::read(mount.mnt.join("e/f40")).unwrap(), expected);
    assert_eq!(
        fs::read(mount.mnt.join("e/f41")).unwrap(),
        content(41, 90 * 41)
    );
    assert!(mount.end().success());
}

#[test]
fn an_image_is_served_through_the_daemon() {
    whole("cached");
}

#[test]
fn an_image_is_served_with_passthrough() {
    whole("passthrough");
}
