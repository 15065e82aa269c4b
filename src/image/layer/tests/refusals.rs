use super::*;
use nix::errno::Errno;

/// The errors name the entry and say why.
#[track_caller]
fn refused(tar: Tar, entry: &str, why: &str) {
    let error = tar.error();
    assert!(error.contains(entry) && error.contains(why), "{error}");
}

fn changed(change: impl FnOnce(&mut [u8; BLOCK])) -> Tar {
    let mut block = header(b'0', b"name", 0);
    change(&mut block);
    Tar::default().block(block)
}

#[test]
fn names() {
    let long = "n".repeat(256);
    let tar = |name: &[u8]| Tar::default().entry(b'0', name, b"");
    refused(tar(b""), "entry \"\"", "the name is empty");
    refused(tar(b"/etc/passwd"), "entry \"/etc/passwd\"", "is absolute");
    refused(tar(b"../a"), "entry \"../a\"", "has \"..\" in it");
    refused(tar(b"a/../b"), "entry \"a/../b\"", "has \"..\" in it");
    refused(tar(b"."), "entry \".\"", "no directory");
    let pax = |name: &[u8]| {
        Tar::default()
            .pax(b'x', &[("path", name)])
            .entry(b'0', b"n", b"")
    };
    refused(pax(long.as_bytes()), "nnn", "longer than 255");
    refused(pax(b"a\0b"), "entry \"a\\x00b\"", "has a NUL");
    refused(Tar::default().entry(b'0', b"f/", b"x"), "\"f/\"", "a slash");
}

#[test]
fn links() {
    let tar = |kind, target: &[u8]| Tar::default().link(kind, b"name", target);
    refused(tar(b'1', b""), "entry \"name\"", "empty");
    refused(tar(b'1', b"/a"), "entry \"name\"", "absolute");
    refused(tar(b'1', b"a/../b"), "entry \"name\"", "..");
    refused(tar(b'1', b"."), "entry \"name\"", "hard link to the root");
    refused(tar(b'2', b""), "entry \"name\"", "no path");
    let nul = Tar::default()
        .pax(b'x', &[("linkpath", b"a\0")])
        .link(b'2', b"name", b"a");
    refused(nul, "entry \"name\"", "no path");
}

#[test]
fn headers() {
    refused(changed(|b| b[156] = b'V'), "\"name\"", "type 'V'");
    refused(changed(|b| b[156] = b'S'), "\"name\"", "not GNU's");
    refused(changed(|b| b[108] = b'9'), "\"name\"", "owner");
    refused(changed(|b| b[116] = 0xff), "\"name\"", "group -");
    refused(changed(|b| b[124] = 0xff), "\"name\"", "size -");
    refused(changed(|b| b[137] = b'x'), "\"name\"", "mtime");
    refused(changed(|b| b[100] = b'-'), "\"name\"", "mode");
    let device = changed(|b| {
        b[156] = b'4';
        b[257..265].fill(0);
    });
    refused(device, "\"name\"", "v7");
    let mut wrong = Tar::default().entry(b'0', b"a", b"").entry(b'0', b"b", b"");
    wrong.0[512] = b'c';
    refused(wrong, "after 1 entries", "checksum");
}

#[test]
fn records() {
    let tar = |key, value| {
        Tar::default()
            .pax(b'x', &[(key, value)])
            .entry(b'0', b"name", b"")
    };
    refused(tar("uid", b"4294967296"), "\"name\"", "uid");
    refused(tar("gid", b"-1"), "\"name\"", "gid");
    refused(tar("mtime", b"now"), "\"name\"", "mtime");
    refused(tar("size", b"1e3"), "\"name\"", "size");
    refused(tar("SCHILY.acl.access", b"x"), "\"name\"", "acl.access");
    let broken = Tar::default().entry(b'x', b"", b"9 uid=1\n");
    refused(broken.entry(b'0', b"n", b""), "after 0 entries", "record");
    let global = Tar::default().pax(b'g', &[("path", b"a")]);
    refused(global, "after 0 entries", "for all entries");
}

