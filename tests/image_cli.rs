//! The commands on images, from end to end: the real program, real mounts, and an image whose layers
//! GNU tar made and umoci unpacks beside.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod live;
mod rich;

use live::{alive, kill, may_mount, sh, wait_for};
use rich::{Bed, change, have, same};
use serde_json::Value;
use std::time::Duration;

/// What `diff` says of them.
const LINES: &[&str] = &[
    "C /anew",
    "A /anew/n",
    "C /attrs",
    "C /becomes",
    "A /becomes/a",
    "C /bin",
    "C /bin/su",
    "A /bytes \\xfe",
    "C /dev",
    "A /dev/zero",
    "C /dir-to-file",
    "C /etc",
    "C /etc/hosts",
    "C /etc/passwd",
    "A /etc/passwd.2",
    "A /link",
    "C /links",
    "C /links/one",
    "C /links/three",
    "C /links/two",
    "D /moved",
    "A /old",
    "C /owned",
    "A /pipe",
    "D /plain",
    "C /sparse",
    "D /tree",
    "A /went",
    "A /went/below",
    "A /went/below/file",
];

/// A mount of the image shows what umoci makes of the same layers.
fn as_umoci(io: &[&str]) {
    if !may_mount() || !have(&["umoci"]) {
        return;
    }
    let bed = Bed::new();
    let args = [&["--read-only"], io, &["rich:1"]].concat();
    bed.mount(&args);
    same(&bed.shown(), &bed.umoci("layout:t"));
    bed.umount();
}

#[test]
fn an_image_shows_what_umoci_unpacks() {
    as_umoci(&[]);
}

#[test]
fn an_image_shows_what_umoci_unpacks_with_passthrough() {
    as_umoci(&["--io", "passthrough"]);
}

/// The process that serves a mount is in another directory than who started it.
#[test]
fn a_store_may_be_named_by_a_relative_path() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    let mnt = bed.mnt().to_str().unwrap();
    for how in [&["--read-only"][..], &["--name", "web"]] {
        let mount = [&["mount", "--root", "store"], how, &["rich:1", mnt]].concat();
        bed.vellum(&mount);
        // attributes are in the index, data is opened only now
        bed.shown();
        bed.umount();
    }
    bed.vellum(&["rm", "--root", "./store", "web"]);
}

#[test]
fn changes_stay_under_a_name_and_become_an_image() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--read-only", "rich:1"]);
    let image = bed.shown();
    bed.umount();
    assert_eq!(bed.mount(&["--name", "web", "rich:1"]), "web\n");
    same(&bed.shown(), &image);
    assert_eq!(bed.vellum(&["diff", "web"]), "");
    change(bed.mnt());
    let changed = bed.shown();
    assert!(changed["etc/passwd.2"].contains("links 2 with etc/passwd"));
    // while it is mounted and afterwards
    let lines: Vec<String> = LINES.iter().map(|l| format!("{l}\n")).collect();
    assert_eq!(bed.vellum(&["diff", "web"]), lines.concat());
    bed.umount();
    assert_eq!(bed.vellum(&["diff", "web"]), lines.concat());
    assert_eq!(bed.mount(&["--name", "web"]), "");
    same(&bed.shown(), &changed);
    bed.umount();

    let id = bed.vellum(&["commit", "-m", "why", "web", "mine:2"]);
    assert!(id.starts_with("sha256:"), "{id}");
    assert!(
        bed.vellum(&["history", "mine:2"])
            .contains("vellum commit web")
    );
    bed.mount(&["--read-only", "mine:2"]);
    same(&bed.shown(), &changed);
    bed.umount();
    // the image beneath is what it was, and a new container over the new one has no changes
    bed.mount(&["--name", "next", "mine:2"]);
    same(&bed.shown(), &changed);
    assert_eq!(bed.vellum(&["diff", "next"]), "");
    bed.umount();

    if have(&["umoci"]) {
        same(&bed.umoci("store:2"), &changed);
    }
}

#[test]
fn a_saved_image_is_the_same_in_another_store() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    change(bed.mnt());
    let changed = bed.shown();
    bed.vellum(&["commit", "web", "example.com/mine:2"]);
    bed.umount();
    bed.vellum(&["save", "-o", "saved.tar", "example.com/mine:2"]);
    let own = bed.vellum(&["inspect", "--oci", "example.com/mine:2"]);
    let other = bed.at("other");
    let other = other.to_str().unwrap();
    bed.vellum(&["load", "--root", other, "saved.tar"]);
    assert_eq!(
        bed.vellum(&["inspect", "--oci", "--root", other, "example.com/mine:2"]),
        own
    );
    bed.mount(&["--root", other, "--read-only", "example.com/mine:2"]);
    same(&bed.shown(), &changed);
    bed.umount();
    if have(&["skopeo"]) {
        let seen = bed.tool("skopeo", &["inspect", "oci-archive:saved.tar:2"]);
        let seen: Value = serde_json::from_str(&seen).unwrap();
        let own: Value =
            serde_json::from_str(&bed.vellum(&["inspect", "example.com/mine:2"])).unwrap();
        let digest = seen["Digest"].as_str().unwrap();
        assert_eq!(
            own[0]["RepoDigests"][0],
            format!("example.com/mine@{digest}")
        );
        assert_eq!(seen["Layers"].as_array().unwrap().len(), 4);
    }
}

