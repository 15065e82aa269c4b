use super::*;
use std::io;

#[test]
fn every_kind() {
    let mut device = header(b'3', b"tty", 0);
    device[329..336].copy_from_slice(b"0000005");
    device[337..344].copy_from_slice(b"0000001");
    let mut disk = header(b'4', b"sda", 0);
    disk[329..336].copy_from_slice(b"0000010");
    let tar = Tar::default()
        .entry(b'5', b"./", b"")
        .entry(b'5', b"d/", b"")
        .entry(b'5', b"e", b"")
        .entry(b'0', b"d/f", b"data")
        .entry(0, b"g", b"")
        .entry(b'7', b"h", b"x")
        .link(b'1', b"i", b"./d/f")
        .link(b'1', b"j", b"i")
        .link(b'2', b"k", b"../no//where/")
        .block(device)
        .block(disk)
        .entry(b'6', b"p", b"");
    let meta = plain;
    let expected = [
        (entry("", Item::Dir(meta())), ""),
        (entry("d", Item::Dir(meta())), ""),
        (entry("e", Item::Dir(meta())), ""),
        (entry("d/f", Item::File(meta(), 4)), "data"),
        (entry("g", Item::File(meta(), 0)), ""),
        (entry("h", Item::File(meta(), 1)), "x"),
        (entry("i", Item::Hardlink(path("d/f"))), ""),
        (entry("j", Item::Hardlink(path("i"))), ""),
        (
            entry("k", Item::Symlink(meta(), b"../no//where/"[..].into())),
            "",
        ),
        (entry("tty", Item::CharDev(meta(), libc::makedev(5, 1))), ""),
        (
            entry("sda", Item::BlockDev(meta(), libc::makedev(8, 0))),
            "",
        ),
        (entry("p", Item::Fifo(meta())), ""),
    ];
    let expected = expected.map(|(e, d)| (e, d.as_bytes().to_vec()));
    assert_eq!(tar.read().unwrap(), expected);
}

