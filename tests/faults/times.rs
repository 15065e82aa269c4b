//! Times.

use crate::bed::{Bed, file};
use crate::common::layers::Item;
use crate::common::mounts::Io;
use crate::common::posix::{self, OMIT, Stamp};
use crate::raw::Map;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn stack(io: Io) -> Bed {
    Bed::new(
        io,
        &[vec![
            file("d/f"),
            file("d/g"),
            file("d/sub/h"),
            Item::Symlink {
                path: "s",
                target: "x",
            },
        ]],
    )
}

fn times(path: &Path) -> (Stamp, Stamp) {
    let st = posix::lstat(path).unwrap();
    (
        (st.st_atime, st.st_atime_nsec as i64),
        (st.st_mtime, st.st_mtime_nsec as i64),
    )
}

fn utimens_with_omit_and_now(io: Io) {
    let mut bed = stack(io);
    for path in ["d/f", "d", "s"] {
        let path = bed.at(path);
        let (a, m) = ((1_234_567_890, 987_654_321), (-3_000_000, 1));
        posix::utimens(&path, a, m).unwrap();
        assert_eq!(times(&path), (a, m));
        posix::utimens(&path, OMIT, (5, 5)).unwrap();
        assert_eq!(times(&path), (a, (5, 5)));
        posix::utimens(&path, (6, 6), OMIT).unwrap();
        assert_eq!(times(&path), ((6, 6), (5, 5)));
        posix::utimens(&path, OMIT, (0, libc::UTIME_NOW)).unwrap();
        let (a, m) = times(&path);
        assert_eq!(a, (6, 6));
        assert!(m.0 >= crate::common::tree::now() - 60);
        posix::utimens(&path, OMIT, (-1, 999_999_999)).unwrap();
    }
    bed.remount();
    for path in ["d/f", "d", "s"] {
        assert_eq!(
            times(&bed.at(path)).1,
            (-1, 999_999_999),
            "before 1970, after a remount"
        );
    }
}

/// A copy-up is nobody's change: the directories above keep their times, and so does the file.
fn copy_up_moves_no_time_of_others(io: Io) {
    let mut bed = stack(io);
    let paths = ["", "d", "d/sub", "d/g"];
    let before = paths.map(|p| times(&bed.at(p)).1);
    let f = times(&bed.at("d/f")).1;
    bed.sh("chmod 600 d/f; setfattr -n user.x -v y d/sub/h; chown 3 d/g; echo x >> d/sub/h");
    assert_eq!(paths.map(|p| times(&bed.at(p)).1), before);
    assert_eq!(times(&bed.at("d/f")).1, f);
    bed.remount();
    assert_eq!(paths.map(|p| times(&bed.at(p)).1), before);
}

/// `tar: .: file changed as we read it`: listing is no change either.
fn listing_changes_nothing(io: Io) {
    let bed = stack(io);
    bed.sh("touch d/new");
    let ctime = |p: &str| {
        let m = std::fs::metadata(bed.at(p)).unwrap();
        (m.ctime(), m.ctime_nsec(), m.mtime(), m.mtime_nsec())
    };
    let before = [ctime(""), ctime("d")];
    bed.sh("ls -laR . > /dev/null; cat d/f d/sub/h > /dev/null; find . -newer d > /dev/null; tar cf - . | cat > /dev/null");
    assert_eq!([ctime(""), ctime("d")], before);
}

fn a_write_through_a_mapping_moves_mtime(io: Io) {
    let bed = stack(io);
    let path = bed.at("d/f");
    let file = File::options().read(true).write(true).open(&path).unwrap();
    posix::utimens(&path, (1000, 0), (1000, 0)).unwrap();
    let map = Map::new(&file, 5, true, true);
    map.set(0, b'm');
    map.sync();
    drop(map);
    file.sync_all().unwrap();
    let m = file.metadata().unwrap();
    let recent = crate::common::tree::now() - 60;
    assert!(
        m.mtime() >= recent && m.ctime() >= recent,
        "mtime {} ctime {}",
        m.mtime(),
        m.ctime()
    );
}

