//! What a remount is asked for by, and what it changes.

use crate::invoke;
use nix::mount::MsFlags as M;
use std::ffi::OsString;
use std::path::Path;
use vellum::cli::overlayfs::{Invocation, Remount, is_from_mount};

fn remount(args: &[&str]) -> Remount {
    match invoke(args) {
        Ok(Invocation::Remount(remount)) => remount,
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn as_mount_8_says_it() {
    // mount -o remount,ro /mnt, as mount.fuse3 hands it on
    let got = remount(&[
        "vellum",
        "/mnt",
        "-o",
        "ro,nosuid,nodev,noatime,user_id=0,group_id=0,default_permissions,allow_other,max_read=1,remount,dev",
    ]);
    assert_eq!(got.mountpoint, Path::new("/mnt"));
    assert_eq!(got.set, M::MS_RDONLY | M::MS_NOSUID | M::MS_NOATIME);
    assert!(
        got.clear
            .contains(M::MS_NODEV | M::MS_RELATIME | M::MS_STRICTATIME)
    );
    assert!(!got.clear.intersects(got.set));
    assert_eq!(got.warnings, [""; 0]);
}

#[test]
fn only_what_is_said_changes() {
    let got = remount(&["-o", "remount,ro", "/mnt"]);
    assert_eq!((got.set, got.clear), (M::MS_RDONLY, M::empty()));
    let got = remount(&["-o", "remount", "-w", "/mnt"]);
    assert_eq!((got.set, got.clear), (M::empty(), M::MS_RDONLY));
    let got = remount(&["-o", "remount,ro,rw", "/mnt"]);
    assert_eq!((got.set, got.clear), (M::empty(), M::MS_RDONLY));
    let got = remount(&["-o", "remount,nosymfollow", "/mnt"]);
    assert_eq!(got.set.bits(), 256);
}

#[test]
fn the_rest_of_an_fstab_line_is_named_once() {
    let got = remount(&[
        "v",
        "/mnt",
        "-o",
        "lowerdir=/a:/b,upperdir=/u,workdir=/w,nofail,x-y=z,remount,noexec",
    ]);
    assert_eq!(got.set, M::MS_NOEXEC);
    assert_eq!(got.warnings.len(), 1, "{:?}", got.warnings);
    assert!(
        got.warnings[0].contains("lowerdir, upperdir, workdir"),
        "{:?}",
        got.warnings
    );
    let got = remount(&["-o", "remount,xyzzy,lazytime", "/mnt"]);
    assert_eq!(got.warnings.len(), 2, "{:?}", got.warnings);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (args, why) in [
        (&["-o", "remount,ro"][..], "no mountpoint"),
        (&["-o", "remount,bind", "/mnt"], "mount --bind"),
        (&["-o", "remount,mand", "/mnt"], "mandatory"),
        (&["-o", "remount", "a", "b", "c"], "too many"),
    ] {
        let got = invoke(args).unwrap_err();
        assert!(got.contains(why), "{args:?}: {got}");
    }
}

#[test]
fn the_lines_of_mount_fuse3_are_told_from_commands() {
    let is = |args: &[&str]| {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        is_from_mount(&args)
    };
    assert!(is(&["vellum", "/mnt", "-o", "lowerdir=/a"]));
    assert!(is(&["src", "/mnt", "-oremount,ro"]));
    for no in [
        &["src", "/mnt"][..],
        &["src", "-o", "ro", "/mnt"],
        &["mont", "--lower", "a", "/mnt"],
        &["src", "/mnt", "-f", "-o"],
        &["", "/mnt", "-o", "ro"],
    ] {
        assert!(!is(no), "{no:?}");
    }
}
