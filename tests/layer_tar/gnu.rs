//! GNU tar, both ways.

use crate::layer::{read, same, tree, write};
use crate::made::{Wealth, make, run, scan};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use vellum::image::layer::{LayerReader, Limits};

/// What GNU tar writes of a tree.
pub fn gnu_tar(root: &Path, options: &[&str]) -> Vec<u8> {
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--numeric-owner", "-c"]);
    run(tar.args(options).arg("-C").arg(root).arg("."))
}

/// GNU tar with these options, of a tree that has what they can say.
fn check_gnu(wealth: Wealth, options: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), wealth);
    same(tree(read(&gnu_tar(dir.path(), options))), &scan(dir.path()));
}

#[test]
fn gnu_tars_v7() {
    check_gnu(Wealth::V7, &["--format=v7"]);
}

#[test]
fn gnu_tars_ustar() {
    check_gnu(Wealth::Ustar, &["--format=ustar"]);
}

#[test]
fn gnu_tars_own() {
    check_gnu(Wealth::Gnu, &["--format=gnu"]);
    check_gnu(Wealth::Gnu, &["--format=oldgnu"]);
    check_gnu(Wealth::Gnu, &["--format=gnu", "--sparse"]);
}

/// All that GNU tar can say.
pub const ATTRIBUTES: [&str; 4] = ["--format=pax", "--acls", "--xattrs", "--xattrs-include=*"];

#[test]
fn gnu_tars_pax() {
    check_gnu(Wealth::Pax, &ATTRIBUTES);
    for version in ["0.0", "0.1", "1.0"] {
        let version = format!("--sparse-version={version}");
        let sparse = [&ATTRIBUTES[..], &["--sparse", &version]].concat();
        check_gnu(Wealth::Pax, &sparse);
    }
}

/// With attributes GNU tar also writes what ACLs are to the kernel; here only their text.
#[test]
fn acls_in_text() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), Wealth::Pax);
    let found = tree(read(&gnu_tar(dir.path(), &["--format=pax", "--acls"])));
    let mut expected = scan(dir.path());
    let mut acls = 0;
    for seen in expected.values_mut() {
        let xattrs = &mut seen.meta.xattrs;
        xattrs.retain(|(name, _)| name.starts_with(b"system.posix_acl_"));
        acls += xattrs.len();
    }
    assert_eq!(acls, 2);
    same(found, &expected);
}

#[test]
fn global_records_of_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), Wealth::V7);
    let tar = gnu_tar(dir.path(), &["--format=pax", "--pax-option=gid=77,uid:=78"]);
    let found = tree(read(&tar));
    assert!(found.values().all(|s| s.meta.gid == 77 && s.meta.uid == 78));
}

#[test]
fn holes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join("f")).unwrap();
    file.write_all_at(b"data", 1 << 20).unwrap();
    for format in ["gnu", "pax"] {
        let format = format!("--format={format}");
        let tar = gnu_tar(dir.path(), &[&format, "--sparse"]);
        let mut reader = LayerReader::new(&*tar, Limits::default());
        reader.next_entry().unwrap();
        reader.next_entry().unwrap();
        let segments = reader.segments();
        assert_eq!(segments.len(), 1);
        assert_eq!((segments[0].offset, segments[0].len), (1 << 20, 4));
    }
}

#[test]
fn gnu_tar_makes_the_same_tree_of_ours() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make(dir.path(), Wealth::Pax);
    let ours = write(&read(&gnu_tar(dir.path(), &ATTRIBUTES)));
    let archive = dir.path().join("ours.tar");
    fs::write(&archive, ours).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--numeric-owner", "--same-owner", "-xp"]);
    tar.args(["--xattrs", "--xattrs-include=*", "-f"]);
    let stdout = run(tar.arg(&archive).arg("-C").arg(out.path()));
    assert_eq!(stdout, b"");
    fs::remove_file(&archive).unwrap();
    let mut expected = scan(dir.path());
    // the archive was in it for a while
    let root = &mut expected.get_mut(&b""[..]).unwrap().meta;
    let found = scan(out.path());
    (root.mtime, root.mtime_nsec) = (found[&b""[..]].meta.mtime, found[&b""[..]].meta.mtime_nsec);
    same(found, &expected);
}
