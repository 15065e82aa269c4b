//! What a file's data can do: holes, locks, direct and appending writes, mappings, exec.

use crate::bed::{Bed, dir, file, said};
use crate::common::layers::{Item, content};
use crate::common::mounts::Io;
use rustix::fs::{FlockOperation, SeekFrom, flock};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::process::Command;

const HOLE: u64 = 64 << 20;

fn sparse(io: Io) -> Bed {
    Bed::new(
        io,
        &[vec![
            Item::Sparse {
                path: "s",
                hole: HOLE,
                len: 4096,
            },
            file("f"),
            dir("d", 0o755),
        ]],
    )
}

fn holes_are_kept_at_copy_up(io: Io) {
    for change in [
        "chmod 600 s",
        "printf x | dd of=s bs=1 seek=5 conv=notrunc status=none",
        "truncate -s +1 s",
    ] {
        let mut bed = sparse(io);
        bed.same(change);
        bed.remount();
        bed.compare();
        let used = fs::metadata(bed.stack.upper().join("s")).unwrap().blocks() * 512;
        assert!(used < 1 << 20, "{change}: {used} bytes in the upper");
    }
}

fn metadata_changes_copy_no_data(io: Io) {
    let layer = vec![Item::File {
        path: "big",
        len: 4 << 20,
        byte: b'b',
        mode: 0o644,
        uid: 0,
    }];
    let mut bed = Bed::new(io, &[layer]);
    bed.same("chmod 600 big; chown 5:6 big; touch -c -d 2001-01-01 big; setfattr -n user.x -v y big; ln big other; mv big moved");
    let used = fs::metadata(bed.stack.upper().join("moved"))
        .unwrap()
        .blocks()
        * 512;
    assert!(used < 1 << 20, "{used} bytes in the upper");
    bed.remount();
    bed.compare();
}

fn seek_data_and_hole(io: Io) {
    let bed = sparse(io);
    let seek = |what: fn(u64) -> SeekFrom, at: u64| {
        let f = File::open(bed.at("s")).unwrap();
        rustix::fs::seek(&f, what(at))
    };
    for round in ["lower", "copied up"] {
        assert_eq!(seek(SeekFrom::Data, 0), Ok(HOLE), "{round}");
        assert_eq!(seek(SeekFrom::Hole, 0), Ok(0), "{round}");
        assert_eq!(seek(SeekFrom::Hole, HOLE), Ok(HOLE + 4096), "{round}");
        assert_eq!(
            seek(SeekFrom::Data, HOLE + 4096),
            Err(rustix::io::Errno::NXIO),
            "{round}"
        );
        bed.sh("truncate -s +4096 s");
    }
}

/// Collapsing and inserting is refused by the kernel's FUSE itself, whoever serves the mount
/// (`fuse_file_fallocate` lets KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE through).
fn fallocate_modes(io: Io) {
    let mut bed = sparse(io);
    bed.same("fallocate -p -o 1 -l 3 f; fallocate -l 10000 f; fallocate -n -l 90000 f; stat -c %s f; fallocate -z -o 2 -l 5000 f; cat f | sha1sum");
    bed.remount();
    bed.compare();
}

fn o_direct(io: Io) {
    let layer = vec![Item::File {
        path: "f",
        len: 16384,
        byte: b'f',
        mode: 0o644,
        uid: 0,
    }];
    let mut bed = Bed::new(io, &[layer]);
    bed.same("dd if=f iflag=direct bs=4096 status=none | sha1sum");
    bed.same("dd if=/dev/zero of=f oflag=direct bs=4096 seek=1 count=1 conv=notrunc status=none; sha1sum < f");
    bed.same("dd if=/dev/zero of=new oflag=direct bs=4096 count=3 status=none; sha1sum < new");
    bed.remount();
    bed.compare();
}

