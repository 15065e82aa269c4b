use super::*;

#[test]
fn whiteouts_of_oci() {
    let tar = Tar::default()
        .entry(b'0', b"d/.wh.gone", b"")
        .entry(b'0', b"d/.wh..wh..opq", b"")
        .entry(b'0', b".wh..wh..opq", b"")
        .entry(b'0', b".wh.with data", b"data")
        .link(b'1', b".wh.link", b"d/f")
        .entry(b'5', b".wh..wh.plnk/", b"")
        .entry(b'0', b".wh..wh.plnk/1.2", b"data")
        .entry(b'0', b".wh..wh.aufs", b"")
        .entry(b'0', b"last", b"");
    let entries: Vec<Entry> = tar.read().unwrap().into_iter().map(|(e, _)| e).collect();
    let expected = [
        entry("d/gone", Item::Whiteout),
        entry("d", Item::Opaque),
        entry("", Item::Opaque),
        entry("with data", Item::Whiteout),
        entry("link", Item::Whiteout),
        entry("last", Item::File(plain(), 0)),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn marks_of_overlayfs() {
    let opaque: [(&str, &[u8]); 2] = [
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.a", b"b"),
    ];
    let user = [("SCHILY.xattr.user.overlay.opaque", &b"y"[..])];
    let tar = Tar::default()
        .entry(b'3', b"gone", b"")
        .entry(b'4', b"block", b"")
        .pax(b'x', &opaque)
        .entry(b'5', b"d", b"")
        .pax(b'x', &user)
        .entry(b'5', b"./", b"")
        .pax(b'x', &user)
        .entry(b'0', b"f", b"x");
    let meta = Meta {
        xattrs: vec![(b"user.a"[..].into(), b"b"[..].into())],
        ..plain()
    };
    let entries: Vec<Entry> = tar.read().unwrap().into_iter().map(|(e, _)| e).collect();
    let expected = [
        entry("gone", Item::Whiteout),
        entry("block", Item::BlockDev(plain(), 0)),
        entry("d", Item::Dir(meta)),
        entry("d", Item::Opaque),
        entry("", Item::Dir(plain())),
        entry("", Item::Opaque),
        entry("f", Item::File(plain(), 1)),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn marks_that_make_no_sense() {
    for (tar, why) in [
        (Tar::default().entry(b'0', b".wh.", b""), "hides nothing"),
        (Tar::default().entry(b'0', b".wh...", b""), "hides nothing"),
        (Tar::default().entry(b'0', b".wh.a/b", b""), "is below"),
        (Tar::default().entry(b'3', b"./", b""), "the root"),
        (Tar::default().link(b'1', b"a", b".wh.b"), "the mark"),
        (
            Tar::default().link(b'1', b"a", b".wh..wh.plnk/1"),
            "the mark",
        ),
    ] {
        let error = tar.error();
        assert!(error.contains(why), "{error}");
    }
}
