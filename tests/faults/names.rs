//! Names: as long as there can be, of any bytes, at the end of long paths.

use crate::bed::{Bed, file};
use crate::common::mounts::Io;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

fn long(len: usize, first: char) -> &'static str {
    format!("{first}{}", "n".repeat(len - 1)).leak()
}

fn names_of_252_to_255_bytes(io: Io) {
    let layer = (252..=255).map(|len| file(long(len, 'L'))).collect();
    let mut bed = Bed::new(io, &[layer]);
    for len in 252..=255 {
        let (low, new) = (long(len, 'L'), long(len, 'N'));
        for root in [bed.at(""), bed.stack.plain()] {
            fs::write(root.join(new), "new").unwrap();
            fs::rename(root.join(low), root.join(long(len, 'R'))).unwrap();
            fs::write(root.join(low), "again").unwrap();
            fs::remove_file(root.join(low)).unwrap();
        }
    }
    bed.compare();
    bed.remount();
    bed.compare();
    for len in 252..=255 {
        assert!(!bed.at(long(len, 'L')).exists(), "whited out");
        for root in [bed.at(""), bed.stack.plain()] {
            fs::remove_file(root.join(long(len, 'N'))).unwrap();
            fs::remove_file(root.join(long(len, 'R'))).unwrap();
            fs::create_dir(root.join(long(len, 'L'))).unwrap();
        }
    }
    bed.compare();
    bed.remount();
    bed.compare();
}

fn names_over_255_bytes_are_too_long(io: Io) {
    let bed = Bed::new(io, &[vec![file("f")]]);
    for len in [256, 300, 1000] {
        let path = bed.at(long(len, 'x'));
        let f = bed.at("f");
        let too_long = |e: std::io::Error| assert_eq!(e.raw_os_error(), Some(libc::ENAMETOOLONG));
        too_long(fs::symlink_metadata(&path).unwrap_err());
        too_long(fs::write(&path, "").unwrap_err());
        too_long(fs::create_dir(&path).unwrap_err());
        too_long(fs::rename(&f, &path).unwrap_err());
        too_long(fs::hard_link(&f, &path).unwrap_err());
        too_long(fs::remove_file(&path).unwrap_err());
    }
}

fn names_of_any_bytes(io: Io) {
    let mut bed = Bed::new(io, &[vec![file("f")]]);
    let odd: [&[u8]; 6] = [
        b"\xff\xfe",
        b"a\nb",
        b" ",
        b"-rf",
        b"\x01",
        b"\xc3\x28 \\ \" '",
    ];
    for name in odd {
        for root in [bed.at(""), bed.stack.plain()] {
            fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
        }
    }
    bed.compare();
    bed.remount();
    bed.compare();
    let mut left: Vec<OsString> = fs::read_dir(bed.at(""))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.retain(|n| n != "f");
    assert_eq!(left.len(), odd.len());
    for name in odd {
        fs::remove_file(bed.at("").join(OsString::from_vec(name.to_vec()))).unwrap();
    }
    assert_eq!(bed.names(""), ["f"]);
}

/// Deeper than PATH_MAX, reached step by step; renamed at the top, removed.
fn paths_longer_than_path_max(io: Io) {
    use rustix::fs::{AtFlags, Mode, OFlags};
    let mut bed = Bed::new(io, &[vec![file("top/f")]]);
    let name = long(200, 'd');
    let open = |dir: &std::os::fd::OwnedFd, name: &str| {
        rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    };
    let root = |bed: &Bed, path: &str| {
        rustix::fs::open(
            bed.at(path),
            OFlags::RDONLY | OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap()
    };
    let mut at = root(&bed, "top");
    for _ in 0..30 {
        rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        at = open(&at, name);
    }
    rustix::fs::mkdirat(&at, "end", Mode::RWXU).unwrap();
    drop(at);
    fs::rename(bed.at("top"), bed.at("moved")).unwrap();
    bed.remount();
    let mut at = root(&bed, "moved");
    for _ in 0..30 {
        at = open(&at, name);
    }
    rustix::fs::unlinkat(&at, "end", AtFlags::REMOVEDIR).unwrap();
    drop(at);
    bed.sh("rm -rf moved");
    assert_eq!(bed.names(""), [""; 0]);
}

in_both_modes!(
    names_of_252_to_255_bytes,
    names_over_255_bytes_are_too_long,
    names_of_any_bytes,
    paths_longer_than_path_max,
);
