//! What a refused mount says: which place it is about, and why.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;

use live::{Stack, may_mount, text};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The complaint about a mount of these places.
fn complaint(mut command: Command, places: [&Path; 4]) -> String {
    let [low, up, work, mnt] = places;
    let words = ["mount", "--lower"].map(Path::new);
    let more = ["--upper", "--work"].map(Path::new);
    let out = command
        .args([words[0], words[1], low, more[0], up, more[1], work, mnt])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn a_place_that_is_not_there_is_named_with_its_part() {
    let s = Stack::new(1);
    let gone = s.dir().join("gone");
    let good = [s.lowers[0].as_path(), &s.upper, &s.work, &s.mnt];
    for (at, what) in [
        "lower layer",
        "upper directory",
        "work directory",
        "mountpoint",
    ]
    .into_iter()
    .enumerate()
    {
        let mut places = good;
        places[at] = &gone;
        let said = complaint(Command::new(live::VELLUM), places);
        let want = format!(
            "{what} {}: No such file or directory (ENOENT)",
            gone.display()
        );
        assert!(said.contains(&want), "{said}");
    }
}

#[test]
fn a_place_that_may_not_be_read_is_named_with_its_part() {
    let s = Stack::new(1);
    if fs::metadata("/proc/self")
        .map(|m| std::os::unix::fs::MetadataExt::uid(&m))
        .unwrap()
        != 0
    {
        live::skip("root alone can run a program as another user");
        return;
    }
    let program = s.dir().join("vellum");
    live::copy_program(&program);
    fs::set_permissions(s.dir(), PermissionsExt::from_mode(0o755)).unwrap();
    let good = [s.lowers[0].as_path(), &s.upper, &s.work, &s.mnt];
    for place in good {
        chown(place, Some(65534), Some(65534)).unwrap();
    }
    let secret: PathBuf = s.dir().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::set_permissions(&secret, PermissionsExt::from_mode(0o000)).unwrap();
    for (at, what) in [
        "lower layer",
        "upper directory",
        "work directory",
        "mountpoint",
    ]
    .into_iter()
    .enumerate()
    {
        let mut places = good;
        places[at] = &secret;
        let mut command = Command::new(&program);
        command.uid(65534).gid(65534);
        let said = complaint(command, places);
        let want = format!("{what} {}", secret.display());
        assert!(
            said.contains(&want) && said.contains("Permission denied"),
            "{said}"
        );
    }
}

#[test]
fn an_upper_in_use_says_by_whom_it_may_be() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    s.mount(&[]);
    let other = s.dir().join("other");
    fs::create_dir(&other).unwrap();
    let said = complaint(
        Command::new(live::VELLUM),
        [&s.lowers[0], &s.upper, &s.work, &other],
    );
    for words in [
        "in use by another mount",
        "an earlier one that another mount namespace still has",
    ] {
        assert!(said.contains(words), "{said}");
    }
}