#[test]
fn containers_and_images_are_removed_when_nobody_needs_them() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    sh(
        "echo new >\"$1\"/new; touch -d @7 \"$1\"/new",
        &[bed.mnt().as_os_str()],
    );
    let shown = bed.shown();
    let said = bed.fails(&["rm", "web"], 1);
    assert!(
        said.contains("is mounted on") && said.contains("EBUSY"),
        "{said}"
    );
    // a container keeps its image
    let said = bed.fails(&["rmi", "-f", "rich:1"], 1);
    assert!(said.contains("container \"web\" uses the image"), "{said}");
    bed.umount();
    bed.vellum(&["prune"]);
    bed.mount(&["--name", "web"]);
    same(&bed.shown(), &shown);
    assert_eq!(bed.vellum(&["rm", "-f", "web"]), "web\n");
    assert!(wait_for(Duration::from_secs(5), || bed.mounts() == 0));
    assert_eq!(bed.vellum(&["mounts", "-q"]), "");
    assert!(wait_for(Duration::from_secs(5), || bed
        .daemons()
        .is_empty()));
    bed.vellum(&["rmi", "rich:1"]);
    bed.vellum(&["prune"]);
    assert_eq!(bed.entries("store/vellum/layers"), 0);
    assert_eq!(bed.entries("store/blobs/sha256"), 0);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_reason() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.second_image();
    let mnt = bed.mnt().to_str().unwrap();
    for (args, code, said) in [
        (vec!["mount", "nothing", mnt], 1, "no such image: nothing"),
        (
            vec!["mount", "--name", "new", "nothing", mnt],
            1,
            "no such image: nothing",
        ),
        (
            vec!["mount", "--name", "new", mnt],
            1,
            "no container \"new\"",
        ),
        (vec!["mount", "--name", "-o/x", "rich:1", mnt], 2, "--name"),
        (
            vec!["mount", "--name", "a/b", "rich:1", mnt],
            1,
            "no name for a container",
        ),
        (
            vec!["mount", "--name", "new", "rich:1", "/no/where"],
            1,
            "No such file",
        ),
        (vec!["diff", "new"], 1, "no container \"new\""),
        (vec!["commit", "new"], 1, "no container \"new\""),
        (vec!["commit", "new", "Bad"], 2, "lower case"),
        (vec!["rm", "new"], 1, "no container \"new\""),
        (vec!["rmi", "nothing"], 1, "no such image: nothing"),
        (
            vec!["save", "-o", "x.tar", "nothing"],
            1,
            "no such image: nothing",
        ),
    ] {
        let text = bed.fails(&args, code);
        assert!(text.contains(said), "{args:?}: {text}");
    }
    // what was not mounted leaves no container, and nothing at all
    assert_eq!(bed.vellum(&["mounts", "-q"]), "");
    assert_eq!(bed.entries("store/vellum/uppers"), 0);
    assert!(!bed.at("x.tar").exists());

    bed.mount(&["--name", "web", "rich:1"]);
    let other = bed.at("other-mnt");
    std::fs::create_dir(&other).unwrap();
    let other = other.to_str().unwrap();
    let text = bed.fails(&["mount", "--name", "web", "other:1", other], 1);
    assert!(
        text.contains("\"web\" is over another image: rich:1"),
        "{text}"
    );
    let text = bed.fails(&["mount", "--name", "web", other], 1);
    assert!(text.contains("EBUSY") && text.contains("upper"), "{text}");
    bed.umount();
    assert_eq!(bed.vellum(&["mounts", "-q"]), "web\n");
}

#[test]
fn a_container_outlives_its_process() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    change(bed.mnt());
    sh("sync -f \"$1\"", &[bed.mnt().as_os_str()]);
    let changed = bed.shown();
    for pid in bed.daemons() {
        kill("-9", pid);
        assert!(wait_for(Duration::from_secs(10), || !alive(pid)));
    }
    // the mount that nobody serves is in the way of nothing but its mountpoint
    bed.umount();
    assert_eq!(bed.mount(&["--name", "web"]), "");
    same(&bed.shown(), &changed);
    bed.umount();
    bed.vellum(&["commit", "web", "mine:2"]);
    bed.mount(&["--read-only", "mine:2"]);
    same(&bed.shown(), &changed);
    bed.umount();
}
