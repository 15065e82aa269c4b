//! What was deleted stays deleted: live, after a remount, and through kernel overlayfs.

use crate::bed::{Bed, dir, file, names};
use crate::common::kernel;
use crate::common::layers::{Item, Mark};
use crate::common::mounts::Io;
use std::fs;
use std::os::unix::fs::MetadataExt;

const NONE: [&str; 0] = [];

fn stack(io: Io) -> Bed {
    let layer = vec![
        file("a/x"),
        file("a/b/y"),
        file("n/a/x"),
        file("n/a/b/y"),
        file("f"),
        dir("e", 0o755),
    ];
    Bed::new(io, &[vec![file("a/top")], layer])
}

/// The directory is empty now, after a remount, and for the kernel.
fn stays_empty(bed: &mut Bed, path: &str) {
    assert_eq!(bed.names(path), NONE, "live");
    bed.compare();
    bed.remount();
    assert_eq!(bed.names(path), NONE, "after a remount");
    assert!(!bed.at(path).join("x").exists());
    bed.compare();
    bed.unmount();
    let mount = kernel::overlay(&bed.stack);
    assert_eq!(
        names(&mount.path().join(path)),
        NONE,
        "through kernel overlayfs"
    );
    mount.unmount();
}

fn removed_and_made_again_in_the_root(io: Io) {
    let mut bed = stack(io);
    bed.same("ls; rm -rf a; mkdir a");
    stays_empty(&mut bed, "a");
}

fn removed_and_made_again_nested(io: Io) {
    let mut bed = stack(io);
    bed.same("ls n; rm -rf n/a; mkdir n/a");
    stays_empty(&mut bed, "n/a");
}

fn made_again_with_a_child_that_goes(io: Io) {
    let mut bed = stack(io);
    bed.same("rm -rf a; mkdir -p a/b; rmdir a/b; ls -R");
    stays_empty(&mut bed, "a");
}

fn made_again_with_a_child_that_moves_away(io: Io) {
    let mut bed = stack(io);
    bed.same("rm -rf a; mkdir -p a/b; mv a/b bb; ls -R");
    stays_empty(&mut bed, "a");
}

/// After the parent was listed, names under an opaque directory stay hidden.
fn listed_before_and_between(io: Io) {
    let mut bed = stack(io);
    bed.same(
        "ls -lR; rm -rf n/a; ls -l n; mkdir n/a; ls -l n; ls n/a; cat n/a/x 2>&1; stat n/a/b 2>&1",
    );
    stays_empty(&mut bed, "n/a");
}

fn every_type_into_every_other(io: Io) {
    let make = [
        "echo t > z",
        "mkdir z",
        "ln -s f z",
        "mkfifo z",
        "mknod z c 1 3",
        "ln f z",
    ];
    let layers: [&[Item]; 4] = [
        &[file("z")],
        &[file("z/inner")],
        &[Item::Symlink {
            path: "z",
            target: "f",
        }],
        &[Item::Dev {
            path: "z",
            major: 1,
            minor: 7,
        }],
    ];
    for lower in layers {
        let mut bed = Bed::new(io, &[[lower, &[file("f")]].concat()]);
        for to in make {
            bed.same(&format!("rm -rf z; {to}"));
            bed.remount();
            bed.compare();
        }
        bed.same("rm -rf z");
        bed.remount();
        bed.compare();
    }
}

/// What was never in a layer leaves nothing behind when it goes.
fn no_needless_whiteouts(io: Io) {
    let mut bed = stack(io);
    bed.same("echo x > new; rm new; mkdir d; echo y > d/y; rm -r d; mkdir q; mv q r; rmdir r; mv f g; rm g");
    bed.unmount();
    assert_eq!(names(&bed.stack.upper()), ["f"]); // the one that hides something
}

fn marks_of_every_kind_hide(io: Io) {
    for how in [
        Mark::Device,
        Mark::Trusted,
        Mark::User,
        Mark::Aufs,
        Mark::Fuse,
    ] {
        let top = vec![
            dir("d", 0o755),
            Item::Gone {
                path: "d/gone",
                how,
            },
            dir("o", 0o755),
            file("o/own"),
            Item::Opaque { path: "o", how },
        ];
        let low = vec![file("d/gone"), file("d/kept"), file("o/hidden")];
        let mut bed = Bed::new(io, &[top, low]);
        assert_eq!(bed.names("d"), ["kept"], "{how:?}");
        assert_eq!(bed.names("o"), ["own"], "{how:?}");
        assert!(
            !bed.at("d/gone").exists() && !bed.at("o/hidden").exists(),
            "{how:?}"
        );
        bed.compare();
        bed.same("echo x > d/gone; echo x > o/hidden; rm o/own; getfattr -d -m - d o");
        bed.remount();
        bed.compare();
    }
}

fn whiteouts_are_not_made_or_seen_by_users(io: Io) {
    let bed = stack(io);
    bed.sh("rm -rf a; mkdir a; mv n n2");
    let seen = bed.sh("getfattr -d -m - a n2 .");
    assert!(
        !seen.contains("overlay") && !seen.contains("vellum"),
        "{seen}"
    );
    let made = bed.sh("mknod w c 0 0 2>&1 || true");
    assert!(made.contains("not permitted"), "{made}");
}

/// RENAME_WHITEOUT, with which a nested union file system deletes.
fn rename_whiteout(io: Io) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let bed = stack(io);
    renameat_with(CWD, bed.at("f"), CWD, bed.at("g"), RenameFlags::WHITEOUT).unwrap();
    assert_eq!(fs::read(bed.at("g")).unwrap(), b"aaaaa");
    match fs::symlink_metadata(bed.at("f")) {
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::NotFound),
        Ok(m) => assert_eq!(m.rdev(), 0),
    }
}

in_both_modes!(
    removed_and_made_again_in_the_root,
    removed_and_made_again_nested,
    made_again_with_a_child_that_goes,
    made_again_with_a_child_that_moves_away,
    listed_before_and_between,
    every_type_into_every_other,
    no_needless_whiteouts,
    marks_of_every_kind_hide,
    whiteouts_are_not_made_or_seen_by_users,
    rename_whiteout,
);