/// What makes a change moves the times that POSIX says it moves.
fn changes_move_ctime_and_mtime(io: Io) {
    let bed = stack(io);
    let ctime = |p: &str| {
        let m = std::fs::symlink_metadata(bed.at(p)).unwrap();
        (m.ctime(), m.ctime_nsec())
    };
    for (change, moved) in [
        ("chmod 611 d/f", "d/f"),
        ("ln d/f d/l", "d/f"),
        ("mv d/l d/m", "d"),
        ("rm d/m", "d/f"),
        ("echo x >> d/f", "d/f"),
        ("setfattr -n user.y -v z d/f", "d/f"),
        ("chown 7 d", "d"),
        ("mkdir d/n", "d"),
        ("rmdir d/n", "d"),
    ] {
        let before = ctime(moved);
        std::thread::sleep(std::time::Duration::from_millis(12)); // file times come in ticks
        bed.sh(change);
        assert!(ctime(moved) > before, "{change} left the ctime of {moved}");
    }
}

/// `relatime`: the first read after a change moves the time of access, and `noatime` never does.
fn atime_moves_as_the_mount_says(io: Io) {
    use crate::common::mounts;
    let mut bed = stack(io);
    let read_moves = |bed: &Bed| {
        let path = bed.at("d/f");
        posix::utimens(&path, (1000, 0), (2000, 0)).unwrap();
        std::fs::read(&path).unwrap();
        times(&path).0 != (1000, 0)
    };
    bed.unmount();
    let mounted = mounts::mount_with(&bed.stack, io, &["-o", "noatime"]);
    assert!(!read_moves(&bed), "noatime");
    mounted.unmount();
}

/// When a file was made: of a layer's file, as below; of a copy, when it was copied, once the kernel
/// has forgotten what it knew before.
fn time_of_birth(io: Io) {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let mut bed = stack(io);
    let birth = |path: &Path| {
        let st = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME).unwrap();
        let known = st.stx_mask & StatxFlags::BTIME.bits() != 0;
        known.then_some((st.stx_btime.tv_sec, st.stx_btime.tv_nsec))
    };
    let below = bed.stack.lowers[0].join("d/f");
    assert!(
        birth(&below).is_some(),
        "tests need a file system that keeps it"
    );
    for path in ["d/f", "d", "s"] {
        let below = bed.stack.lowers[0].join(path);
        assert_eq!(birth(&bed.at(path)), birth(&below), "{path}");
    }
    std::fs::write(bed.at("d/f"), "copied up").unwrap();
    std::fs::write(bed.at("d/new"), "new").unwrap();
    let above = birth(&bed.stack.upper().join("d/new"));
    assert_eq!(birth(&bed.at("d/new")), above);
    bed.remount();
    for path in ["d/f", "d/new"] {
        let above = birth(&bed.stack.upper().join(path));
        assert_eq!(birth(&bed.at(path)), above, "{path}");
        assert!(above > birth(&below), "{path}");
    }
}

/// What `stat` said of a file that was just written is what it says after a remount.
fn a_new_file_keeps_its_time(io: Io) {
    let mut bed = stack(io);
    let names: Vec<String> = (0..50).map(|i| format!("d/new{i}")).collect();
    for name in &names {
        std::fs::write(bed.at(name), "at once").unwrap();
        let copy = bed.at(&format!("{name}.again"));
        std::fs::write(&copy, "at once").unwrap();
        posix::utimens(&copy, OMIT, (0, libc::UTIME_NOW)).unwrap();
        std::fs::write(&copy, "and again").unwrap();
        // by copy_file_range, as cp does it
        std::fs::copy(bed.at("d/f"), bed.at(&format!("{name}.copy"))).unwrap();
        let reserved = File::create(bed.at(&format!("{name}.reserved"))).unwrap();
        rustix::fs::fallocate(&reserved, rustix::fs::FallocateFlags::empty(), 0, 9000).unwrap();
    }
    let all = |bed: &Bed| -> Vec<(String, Stamp)> {
        let kinds = ["", ".again", ".copy", ".reserved"];
        let all = names
            .iter()
            .flat_map(|name| kinds.map(|kind| format!("{name}{kind}")));
        all.map(|name| (name.clone(), times(&bed.at(&name)).1))
            .collect()
    };
    let before = all(&bed);
    // what the kernel keeps is written later than it was said to be
    std::thread::sleep(std::time::Duration::from_millis(30));
    bed.remount();
    assert_eq!(all(&bed), before);
}

in_both_modes!(
    a_new_file_keeps_its_time,
    time_of_birth,
    utimens_with_omit_and_now,
    copy_up_moves_no_time_of_others,
    listing_changes_nothing,
    a_write_through_a_mapping_moves_mtime,
    changes_move_ctime_and_mtime,
    atime_moves_as_the_mount_says,
);
