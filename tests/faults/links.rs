//! Hard links and inode numbers.

use crate::bed::{Bed, file};
use crate::common::layers::Item;
use crate::common::mounts::Io;
use crate::common::walk;
use std::fs;
use std::os::unix::fs::MetadataExt;

fn stack(io: Io) -> Bed {
    let layer = vec![
        file("a"),
        Item::Link { from: "a", to: "b" },
        Item::Link {
            from: "a",
            to: "d/c",
        },
        file("d/e"),
        file("x/y/z"),
    ];
    Bed::new(io, &[vec![file("d/top")], layer])
}

fn ino(bed: &Bed, path: &str) -> u64 {
    fs::symlink_metadata(bed.at(path)).unwrap().ino()
}

fn nlink(bed: &Bed, path: &str) -> u64 {
    fs::symlink_metadata(bed.at(path)).unwrap().nlink()
}

fn link_count_is_right_at_the_first_stat(io: Io) {
    let mut bed = stack(io);
    for _ in 0..2 {
        assert_eq!(
            [nlink(&bed, "a"), nlink(&bed, "b"), nlink(&bed, "a")],
            [3, 3, 3]
        );
        bed.remount();
    }
    bed.sh("rm b");
    assert_eq!([nlink(&bed, "a"), nlink(&bed, "d/c")], [2, 2]);
    bed.remount();
    assert_eq!([nlink(&bed, "d/c"), nlink(&bed, "a")], [2, 2]);
    bed.sh("ln d/c n");
    assert_eq!([nlink(&bed, "a"), nlink(&bed, "n")], [3, 3]);
    bed.remount();
    assert_eq!([nlink(&bed, "n"), nlink(&bed, "d/c")], [3, 3]);
}

fn write_through_one_name_shows_in_all(io: Io) {
    let mut bed = stack(io);
    assert_eq!(fs::read(bed.at("b")).unwrap(), b"aaaaa");
    bed.same("printf new > a; cat b d/c; chmod 600 d/c; stat -c %a a b; ls -i a b d/c | awk '{print $1}' | uniq | wc -l");
    for _ in 0..2 {
        bed.remount();
        assert_eq!(fs::read(bed.at("d/c")).unwrap(), b"new");
        assert_eq!(ino(&bed, "a"), ino(&bed, "b"));
        assert_eq!(nlink(&bed, "b"), 3);
        bed.compare();
    }
}

fn numbers_stay_through_copy_up_rename_and_remount(io: Io) {
    let mut bed = stack(io);
    let paths = ["a", "d/e", "d", "x", "x/y", "x/y/z"];
    let before = paths.map(|p| ino(&bed, p));
    bed.sh("echo x >> a; chmod 600 d/e; chmod 700 d; mv x/y x/q; mv x/q x/y; echo y >> x/y/z; touch new");
    assert_eq!(paths.map(|p| ino(&bed, p)), before, "after copy-up");
    let new = ino(&bed, "new");
    bed.sh("mv new newer; mv newer new; ln new other; rm other");
    assert_eq!(ino(&bed, "new"), new, "after its first rename");
    bed.remount();
    assert_eq!(paths.map(|p| ino(&bed, p)), before, "after a remount");
    assert_eq!(ino(&bed, "new"), new, "after a remount");
    bed.sh("mv d moved; mv moved/e e2");
    assert_eq!(
        [ino(&bed, "moved"), ino(&bed, "e2")],
        [before[2], before[1]]
    );
    bed.remount();
    assert_eq!(
        [ino(&bed, "moved"), ino(&bed, "e2")],
        [before[2], before[1]]
    );
}

/// The walk compares `d_ino` and `st_ino`, `d_type` and `st_mode`, and looks for numbers twice.
fn listing_and_stat_agree(io: Io) {
    let bed = stack(io);
    bed.compare();
    bed.same("echo x >> a; mv d d2; mkdir d; mv x/y d; chmod 600 d2/e");
    let tree = walk::tree(&bed.at(""));
    assert!(tree.0.values().all(|e| e.faults.is_empty()));
}

/// Numbers are unique when the layers are on different file systems, where they repeat.
fn layers_on_different_file_systems(io: Io) {
    use crate::common::stack::Stack;
    use nix::mount::{MsFlags, mount};
    let dir = tempfile::Builder::new()
        .prefix("vellum-")
        .tempdir()
        .unwrap();
    let mut lowers = Vec::new();
    let mut keep = Vec::new();
    for i in 0..3 {
        let lower = dir.path().join(format!("t{i}"));
        fs::create_dir(&lower).unwrap();
        mount(
            Some("tmpfs"),
            &lower,
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        keep.push(crate::common::kernel::Mounted::at(&lower));
        fs::write(lower.join(format!("f{i}")), format!("{i}")).unwrap();
        fs::create_dir(lower.join(format!("d{i}"))).unwrap();
        fs::write(lower.join(format!("d{i}/g")), format!("{i}")).unwrap();
        lowers.push(lower);
    }
    let stack = Stack::over(dir, lowers);
    let mut bed = Bed::on(io, stack);
    bed.compare(); // one number for two files shows as a hard link there
    let before: Vec<u64> = ["f0", "f1", "f2", "d1/g"]
        .iter()
        .map(|p| ino(&bed, p))
        .collect();
    bed.same("echo x >> f0; echo x >> f1; chmod 600 f2; mv d1 d9; mv d9 d1; echo z > d1/g");
    bed.remount();
    bed.compare();
    let after: Vec<u64> = ["f0", "f1", "f2", "d1/g"]
        .iter()
        .map(|p| ino(&bed, p))
        .collect();
    assert_eq!(after, before);
    bed.unmount();
    drop(bed);
    drop(keep);
}

in_both_modes!(
    link_count_is_right_at_the_first_stat,
    write_through_one_name_shows_in_all,
    numbers_stay_through_copy_up_rename_and_remount,
    listing_and_stat_agree,
    layers_on_different_file_systems,
);
