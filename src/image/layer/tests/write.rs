use super::*;

fn file(meta: Meta) -> Item {
    Item::File(meta, 0)
}

fn bytes(item: Item) -> Vec<u8> {
    write(&[(entry("a", item), Vec::new())]).unwrap()
}

#[test]
fn records_only_where_they_are_needed() {
    let size = |meta| bytes(file(meta)).len();
    let plain = Meta {
        perm: 0o7777,
        uid: 0o7_777_777,
        gid: 0o7_777_777,
        mtime: 0o77_777_777_777,
        ..Meta::default()
    };
    assert_eq!(size(plain.clone()), 3 * BLOCK);
    let with = |change: fn(&mut Meta)| {
        let mut meta = plain.clone();
        change(&mut meta);
        size(meta)
    };
    assert_eq!(with(|m| m.uid += 1), 5 * BLOCK);
    assert_eq!(with(|m| m.gid += 1), 5 * BLOCK);
    assert_eq!(with(|m| m.mtime += 1), 5 * BLOCK);
    assert_eq!(with(|m| m.mtime = -1), 5 * BLOCK);
    assert_eq!(with(|m| m.mtime_nsec = 1), 5 * BLOCK);
    let xattr = |m: &mut Meta| m.xattrs = vec![(b"user.a"[..].into(), [][..].into())];
    assert_eq!(with(xattr), 5 * BLOCK);
}

#[test]
fn bytes_are_as_posix_has_them() {
    let meta = Meta {
        perm: 0o755,
        uid: 1,
        gid: 2,
        mtime: 8,
        mtime_nsec: 500_000_000,
        xattrs: vec![(b"user.a"[..].into(), b"\0"[..].into())],
    };
    let tar = bytes(Item::Dir(meta));
    assert_eq!(tar.len(), 5 * BLOCK);
    assert!(tar.starts_with(b"././@PaxHeader\0"));
    assert_eq!(tar[156], b'x');
    let records = b"13 mtime=8.5\n25 SCHILY.xattr.user.a=\0\n";
    assert!(tar[512..1024].starts_with(records));
    let head = &tar[1024..1536];
    assert!(head.starts_with(b"a/\0"));
    let numbers = b"0000755\x000000001\x000000002\x0000000000000\x0000000000010\0";
    assert_eq!(&head[100..148], numbers);
    assert_eq!(&head[156..158], b"5\0");
    assert_eq!(&head[257..265], b"ustar\x0000");
    assert!(head[265..329].iter().all(|b| *b == 0), "no names of owners");
    assert!(tar[1536..].iter().all(|b| *b == 0));
}

#[test]
fn marks_are_ocis() {
    let long = "n".repeat(255);
    let all = [
        entry("d/gone", Item::Whiteout),
        entry("d", Item::Opaque),
        entry("", Item::Opaque),
        entry(&long, Item::Whiteout),
    ]
    .map(|e| (e, Vec::new()));
    let tar = write(&all).unwrap();
    assert!(tar.starts_with(b"d/.wh.gone\0"));
    assert_eq!(&tar[100..107], b"0000000");
    assert_eq!(tar[156], b'0');
    assert!(tar[512..].starts_with(b"d/.wh..wh..opq\0"));
    assert!(tar[1024..].starts_with(b".wh..wh..opq\0"));
    // also where the mark is longer than a name can be
    assert_eq!(tar[1536 + 1024 + 156], b'0');
    assert_eq!(read(&tar, Limits::default()).unwrap(), all);
}

#[test]
fn a_hard_link_has_what_its_file_has() {
    let meta = Meta {
        perm: 0o4755,
        uid: 7,
        xattrs: vec![(b"security.capability"[..].into(), b"x"[..].into())],
        ..Meta::default()
    };
    let all = [
        entry("a", file(meta)),
        entry("b", Item::Hardlink(path("a"))),
        entry("c", Item::Hardlink(path("b"))),
        entry("d", Item::Hardlink(path("below"))),
    ]
    .map(|e| (e, Vec::new()));
    let tar = write(&all).unwrap();
    // records and header of each of the first three
    let entry = |n: usize| &tar[n * 3 * BLOCK..(n + 1) * 3 * BLOCK];
    for n in [1, 2] {
        assert_eq!(entry(n)[..2 * BLOCK], entry(0)[..2 * BLOCK]);
        let fields = 2 * BLOCK + 100..2 * BLOCK + 148;
        assert_eq!(entry(n)[fields.clone()], entry(0)[fields]);
    }
    assert_eq!(tar[9 * BLOCK], b'd');
}

#[test]
fn what_cannot_be_said_is_refused() {
    let meta = Meta::default;
    let with = |name: &str| Meta {
        xattrs: vec![(name.as_bytes().into(), [][..].into())],
        ..meta()
    };
    let (a, b) = (
        with("user.a").xattrs[0].clone(),
        with("user.b").xattrs[0].clone(),
    );
    let disorder = |xattrs| Meta { xattrs, ..meta() };
    let link = |target: &str| Item::Symlink(meta(), target.as_bytes().into());
    for bad in [
        entry("", file(meta())),
        entry("", Item::Whiteout),
        entry(".wh.a", file(meta())),
        entry("a/..", file(meta())),
        entry(&"n".repeat(256), file(meta())),
        entry("a", Item::CharDev(meta(), 0)),
        entry("a", Item::Hardlink(path(""))),
        entry("a", Item::Hardlink(path(".wh.b"))),
        entry("a", link("")),
        entry("a", link("a\0")),
        entry("a", link(&"x".repeat(4096))),
        entry(
            "a",
            file(Meta {
                perm: 0o10000,
                ..meta()
            }),
        ),
        entry(
            "a",
            file(Meta {
                mtime_nsec: 1_000_000_000,
                ..meta()
            }),
        ),
        entry("a", file(with("trusted.overlay.opaque"))),
        entry("a", file(with(""))),
        entry("a", file(with("user.\0"))),
        entry("a", file(disorder(vec![b, a.clone()]))),
        entry("a", file(disorder(vec![a.clone(), a]))),
    ] {
        let mut writer = LayerWriter::new(Vec::new()).unwrap();
        assert!(writer.add(&bad, &mut &[][..]).is_err(), "{bad:?}");
        // nothing of it was written
        assert_eq!(writer.finish().unwrap(), [0; 1024]);
    }
}

#[test]
fn a_part_of_a_file_is_no_entry() {
    let mut writer = LayerWriter::new(Vec::new()).unwrap();
    let two = entry("a", Item::File(Meta::default(), 2));
    let error = writer.add(&two, &mut &b"x"[..]).unwrap_err();
    assert!(
        error.reason().starts_with("entry \"a\": 1 bytes"),
        "{error}"
    );
    assert!(writer.add(&two, &mut &b"xy"[..]).is_err());
    assert!(writer.finish().is_err());
    let mut writer = LayerWriter::new(Vec::new()).unwrap();
    let mut more = &b"xyz"[..];
    writer.add(&two, &mut more).unwrap();
    assert_eq!(more, b"z", "what is left is the caller's");
}