fn o_append_by_two_writers(io: Io) {
    let bed = Bed::new(io, &[vec![file("f")]]);
    let open = || File::options().append(true).open(bed.at("f")).unwrap();
    let (mut a, mut b) = (open(), open());
    for _ in 0..100 {
        a.write_all(b"a").unwrap();
        b.write_all(b"b").unwrap();
    }
    assert_eq!(
        fs::read(bed.at("f")).unwrap(),
        [b"aaaaa".to_vec(), b"ab".repeat(100)].concat()
    );
}

fn truncating_open(io: Io) {
    let mut bed = Bed::new(io, &[vec![file("f"), file("g")]]);
    bed.same(": > f; printf new > g");
    bed.remount();
    bed.compare();
}

fn flock_and_fcntl_locks(io: Io) {
    let bed = Bed::new(io, &[vec![file("f")]]);
    let open = || {
        File::options()
            .read(true)
            .write(true)
            .open(bed.at("f"))
            .unwrap()
    };
    let (a, b) = (open(), open());
    flock(&a, FlockOperation::LockExclusive).unwrap();
    assert!(flock(&b, FlockOperation::NonBlockingLockShared).is_err());
    b.write_at(b"x", 0).unwrap(); // a copy-up loses no lock
    assert!(flock(&b, FlockOperation::NonBlockingLockShared).is_err());
    flock(&a, FlockOperation::Unlock).unwrap();
    flock(&b, FlockOperation::NonBlockingLockShared).unwrap();
    // the locks of fcntl belong to a process, so another one is asked
    let try_lock = "import fcntl,sys\nf=open('f','r+')\ntry: fcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB,1)\nexcept OSError: print('held')\nelse: print('free')";
    let ask = || {
        said(
            Command::new("python3")
                .args(["-c", try_lock])
                .current_dir(bed.at(""))
                .output(),
        )
    };
    rustix::fs::fcntl_lock(&a, FlockOperation::LockExclusive).unwrap();
    assert_eq!(ask(), "held\n");
    rustix::fs::fcntl_lock(&a, FlockOperation::Unlock).unwrap();
    assert_eq!(ask(), "free\n");
}

fn programs_run(io: Io) {
    let bed = Bed::new(io, &[vec![file("f")]]);
    bed.sh("cp /bin/true prog; cp /bin/echo e; ./prog; test \"$(./e hi)\" = hi; chmod 4755 prog; ./prog");
    let text = bed.sh("printf '#!/bin/sh\\necho ran\\n' > s; chmod 755 s; ./s; mv s s2; ./s2");
    assert_eq!(text, "ran\nran\n");
    // a running program cannot be written
    let child = Command::new(bed.at("e")).arg("x").output().unwrap();
    assert!(child.status.success());
}

fn large_offsets(io: Io) {
    let bed = Bed::new(io, &[vec![file("f")]]);
    let f = File::options()
        .read(true)
        .write(true)
        .open(bed.at("f"))
        .unwrap();
    let far = 1u64 << 43; // ext4 ends at 2^44 with blocks of 4 KiB
    f.write_all_at(b"far", far).unwrap();
    let mut buf = [0; 3];
    f.read_exact_at(&mut buf, far).unwrap();
    assert_eq!(&buf, b"far");
    assert_eq!(f.metadata().unwrap().len(), far + 3);
    // the plain directory says EFBIG or EINVAL, and so does this
    // ... at the latest when the page cache is written out
    let beyond = f
        .write_at(b"x", i64::MAX as u64 - 1)
        .and_then(|_| f.sync_all());
    assert!(beyond.is_err());
}

fn copy_file_range_and_sync(io: Io) {
    let layer = vec![Item::File {
        path: "f",
        len: 100_000,
        byte: b'f',
        mode: 0o644,
        uid: 0,
    }];
    let mut bed = Bed::new(io, &[layer]);
    let (from, to) = (
        File::open(bed.at("f")).unwrap(),
        File::create(bed.at("g")).unwrap(),
    );
    let (mut a, mut b) = (0, 0);
    while rustix::fs::copy_file_range(&from, Some(&mut a), &to, Some(&mut b), 1 << 20).unwrap() > 0
    {
    }
    to.sync_all().unwrap();
    to.sync_data().unwrap();
    rustix::fs::syncfs(&to).unwrap();
    File::open(bed.at("")).unwrap().sync_all().unwrap();
    drop((from, to));
    bed.remount();
    assert_eq!(fs::read(bed.at("g")).unwrap(), content(b'f', 100_000));
}

