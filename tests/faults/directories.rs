//! Directories: renamed from any layer, their modes kept, listed while they change.

use crate::bed::{Bed, dir, file};
use crate::common::kernel;
use crate::common::layers::Item;
use crate::common::mounts::Io;
use crate::common::tree::{View, diff};
use crate::common::walk;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

fn stack(io: Io) -> Bed {
    let low = vec![
        file("a/x"),
        file("a/b/c/y"),
        file("q/r/s"),
        file("e/f"),
        dir("empty", 0o755),
    ];
    Bed::new(io, &[vec![file("a/top"), file("q/r/t")], low])
}

/// Equal now, after a remount, and for the kernel.
fn lasts(bed: &mut Bed) {
    bed.compare();
    bed.remount();
    bed.compare();
    bed.unmount();
    let mount = kernel::overlay(&bed.stack);
    let view = View {
        began: crate::common::tree::now() - 60,
        ..View::full()
    };
    let (seen, plain) = (walk::tree(mount.path()), walk::tree(&bed.stack.plain()));
    mount.unmount();
    if let Some(diff) = diff(&seen, &plain, &kernel::view(false, view)) {
        panic!("through kernel overlayfs:\n{diff}");
    }
    bed.remount();
}

fn renamed_again_and_again(io: Io) {
    let mut bed = stack(io);
    bed.same("mv a a1 && mv a1 a2 && mv a2 a");
    lasts(&mut bed);
    bed.same("mv a z && echo new > z/new && rm z/x && mv z y && cat y/b/c/y");
    lasts(&mut bed);
    bed.same("mv y/b b2 && mv b2/c y/c && rmdir b2 && mv y e/y");
    lasts(&mut bed);
}

fn nested_renames(io: Io) {
    let mut bed = stack(io);
    bed.same("mv a/b a/b2 && mv a a2 && mv a2/b2/c a2/c && mv q/r a2/r && mv a2 q/a");
    lasts(&mut bed);
    bed.same("mv q/a/c/y q/y && rm -r q/a/r && mkdir q/a/r && mv e q/a/r/e");
    lasts(&mut bed);
}

fn moved_into_and_out_of_a_renamed_directory(io: Io) {
    let mut bed = stack(io);
    bed.same("mv a m && mv e m/e && mv m/b b && mv b/c m/e/c && mv m/e e");
    lasts(&mut bed);
}

fn replaced_and_deleted(io: Io) {
    let mut bed = stack(io);
    bed.same("mv -T a empty && mkdir a && echo 1 > a/x");
    lasts(&mut bed);
    bed.same("rm -rf empty && mv q empty && rm -rf empty && mkdir q empty");
    lasts(&mut bed);
    bed.same("mv -T e q && rm -rf q a && mkdir a q e");
    lasts(&mut bed);
}

fn two_change_places(io: Io) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let mut bed = stack(io);
    for (a, b) in [("a", "q"), ("a/r", "q/b"), ("q/top", "e"), ("a", "q/b")] {
        for root in [bed.at(""), bed.stack.plain()] {
            renameat_with(CWD, root.join(a), CWD, root.join(b), RenameFlags::EXCHANGE).unwrap();
        }
        lasts(&mut bed);
    }
}

fn renamed_in_constant_time(io: Io) {
    let layer: Vec<Item> = (0..200).map(|i| file(format!("big/{i}").leak())).collect();
    let mut bed = Bed::new(io, &[layer]);
    bed.same("mv big bigger");
    bed.unmount();
    assert_eq!(
        walk::tree(&bed.stack.upper().join("bigger")).0.len(),
        1,
        "its files were copied"
    );
}

/// Private directories stay private, shared ones stay shared, whatever the umask of the daemon.
fn modes_are_kept_at_copy_up(io: Io) {
    let modes = [
        ("p", 0o700),
        ("s", 0o2750),
        ("t", 0o1777),
        ("w", 0o2775),
        ("n", 0o000),
    ];
    let mut layer = Vec::new();
    for (name, mode) in modes {
        layer.push(dir(name, mode));
        layer.push(file(format!("{name}/f").leak()));
        layer.push(dir(format!("{name}/sub").leak(), mode));
        layer.push(file(format!("{name}/sub/g").leak()));
    }
    let mut bed = Bed::new(io, &[layer]);
    bed.same("umask 077; for d in p s t w n; do echo x >> $d/f; echo x >> $d/sub/g; echo y > $d/new; done");
    for (name, mode) in modes {
        for path in [name.to_owned(), format!("{name}/sub")] {
            assert_eq!(
                fs::metadata(bed.at(&path)).unwrap().mode() & 0o7777,
                mode,
                "{path}"
            );
        }
    }
    bed.remount();
    bed.compare();
}

fn entries_come_and_go_while_listing(io: Io) {
    const MANY: usize = 3000;
    let layer: Vec<Item> = (0..MANY)
        .map(|i| file(format!("d/low{i}").leak()))
        .collect();
    let bed = Bed::new(io, &[layer]);
    for i in 0..MANY {
        fs::write(bed.at(&format!("d/up{i}")), "").unwrap();
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (n, entry) in fs::read_dir(bed.at("d")).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        *seen.entry(name).or_default() += 1;
        if n < 1000 {
            // every tenth goes, others come
            fs::remove_file(bed.at(&format!("d/low{}", 10 * (n % 300)))).ok();
            fs::write(bed.at(&format!("d/new{n}")), "").unwrap();
        }
    }
    for i in 0..MANY {
        for kind in ["low", "up"] {
            if kind == "low" && i % 10 == 0 {
                continue; // those went
            }
            let name = format!("{kind}{i}");
            assert_eq!(seen.get(&name), Some(&1), "{name}");
        }
    }
    assert!(seen.values().all(|n| *n == 1), "something was listed twice");
    let now = fs::read_dir(bed.at("d")).unwrap().count();
    assert_eq!(now, MANY - 300 + MANY + 1000);
}

/// `rm -rf` lists and deletes at once.
fn large_tree_is_removed(io: Io) {
    let layer: Vec<Item> = (0..2000)
        .map(|i| file(format!("d/{}/{i}", i % 20).leak()))
        .collect();
    let mut bed = Bed::new(io, &[layer]);
    bed.same("rm -rf d && ls -A");
    bed.same("mkdir d; for i in 1 2 3; do mkdir d/$i; done; rm -rf d");
    bed.remount();
    bed.compare();
}

in_both_modes!(
    renamed_again_and_again,
    nested_renames,
    moved_into_and_out_of_a_renamed_directory,
    replaced_and_deleted,
    two_change_places,
    renamed_in_constant_time,
    modes_are_kept_at_copy_up,
    entries_come_and_go_while_listing,
    large_tree_is_removed,
);
