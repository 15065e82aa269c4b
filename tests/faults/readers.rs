//! A reader that opened a file before it was copied up, and a writer after it. The lower is never
//! written; in `io=cached` the reader sees what was written, by read and by mmap. In
//! `io=passthrough` the kernel cannot take a backing file back: the old reader may keep the
//! lower's bytes, every later open sees the new ones.

use crate::bed::{Bed, file};
use crate::common::mounts::Io;
use crate::raw::Map;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

fn stack(io: Io) -> Bed {
    Bed::new(io, &[vec![file("f")]])
}

fn write(bed: &Bed) {
    let w = File::options()
        .read(true)
        .write(true)
        .open(bed.at("f"))
        .unwrap();
    w.write_all_at(b"W", 0).unwrap();
}

/// The old reader's first byte: the new one, or with passthrough maybe the lower's.
fn check(io: Io, byte: u8, what: &str) {
    match io {
        Io::Cached => assert_eq!(byte, b'W', "{what}"),
        Io::Passthrough => assert!(byte == b'W' || byte == b'a', "{what}: {byte}"),
    }
}

fn reader_before_writer(io: Io) {
    let bed = stack(io);
    let r = File::open(bed.at("f")).unwrap();
    let mut buf = [0; 1];
    r.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"a");
    write(&bed);
    r.read_exact_at(&mut buf, 0).unwrap();
    check(io, buf[0], "read");
    drop(r);
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"Waaaa");
    assert_eq!(fs::read(bed.stack.lowers[0].join("f")).unwrap(), b"aaaaa");
}

fn mapping_before_writer(io: Io) {
    let bed = stack(io);
    let r = File::open(bed.at("f")).unwrap();
    let (shared, private) = (Map::new(&r, 5, true, false), Map::new(&r, 5, false, false));
    assert_eq!((shared.get(0), private.get(0)), (b'a', b'a'));
    write(&bed);
    check(io, shared.get(0), "shared mapping");
    check(io, private.get(0), "private mapping that wrote nothing");
    drop((shared, private, r));
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"Waaaa");
}

fn mapping_that_is_touched_only_after_the_write(io: Io) {
    let bed = stack(io);
    let r = File::open(bed.at("f")).unwrap();
    let map = Map::new(&r, 5, true, false);
    write(&bed);
    check(io, map.get(0), "mapping");
}

fn writer_before_reader(io: Io) {
    let bed = stack(io);
    let w = File::options()
        .read(true)
        .write(true)
        .open(bed.at("f"))
        .unwrap();
    let r = File::open(bed.at("f")).unwrap();
    let map = Map::new(&r, 5, true, false);
    assert_eq!(map.get(0), b'a');
    w.write_all_at(b"W", 0).unwrap();
    let mut buf = [0; 1];
    r.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"W");
    assert_eq!(map.get(0), b'W');
    assert_eq!(w.read_at(&mut buf, 0).unwrap(), 1);
    assert_eq!(&buf, b"W");
}

/// `tail -f log & echo x >> log`
fn append_under_a_reader(io: Io) {
    let bed = stack(io);
    let r = File::open(bed.at("f")).unwrap();
    bed.sh("echo x >> f; echo y >> f");
    let mut text = [0; 16];
    let n = r.read_at(&mut text, 0).unwrap();
    match io {
        Io::Cached => assert_eq!(&text[..n], b"aaaaax\ny\n"),
        Io::Passthrough => assert!(&text[..n] == b"aaaaax\ny\n" || &text[..n] == b"aaaaa"),
    }
    drop(r);
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"aaaaax\ny\n");
}

fn truncate_and_chmod_under_a_reader(io: Io) {
    let bed = stack(io);
    let r = File::open(bed.at("f")).unwrap();
    bed.sh("chmod 600 f; truncate -s 2 f");
    drop(r);
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"aa");
    assert_eq!(fs::read(bed.stack.lowers[0].join("f")).unwrap(), b"aaaaa");
}

fn written_through_a_mapping(io: Io) {
    let mut bed = stack(io);
    let f = File::options()
        .read(true)
        .write(true)
        .open(bed.at("f"))
        .unwrap();
    let private = Map::new(&f, 5, false, true);
    private.set(1, b'P');
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"aaaaa");
    let shared = Map::new(&f, 5, true, true);
    shared.set(0, b'S');
    shared.sync();
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"Saaaa");
    drop((private, shared, f));
    bed.remount();
    assert_eq!(fs::read(bed.at("f")).unwrap(), b"Saaaa");
}

in_both_modes!(
    reader_before_writer,
    mapping_before_writer,
    mapping_that_is_touched_only_after_the_write,
    writer_before_reader,
    append_under_a_reader,
    truncate_and_chmod_under_a_reader,
    written_through_a_mapping,
);