#[test]
fn what_ends_too_soon() {
    let tar = Tar::default()
        .entry(b'0', b"a", b"data")
        .pax(b'x', &[("uid", b"7")])
        .entry(b'0', b"b", b"data")
        .0;
    // between entries, and where the data is there and all of its padding missing
    let boundaries = [0, 516, 1024, 2564];
    for end in 0..3072 {
        let result = read(&tar[..end], Limits::default());
        assert_eq!(result.is_ok(), boundaries.contains(&end), "{end}");
    }
    let announced = Tar::default().pax(b'x', &[("uid", b"7")]);
    refused(announced, "after 0 entries", "was announced");
    let mut reader = LayerReader::new(&tar[..700], Limits::default());
    reader.next_entry().unwrap().unwrap();
    // the data is there, and a part of its padding
    let error = reader.next_entry().unwrap_err();
    assert!(
        error.reason().starts_with("entry \"a\": truncated"),
        "{error}"
    );
    assert_eq!(reader.next_entry().unwrap_err(), error, "and stays");
    let mut reader = LayerReader::new(&tar[..514], Limits::default());
    reader.next_entry().unwrap().unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().starts_with("entry \"a\": truncated"));
}

#[test]
fn garbage_after_the_end() {
    let tar = Tar::default().entry(b'0', b"a", b"");
    for (zeros, garbage) in [(512, 512), (1024, 1), (1025, 1), (1 << 20, 700)] {
        let all = [tar.0.clone(), vec![0; zeros], vec![1; garbage]].concat();
        let error = read(&all, Limits::default()).unwrap_err();
        assert!(error.reason().contains("trailing garbage"), "{error}");
    }
    // one archive after another
    let all = [tar.clone().end(), tar.end()].concat();
    assert!(read(&all, Limits::default()).is_err());
}

#[test]
fn limits() {
    let small = Limits {
        pax_bytes: 20,
        name_bytes: 10,
        target_bytes: 3,
        entries: 3,
        file_bytes: 4,
        total_bytes: 6,
        ..Limits::default()
    };
    let tar = Tar::default;
    let x = |key, value: &[u8]| tar().pax(b'x', &[(key, value)]).entry(b'0', b"a", b"");
    for (limit, tar) in [
        ("pax_bytes", x("comment", &[b'x'; 20])),
        (
            "pax_bytes",
            tar()
                .pax(b'g', &[("a", b"bcdefghi")])
                .pax(b'g', &[("b", &[0; 11])]),
        ),
        ("name_bytes", tar().entry(b'L', b"", &[b'x'; 12])),
        ("name_bytes", tar().entry(b'0', &[b'x'; 11], b"")),
        ("name_bytes", x("path", &[b'x'; 11])),
        ("name_bytes", tar().link(b'1', b"a", &[b'x'; 11])),
        ("target_bytes", tar().link(b'2', b"a", b"1234")),
        ("file_bytes", tar().entry(b'0', b"a", b"12345")),
        (
            "total_bytes",
            tar().entry(b'0', b"a", b"1234").entry(b'0', b"b", b"123"),
        ),
        (
            "entries",
            ["a", "b", "c", ".wh..wh.x"]
                .iter()
                .fold(tar(), |t, n| t.entry(b'5', n.as_bytes(), b"")),
        ),
    ] {
        let error = read(&tar.end(), small).unwrap_err();
        assert!(error.is(Errno::E2BIG), "{error}");
        let reason = format!("over the limit {limit} = ");
        assert!(error.reason().contains(&reason), "{limit}: {error}");
    }
    let most = tar()
        .entry(b'L', b"", b"1234567890\0")
        .entry(b'0', b"a", b"1234")
        .link(b'2', b"b", b"123")
        .entry(b'0', b"c", b"12");
    assert_eq!(read(&most.end(), small).unwrap().len(), 3);
}