#[test]
fn data_that_nobody_reads_is_passed_over() {
    let tar = Tar::default()
        .entry(b'0', b"a", &[1; 5000])
        .entry(b'0', b"b", b"b")
        .end();
    for some in [0, 1, 512, 4999, 5000] {
        let mut reader = LayerReader::new(&*tar, Limits::default());
        reader.next_entry().unwrap().unwrap();
        let mut data = vec![0; some];
        reader.read_exact(&mut data).unwrap();
        assert_eq!(data, vec![1; some]);
        let b = reader.next_entry().unwrap().unwrap();
        assert_eq!(b, entry("b", Item::File(plain(), 1)));
        assert_eq!(reader.segments().len(), 1);
        assert_eq!(reader.next_entry().unwrap(), None);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn v7_has_directories_by_their_names() {
    let v7 = |name: &[u8]| {
        let mut block = header(0, name, 3);
        block[257..265].fill(0);
        // other programs' bytes
        block[345] = b'x';
        // the type once more, as v7 has it
        block[100..107].copy_from_slice(b"0100644");
        block
    };
    let tar = Tar::default()
        .block(v7(b"d/"))
        .block(v7(b"d/f"))
        .data(b"abc");
    let items = tar.items();
    assert_eq!(items, [Item::Dir(plain()), Item::File(plain(), 3)]);
}

#[test]
fn names_of_every_dialect() {
    let long = format!("{}/{}", "d".repeat(200), "n".repeat(200));
    let mut prefixed = header(b'0', b"name", 0);
    prefixed[345..351].copy_from_slice(b"prefix");
    let mut gnu = header(b'0', b"gnu", 0);
    gnu[257..265].copy_from_slice(b"ustar  \0");
    gnu[345..350].copy_from_slice(b"atime");
    let tar = Tar::default()
        .entry(b'L', b"././@LongLink", format!("{long}\0rest").as_bytes())
        .entry(b'K', b"././@LongLink", format!("{long}x\0").as_bytes())
        .link(b'2', b"cut", b"cut")
        .entry(b'L', b"././@LongLink", b"no nul")
        .entry(b'0', b"cut", b"")
        .pax(b'x', &[("path", long.as_bytes()), ("linkpath", b"t\xff")])
        .link(b'2', b"cut", b"cut")
        .block(prefixed)
        .block(gnu)
        .entry(b'0', &[b'a'; 100], b"");
    let names: Vec<Vec<u8>> = tar
        .clone()
        .read()
        .unwrap()
        .iter()
        .map(|(e, _)| e.path.join(&b'/'))
        .collect();
    let full = "a".repeat(100);
    let expected = [&*long, "no nul", &long, "prefix/name", "gnu", &full];
    assert_eq!(names, expected.map(|n| n.as_bytes().to_vec()));
    let items = tar.items();
    let target = format!("{long}x").into_bytes().into_boxed_slice();
    assert_eq!(items[0], Item::Symlink(plain(), target));
    assert_eq!(items[2], Item::Symlink(plain(), b"t\xff"[..].into()));
}

#[test]
fn records_come_before_headers_and_after_global_ones() {
    let own: &[(&str, &[u8])] = &[
        ("size", b"3"),
        ("uid", b"4294967295"),
        ("gid", b"2097152"),
        ("mtime", b"-1.25"),
        ("atime", b"1"),
        ("uname", b"root"),
        ("comment", b"\n\0"),
        ("SCHILY.xattr.user.a", b"\0=\n"),
    ];
    let tar = Tar::default()
        .pax(b'g', &[("uid", b"7"), ("mtime", b"9.5"), ("comment", b"x")])
        .pax(b'x', own)
        .block(header(b'0', b"a", 0))
        .data(b"abc")
        .entry(b'0', b"b", b"")
        .pax(b'g', &[("uid", b"")])
        .pax(b'x', &[("mtime", b"")])
        .entry(b'0', b"c", b"");
    let a = Meta {
        perm: 0o644,
        uid: u32::MAX,
        gid: 1 << 21,
        mtime: -2,
        mtime_nsec: 750_000_000,
        xattrs: vec![(b"user.a"[..].into(), b"\0=\n"[..].into())],
    };
    let b = Meta {
        uid: 7,
        mtime: 9,
        mtime_nsec: 500_000_000,
        ..plain()
    };
    let expected = [Item::File(a, 3), Item::File(b, 0), Item::File(plain(), 0)];
    assert_eq!(tar.items(), expected);
}

#[test]
fn numbers_in_base_256() {
    let mut block = header(b'0', b"a", 0);
    block[108..116].copy_from_slice(b"\x80\0\0\0\xff\xff\xff\xff");
    block[136..148].fill(0xff);
    block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\0\x02");
    let tar = Tar::default().block(block).data(b"ab");
    let meta = Meta {
        uid: u32::MAX,
        mtime: -1,
        ..plain()
    };
    assert_eq!(tar.items(), [Item::File(meta, 2)]);
}

#[test]
fn huge_files() {
    let size = 1 << 39;
    let mut base256 = header(b'0', b"a", 0);
    base256[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\x80\0\0\0\0");
    let by_pax = Tar::default().pax(b'x', &[("size", b"549755813888")]);
    let mut ours = Vec::new();
    let huge = entry("a", Item::File(plain(), size));
    // of which there is nothing here
    assert!(
        LayerWriter::new(&mut ours)
            .unwrap()
            .add(&huge, &mut &[][..])
            .is_err()
    );
    for tar in [
        Tar::default().block(base256).0,
        by_pax.entry(b'0', b"a", b"").0,
        ours,
    ] {
        let mut reader = LayerReader::new(&*tar, Limits::default());
        assert_eq!(reader.next_entry().unwrap(), Some(huge.clone()));
        assert!(reader.read(&mut [0]).is_err());
    }
}

#[test]
fn sizes_of_what_has_no_data_mean_nothing() {
    let mut link = header(b'1', b"b", 1000);
    link[157] = b'a';
    let tar = Tar::default()
        .entry(b'0', b"a", b"x")
        .block(link)
        .block(header(b'5', b"c", 1000));
    assert_eq!(tar.items().len(), 3);
}

#[test]
fn large_numbers_of_devices_are_stars() {
    let tar = Tar::default()
        .pax(
            b'x',
            &[
                ("SCHILY.devmajor", b"4294967295"),
                ("SCHILY.devminor", b"3000000"),
            ],
        )
        .entry(b'4', b"a", b"");
    let device = libc::makedev(u32::MAX, 3_000_000);
    assert_eq!(tar.items(), [Item::BlockDev(plain(), device)]);
}

#[test]
fn entries_come_as_often_as_they_are_there() {
    let tar = Tar::default().entry(b'0', b"a", b"").entry(b'5', b"a", b"");
    assert_eq!(tar.items(), [Item::File(plain(), 0), Item::Dir(plain())]);
}

#[test]
fn ends_that_are_fine() {
    let tar = Tar::default().entry(b'0', b"a", b"x").0;
    for zeros in [0, 512, 1024, 1025, 10240, 1 << 20] {
        let padded = [tar.clone(), vec![0; zeros]].concat();
        assert_eq!(read(&padded, Limits::default()).unwrap().len(), 1);
    }
    assert_eq!(read(&[], Limits::default()).unwrap(), []);
}

/// Gives a byte at a time, and interrupts every other one.
struct Slow<'a>(&'a [u8], bool);

impl Read for Slow<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = buf.len().min(1);
        self.0.read(&mut buf[..n])
    }
}

#[test]
fn streams_may_be_slow() {
    let tar = Tar::default()
        .pax(b'x', &[("uid", b"7")])
        .entry(b'0', b"a", b"abc")
        .entry(b'0', b"b", b"abc")
        .end();
    let mut reader = LayerReader::new(Slow(&tar, false), Limits::default());
    reader.next_entry().unwrap().unwrap();
    let mut data = Vec::new();
    reader.read_to_end(&mut data).unwrap();
    assert_eq!(data, b"abc");
    assert!(reader.next_entry().unwrap().is_some());
    assert_eq!(reader.next_entry().unwrap(), None);
}