/// The file system beneath is full in the middle of a copy-up: an errno, and the old state.
fn no_space_for_a_copy_up(io: Io) {
    use nix::mount::{MsFlags, mount};
    let dir = tempfile::Builder::new()
        .prefix("vellum-")
        .tempdir()
        .unwrap();
    let (lower, small) = (dir.path().join("l0"), dir.path().join("small"));
    for d in [&lower, &small] {
        fs::create_dir(d).unwrap();
    }
    fs::write(lower.join("big"), content(b'b', 6 << 20)).unwrap();
    fs::write(lower.join("f"), "f").unwrap();
    mount(
        Some("tmpfs"),
        &small,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=4m"),
    )
    .unwrap();
    let small_mount = crate::common::kernel::Mounted::at(&small);
    for d in ["upper", "work"] {
        fs::create_dir(small.join(d)).unwrap();
        std::os::unix::fs::symlink(small.join(d), dir.path().join(d)).unwrap();
    }
    let stack = crate::common::stack::Stack::with_upper(dir, vec![lower]);
    let mut bed = Bed::on(io, stack);
    let failed = File::options()
        .write(true)
        .open(bed.at("big"))
        .and_then(|f| f.write_at(b"x", 9));
    match io {
        // the write is in the page cache then; it fails when it goes out
        Io::Cached if failed.is_ok() => {
            let f = File::options().write(true).open(bed.at("big")).unwrap();
            f.write_at(b"x", 9).unwrap();
            assert_eq!(f.sync_all().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
        }
        _ => assert_eq!(failed.unwrap_err().raw_os_error(), Some(libc::ENOSPC)),
    }
    bed.remount();
    assert_eq!(fs::read(bed.at("big")).unwrap(), content(b'b', 6 << 20));
    fs::write(bed.at("f"), "there is room for this").unwrap();
    bed.remount();
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"there is room for this");
    bed.unmount();
    drop(bed);
    drop(small_mount);
}

/// A file opened with `O_NOFOLLOW`, `O_NOATIME`, `O_SYNC`, `O_PATH`.
fn open_flags(io: Io) {
    let bed = Bed::new(
        io,
        &[vec![
            file("f"),
            Item::Symlink {
                path: "s",
                target: "f",
            },
        ]],
    );
    let open = |name: &str, flags: i32| {
        File::options()
            .read(true)
            .write(flags & libc::O_SYNC != 0)
            .custom_flags(flags)
            .open(bed.at(name))
    };
    assert_eq!(
        open("s", libc::O_NOFOLLOW).unwrap_err().raw_os_error(),
        Some(libc::ELOOP)
    );
    assert_eq!(
        open("f", libc::O_DIRECTORY).unwrap_err().raw_os_error(),
        Some(libc::ENOTDIR)
    );
    assert_eq!(
        open("s", libc::O_NOATIME)
            .unwrap()
            .metadata()
            .unwrap()
            .len(),
        5
    );
    let f = open("f", libc::O_SYNC | libc::O_RDWR).unwrap();
    f.write_all_at(b"S", 0).unwrap();
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"Saaaa");
    assert!(
        open("f", libc::O_PATH)
            .unwrap()
            .read_at(&mut [0], 0)
            .is_err()
    );
}

in_both_modes!(
    holes_are_kept_at_copy_up,
    metadata_changes_copy_no_data,
    seek_data_and_hole,
    fallocate_modes,
    o_direct,
    o_append_by_two_writers,
    truncating_open,
    flock_and_fcntl_locks,
    programs_run,
    large_offsets,
    copy_file_range_and_sync,
    no_space_for_a_copy_up,
    open_flags,
);
