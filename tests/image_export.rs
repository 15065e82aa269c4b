//! Root file systems out of containers and images, and in again: export, import, and what GNU tar makes
//! of what is exported.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod live;
mod rich;

use live::{may_mount, run, sh};
use rich::{Bed, Shown, same, shown};
use serde_json::Value;
use std::fs::{self, File};

fn mounted(bed: &Bed, image: &str) -> Shown {
    bed.mount(&["--read-only", image]);
    let shown = bed.shown();
    bed.umount();
    shown
}

/// The layers of an image, by their diff IDs.
fn layers(bed: &Bed, image: &str) -> Value {
    let all: Value = serde_json::from_str(&bed.vellum(&["inspect", image])).unwrap();
    all[0]["RootFS"]["Layers"].clone()
}

#[test]
fn a_container_is_exported_and_imported() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    sh(
        "cd \"$1\"; rm -r tree gone; mv moved went; ln went/below/file went/twice; echo n >new
         chmod 4711 new; setcap cap_net_raw=ep new; mknod dev/zero c 1 5; setfattr -n user.x -v y anew
         find . -depth -newermt 2025-01-01 -exec touch -h -d '1960-05-06 07:08:09.101112' {} +",
        &[bed.mnt().as_os_str()],
    );
    let container = bed.shown();
    bed.vellum(&["export", "-o", "a.tar", "web"]);
    bed.umount();
    // not mounted, and to a pipe: the same bytes
    let tar = bed.command(&["export", "web"]).output().unwrap();
    assert!(tar.status.success());
    assert!(
        tar.stdout == fs::read(bed.at("a.tar")).unwrap(),
        "another tar"
    );

    let id = bed.vellum(&["import", "-m", "the reason", "a.tar", "flat:1"]);
    let all: Value = serde_json::from_str(&bed.vellum(&["inspect", "flat:1"])).unwrap();
    assert_eq!(all[0]["Id"], id.trim());
    assert_eq!(all[0]["Os"], "linux");
    assert!(bed.vellum(&["history", "flat:1"]).contains("the reason"));
    same(&mounted(&bed, "flat:1"), &container);

    // GNU tar makes the same of it, and a folder is the same image
    fs::create_dir(bed.at("unpacked")).unwrap();
    bed.tool(
        "tar",
        &[
            "--numeric-owner",
            "--xattrs",
            "--xattrs-include=*",
            "-xpf",
            "a.tar",
            "-C",
            "unpacked",
        ],
    );
    same(&shown(&bed.at("unpacked")), &container);
    bed.vellum(&["import", "unpacked", "flat:dir"]);
    assert_eq!(layers(&bed, "flat:dir"), layers(&bed, "flat:1"));
    assert_eq!(layers(&bed, "flat:1").as_array().unwrap().len(), 1);
}

#[test]
fn compressed_tars_are_imported_as_plain_ones() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    let image = mounted(&bed, "rich:1");
    bed.vellum(&["export", "-o", "a.tar", "rich:1"]);
    bed.tool("gzip", &["-k", "a.tar"]);
    bed.tool("zstd", &["-q", "-k", "a.tar"]);
    bed.vellum(&["import", "a.tar.gz", "flat:gzip"]);
    let mut piped = bed.command(&["import", "-", "flat:zstd"]);
    run(piped.stdin(File::open(bed.at("a.tar.zst")).unwrap()));
    let nameless = bed.vellum(&["import", "a.tar"]);
    let plain = layers(&bed, nameless.trim());
    assert_eq!(layers(&bed, "flat:gzip"), plain);
    assert_eq!(layers(&bed, "flat:zstd"), plain);
    same(&mounted(&bed, "flat:zstd"), &image);
    // an image is mounted for a moment, and nothing of that stays
    let left = sh("grep -c \" vellum:sha\" /proc/self/mountinfo || true", &[]);
    assert_eq!(left.trim(), "0");
}

#[test]
fn what_is_no_root_file_system_is_refused() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    fs::write(bed.at("text"), "hello, this is no tar\n".repeat(100)).unwrap();
    fs::write(bed.at("a.xz"), b"\xfd7zXZ\0more").unwrap();
    fs::write(bed.at("cut.gz"), b"\x1f\x8b\x08\0\0\0\0\0\0\x03x").unwrap();
    for (args, code, said) in [
        (vec!["export", "nothing"], 1, "no such image: nothing"),
        (
            vec!["export", "-o", "x.tar", "nothing"],
            1,
            "no such image: nothing",
        ),
        (vec!["import", "gone.tar"], 1, "gone.tar: No such file"),
        (vec!["import", "text", "x:1"], 1, "text: "),
        (vec!["import", "a.xz", "x:1"], 1, "compressed with xz"),
        (vec!["import", "cut.gz", "x:1"], 1, "gzip"),
        (vec!["import", "text", "Bad"], 2, "lower case"),
    ] {
        let text = bed.fails(&args, code);
        assert!(text.contains(said), "{args:?}: {text}");
    }
    assert!(!bed.at("x.tar").exists());
    assert_eq!(bed.vellum(&["images"]).lines().count(), 2);
    assert_eq!(bed.entries("store/vellum/tmp"), 0);
}

#[test]
fn a_container_is_unmounted_by_its_name() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    // the same name in another store is another container
    let other = bed.at("other");
    let other = other.to_str().unwrap();
    bed.vellum(&["load", "-q", "--root", other, "--name", "rich:1", "layout"]);
    fs::create_dir(bed.at("mnt2")).unwrap();
    let mnt2 = bed.at("mnt2");
    bed.vellum(&[
        "mount",
        "--root",
        other,
        "--name",
        "web",
        "rich:1",
        mnt2.to_str().unwrap(),
    ]);
    bed.vellum(&["umount", "web"]);
    assert_eq!((bed.mounts(), live::mounts_on(&mnt2)), (0, 1));
    let text = bed.fails(&["umount", "web"], 1);
    assert!(
        text.contains("umount web: the container is not mounted"),
        "{text}"
    );
    bed.vellum(&["umount", "--root", other, "--lazy", "web"]);
    assert_eq!(live::mounts_on(&mnt2), 0);
    // what is there is a mountpoint, whatever containers are called
    fs::create_dir(bed.at("web")).unwrap();
    let text = bed.fails(&["umount", "web"], 1);
    assert!(text.contains("is not a FUSE mount"), "{text}");
    let text = bed.fails(&["umount", "nothing"], 1);
    assert!(text.contains("No such file"), "{text}");
}
