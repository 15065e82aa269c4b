use super::*;
use crate::image::layer::Segment;

/// 3 bytes, a hole of 5, 2 bytes, a hole of 10.
const DATA: &[u8] = b"abcde";
const EXPANDED: &[u8] = b"abc\0\0\0\0\0de\0\0\0\0\0\0\0\0\0\0";

fn check(tar: Tar, name: &str) {
    let tar = tar.entry(b'0', b"next", b"x").end();
    let mut reader = LayerReader::new(&*tar, Limits::default());
    let first = reader.next_entry().unwrap().unwrap();
    assert_eq!(first, entry(name, Item::File(plain(), 20)));
    let segment = |offset, len| Segment { offset, len };
    assert_eq!(reader.segments(), [segment(0, 3), segment(8, 2)]);
    let mut data = Vec::new();
    reader.read_to_end(&mut data).unwrap();
    assert_eq!(data, EXPANDED);
    let all = read(&tar, Limits::default()).unwrap();
    assert_eq!(
        all[1],
        (entry("next", Item::File(plain(), 1)), b"x".to_vec())
    );
    let few = Limits {
        segments: 1,
        ..Limits::default()
    };
    let error = read(&tar, few).unwrap_err();
    assert!(error.reason().contains("limit segments"), "{error}");
    let short = Limits {
        file_bytes: 19,
        ..Limits::default()
    };
    assert!(read(&tar, short).is_err());
}

/// GNU's own header with these pieces in it, in blocks after it if it says so.
fn old(pieces: &[(u64, u64)], size: u64, extended: bool) -> [u8; BLOCK] {
    let mut block = header(b'S', b"s", DATA.len() as u64);
    block[257..265].copy_from_slice(b"ustar  \0");
    put(&mut block[386..], pieces);
    block[482] = u8::from(extended);
    block[483..494].copy_from_slice(format!("{size:011o}").as_bytes());
    block
}

fn put(to: &mut [u8], pieces: &[(u64, u64)]) {
    for ((offset, len), to) in pieces.iter().zip(to.chunks_mut(24)) {
        to[..11].copy_from_slice(format!("{offset:011o}").as_bytes());
        to[12..23].copy_from_slice(format!("{len:011o}").as_bytes());
    }
}

fn more(pieces: &[(u64, u64)], extended: bool) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    put(&mut block, pieces);
    block[504] = u8::from(extended);
    block
}

#[test]
fn old_gnu() {
    let whole = old(&[(0, 3), (8, 2), (20, 0)], 20, false);
    check(Tar::default().block(whole).data(DATA), "s");
    let tar = Tar::default()
        .block(old(&[(0, 3)], 20, true))
        .data(&more(&[(8, 2)], true))
        .data(&more(&[(20, 0)], false))
        .data(DATA);
    check(tar, "s");
}

#[test]
fn pax_0_0() {
    let records: [(&str, &[u8]); 6] = [
        ("GNU.sparse.size", b"20"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"0"),
        ("GNU.sparse.numbytes", b"3"),
        ("GNU.sparse.offset", b"8"),
        ("GNU.sparse.numbytes", b"2"),
    ];
    check(
        Tar::default().pax(b'x', &records).entry(b'0', b"s", DATA),
        "s",
    );
    let miscounted = Tar::default()
        .pax(b'x', &records[..4])
        .entry(b'0', b"s", b"abc");
    assert!(miscounted.error().contains("not 2"));
}

#[test]
fn pax_0_1() {
    let records: [(&str, &[u8]); 3] = [
        ("GNU.sparse.size", b"20"),
        ("GNU.sparse.name", b"d/s"),
        ("GNU.sparse.map", b"0,3,8,2"),
    ];
    let made_up = b"d/GNUSparseFile.1/s";
    check(
        Tar::default()
            .pax(b'x', &records)
            .entry(b'0', made_up, DATA),
        "d/s",
    );
}

const V1: [(&str, &[u8]); 4] = [
    ("GNU.sparse.major", b"1"),
    ("GNU.sparse.minor", b"0"),
    ("GNU.sparse.name", b"d/s"),
    ("GNU.sparse.realsize", b"20"),
];

#[test]
fn pax_1_0() {
    let data = |map: &[u8]| {
        let mut data = map.to_vec();
        data.resize(BLOCK, 0);
        [&data, DATA].concat()
    };
    let tar = |map: &[u8]| {
        Tar::default()
            .pax(b'x', &V1)
            .entry(b'0', b"d/GNUSparseFile.1/s", &data(map))
    };
    check(tar(b"2\n0\n3\n8\n2\n"), "d/s");
    assert!(tar(b"2\n0\n3\n8\n3\n").error().contains("5 bytes of data"));
    assert!(tar(b"2\n0\n3\n2\n2\n").error().contains("3 to 20"));
    assert!(tar(b"999999999\n").error().contains("limit segments"));
}

#[test]
fn maps_that_make_no_sense() {
    let x = |records: &[(&str, &[u8])], kind| {
        Tar::default()
            .pax(b'x', records)
            .entry(kind, b"s", b"")
            .error()
    };
    assert!(x(&V1, b'5').contains("no file"));
    assert!(x(&V1, b'0').contains("longer than the data"));
    assert!(x(&V1[..1], b'0').contains("not known"));
    assert!(x(&V1[2..3], b'0').contains("not known"));
    assert!(x(&[("GNU.sparse.major", b"2"), V1[1]], b'0').contains("not known"));
    assert!(x(&[("GNU.sparse.map", b"0,0")], b'0').contains("without a size"));
    assert!(x(&[("GNU.sparse.map", b"0,0,1"), V1[3]], b'0').contains("ends with"));
    let endless = Tar::default()
        .block(old(&[], 20, true))
        .data(&more(&[], true));
    assert!(endless.error().contains("goes on with nothing"));
    let outside = Tar::default().block(old(&[(0, 21)], 20, false)).data(DATA);
    assert!(outside.error().contains("0 to 20"));
    let unused = Tar::default().block(old(&[(0, 3)], 20, false)).data(DATA);
    assert!(
        unused
            .error()
            .contains("5 bytes of data where its map has 3")
    );
}
