//! Files that are open and have no name any more: everything works on them as before.

use crate::bed::{Bed, dir, file};
use crate::common::mounts::Io;
use crate::common::posix;
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};

fn stack(io: Io) -> Bed {
    Bed::new(io, &[vec![file("lower"), file("victim"), dir("d", 0o755)]])
}

/// Everything that can be done with an open file.
fn use_it(file: &mut File) {
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    let mut text = Vec::new();
    file.read_to_end(&mut text).unwrap();
    file.set_len(3).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 3);
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"more").unwrap();
    file.sync_all().unwrap();
    file.set_permissions(Permissions::from_mode(0o600)).unwrap();
    fchown(&*file, Some(7), Some(8)).unwrap();
    let mode = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&*file, mode, 0, 1).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::fsetxattr(&*file, "user.x", b"v", flags).unwrap();
    let mut value = [0; 8];
    assert_eq!(
        rustix::fs::fgetxattr(&*file, "user.x", &mut value).unwrap(),
        1
    );
    let m = file.metadata().unwrap();
    assert_eq!(
        (m.len(), m.mode() & 0o7777, m.uid(), m.gid(), m.nlink()),
        (7, 0o600, 7, 8, 0)
    );
    file.rewind().unwrap();
    let mut after = Vec::new();
    file.read_to_end(&mut after).unwrap();
    assert_eq!(&after[3..], b"more");
    assert_eq!(after[0], 0);
}

fn open(bed: &Bed, name: &str) -> File {
    File::options()
        .read(true)
        .write(true)
        .open(bed.at(name))
        .unwrap()
}

fn unlinked_lower_file(io: Io) {
    let bed = stack(io);
    let mut f = open(&bed, "lower");
    fs::remove_file(bed.at("lower")).unwrap();
    use_it(&mut f);
}

fn unlinked_file_opened_to_read_only(io: Io) {
    let bed = stack(io);
    let mut f = File::open(bed.at("lower")).unwrap();
    fs::remove_file(bed.at("lower")).unwrap();
    assert_eq!(f.metadata().unwrap().nlink(), 0);
    f.set_permissions(Permissions::from_mode(0o400)).unwrap();
    let mut text = String::new();
    f.read_to_string(&mut text).unwrap();
    assert_eq!(text, "aaaaa");
    assert!(!bed.stack.upper().join("lower").is_file());
}

fn unlinked_new_file(io: Io) {
    let bed = stack(io);
    fs::write(bed.at("new"), "12345").unwrap();
    let mut f = open(&bed, "new");
    fs::remove_file(bed.at("new")).unwrap();
    use_it(&mut f);
}

fn file_replaced_by_rename(io: Io) {
    let bed = stack(io);
    let mut f = open(&bed, "victim");
    fs::write(bed.at("new"), "new").unwrap();
    fs::rename(bed.at("new"), bed.at("victim")).unwrap();
    use_it(&mut f);
    assert_eq!(fs::read_to_string(bed.at("victim")).unwrap(), "new");
}

fn removed_directory(io: Io) {
    let bed = stack(io);
    let d = File::open(bed.at("d")).unwrap();
    fs::remove_dir(bed.at("d")).unwrap();
    assert_eq!(d.metadata().unwrap().nlink(), 0);
    d.set_permissions(Permissions::from_mode(0o700)).unwrap();
    assert_eq!(d.metadata().unwrap().mode() & 0o7777, 0o700);
    d.sync_all().unwrap();
}

/// What `tmpfile()` of C does.
fn made_and_unlinked_at_once(io: Io) {
    let bed = stack(io);
    let mut f = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(bed.at("t"))
        .unwrap();
    f.write_all(b"12345").unwrap();
    f.rewind().unwrap();
    fs::remove_file(bed.at("t")).unwrap();
    use_it(&mut f);
}

/// A new file that gets a dead one's inode number is not of the dead one's type.
fn reused_inode_number_has_its_own_type(io: Io) {
    let bed = stack(io);
    for i in 0..200 {
        let path = bed.at(&format!("x{}", i % 3));
        match i % 2 {
            0 => {
                fs::create_dir(&path).unwrap();
                assert!(fs::symlink_metadata(&path).unwrap().is_dir());
                fs::remove_dir(&path).unwrap();
            }
            _ => {
                fs::write(&path, "x").unwrap();
                assert!(fs::symlink_metadata(&path).unwrap().is_file());
                fs::remove_file(&path).unwrap();
            }
        }
    }
}

/// A file without a name inherits from its directory, can be used, and may get a name later.
fn o_tmpfile(io: Io) {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags};
    let mut bed = stack(io);
    bed.sh("chgrp 1234 d; chmod 2755 d; umask 027");
    let flags = OFlags::TMPFILE | OFlags::RDWR;
    let open = || {
        let fd = rustix::fs::open(bed.at("d"), flags, Mode::from_raw_mode(0o666)).unwrap();
        File::from(fd)
    };
    let names = bed.names("d");
    let (mut kept, mut lost) = (open(), open());
    for f in [&mut kept, &mut lost] {
        f.write_all(b"text").unwrap();
        f.sync_all().unwrap();
        let st = f.metadata().unwrap();
        assert_eq!((st.nlink(), st.len(), st.gid()), (0, 4, 1234));
    }
    assert_ne!(
        kept.metadata().unwrap().ino(),
        lost.metadata().unwrap().ino()
    );
    lost.set_len(1).unwrap();
    drop(lost);
    assert_eq!(bed.names("d"), names);
    let by = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&kept));
    let to = bed.at("d/named");
    rustix::fs::linkat(CWD, by, CWD, &to, AtFlags::SYMLINK_FOLLOW).unwrap();
    kept.write_all(b" and more").unwrap();
    let ino = kept.metadata().unwrap().ino();
    drop(kept);
    assert_eq!(fs::metadata(&to).unwrap().ino(), ino);
    bed.remount();
    let st = fs::metadata(&to).unwrap();
    assert_eq!((st.nlink(), st.gid(), st.ino()), (1, 1234, ino));
    assert_eq!(fs::read(&to).unwrap(), b"text and more");
    assert_eq!(posix::lstat(&bed.at("d")).unwrap().st_mode & 0o7777, 0o2755);
}

in_both_modes!(
    unlinked_lower_file,
    unlinked_file_opened_to_read_only,
    unlinked_new_file,
    file_replaced_by_rename,
    removed_directory,
    made_and_unlinked_at_once,
    reused_inode_number_has_its_own_type,
    o_tmpfile,
);
