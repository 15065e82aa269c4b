//! Sources with a fault: each is refused with a reason, and leaves the store as it was.

use super::*;

#[test]
fn a_wrong_digest_or_size_is_refused() {
    let mut layers = three();
    let size = layers[1].bytes.len() as u64;
    layers[1].claims = Some((Digest::of(b"other"), size));
    let e = Bed::with(&layers).refuses("its content has the digest");
    let other = Digest::of(b"other").to_string();
    assert!(e.is(Errno::EBADMSG) && e.reason().contains(&other), "{e}");
    for (claim, reason) in [(size - 1, "bytes, not"), (size + 1, "bytes, not")] {
        let mut layers = three();
        layers[1].claims = Some((Digest::of(&layers[1].bytes), claim));
        Bed::with(&layers).refuses(reason);
    }
}

#[test]
fn a_tar_with_another_diff_id_is_refused() {
    for which in 0..3 {
        let mut layers = three();
        layers[which].diff_id = Digest::of(b"other");
        Bed::with(&layers).refuses("the diff ID is");
    }
}

#[test]
fn what_is_truncated_or_has_something_behind_is_refused() {
    for which in [1, 2] {
        let mut layers = three();
        let half = layers[which].bytes.len() / 2;
        layers[which].bytes.truncate(half);
        Bed::with(&layers).refuses("truncated");
        for more in [&b"garbage"[..], &[0; 512], b"x"] {
            let mut layers = three();
            layers[which].bytes.extend_from_slice(more);
            Bed::with(&layers).refuses("followed by other data");
        }
    }
}

#[test]
fn a_blob_cut_short_on_disk_is_told_by_its_size() {
    let bed = Bed::with(&three());
    let path = bed.blob_path(Digest::of(&three()[1].bytes));
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 9]).unwrap();
    bed.refuses("bytes, not");
}

#[test]
fn a_missing_blob_is_named() {
    let bed = Bed::with(&three());
    let digest = Digest::of(&three()[2].bytes);
    fs::remove_file(bed.blob_path(digest)).unwrap();
    let e = bed.refuses("is missing");
    assert!(
        e.reason().contains(&digest.hex()) && e.is(Errno::ENOENT),
        "{e}"
    );
}

#[test]
fn unknown_and_foreign_layers_are_refused_by_name() {
    for (media_type, reason) in [
        ("application/x-layer", "\"application/x-layer\""),
        (
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "may not be distributed",
        ),
    ] {
        let mut layers = three();
        layers[0].media_type = media_type.to_owned();
        Bed::with(&layers).refuses(reason);
    }
}

#[test]
fn a_bomb_does_not_fill_the_disk() {
    let zeros = vec![0; 8 << 20];
    for how in [Compression::Gzip, Compression::Zstd] {
        let tar = tar_of(&[("zeros", &zeros)]);
        let layer = || Blob {
            bytes: packed(&tar, how),
            media_type: how.layer_type().to_owned(),
            diff_id: Digest::of(&tar),
            claims: None,
        };
        let limited = |limits: Limits| Options {
            limits,
            ..Options::default()
        };
        let size = limited(Limits {
            layer_max: 1 << 20,
            ..Limits::default()
        });
        let e = Bed::with(&[layer()]).refuses_with(&size, "more than 1048576 bytes");
        assert!(e.is(Errno::EFBIG), "{e}");
        let ratio = limited(Limits {
            ratio_free: 1 << 20,
            ratio_max: 100,
            ..Limits::default()
        });
        Bed::with(&[layer()]).refuses_with(&ratio, "more than 100 times");
        Bed::with(&[layer()]).load(&Options::default()).unwrap();
    }
}

#[test]
fn a_huge_document_is_not_read() {
    let bed = Bed::with(&three());
    let path = bed.layout().join("index.json");
    // a hole of 100 MB: its bytes are never looked at
    fs::File::create(&path).unwrap().set_len(100 << 20).unwrap();
    assert!(bed.refuses("4194304").is(Errno::EFBIG));
}

/// Whatever a document is, and whatever is said of its size.
#[test]
fn huge_documents_are_refused_by_name() {
    let huge = vec![b' '; 100 << 20];
    for kind in [CONFIG, MANIFEST] {
        let bed = Bed::new();
        let one = bed.put(kind, &huge);
        let manifest = json!({"schemaVersion": 2, "config": one, "layers": []});
        let manifest = match kind {
            MANIFEST => one.clone(),
            _ => bed.put_json(MANIFEST, &manifest),
        };
        bed.index(&[entry(&manifest, "x")]);
        let e = bed.refuses("4194304");
        assert!(e.is(Errno::EFBIG), "{e}");
        assert!(e.reason().contains(&Digest::of(&huge).hex()), "{e}");
    }
    let bed = Bed::new();
    let listed = br#"[{"Config":"c.json","Layers":[]}]"#;
    for archive in [
        tar_of(&[("manifest.json", &huge)]),
        tar_of(&[("manifest.json", listed), ("c.json", &huge)]),
    ] {
        let before = bed.state();
        let e = bed.load_file(&archive).unwrap_err();
        assert!(e.is(Errno::EFBIG) && e.reason().contains(".json"), "{e}");
        assert_eq!(bed.state(), before);
    }
}

/// A parser that calls itself for each bracket ends by the end of its stack.
#[test]
fn deep_documents_are_refused() {
    let deep = [vec![b'['; 1 << 20], vec![b']'; 1 << 20]].concat();
    let in_config = [br#"{"rootfs":"#, &deep[..], b"}"].concat();
    let bed = Bed::new();
    for bytes in [&deep, &in_config] {
        let config = bed.put(CONFIG, bytes);
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": []});
        let manifest = bed.put_json(MANIFEST, &manifest);
        bed.index(&[entry(&manifest, "x")]);
        bed.refuses("recursion limit");
        fs::write(bed.layout().join("index.json"), bytes).unwrap();
        bed.refuses("index.json");
    }
}

/// An archive that has to be written to disk first is limited, too.
#[test]
fn an_archive_that_unpacks_without_end_is_refused() {
    let bed = Bed::new();
    let archive = docker_archive(&blob("x", Compression::None), Digest::of(b""));
    let long = [&archive[..], &vec![0; 3 << 20]].concat();
    let small = Limits {
        archive_max: 2 << 20,
        ..Limits::default()
    };
    let dense = Limits {
        ratio_free: 1 << 20,
        ratio_max: 50,
        ..Limits::default()
    };
    for (how, limits, reason) in [
        (Compression::Gzip, small, "more than 2097152 bytes"),
        (Compression::Zstd, small, "more than 2097152 bytes"),
        (Compression::Gzip, dense, "more than 50 times"),
    ] {
        let path = bed.dir.path().join("archive.tar");
        fs::write(&path, packed(&long, how)).unwrap();
        let before = bed.state();
        let options = Options {
            limits,
            ..Options::default()
        };
        let input = Input::Path(path);
        let e = load(&bed.store, &input, &options, &CopyTar, &Silent).unwrap_err();
        assert!(e.is(Errno::EFBIG) && e.reason().contains(reason), "{e}");
        assert_eq!(bed.state(), before);
    }
}

#[test]
fn documents_that_do_not_fit_together_are_refused() {
    let bed = Bed::with(&three());
    bed.index(&[]);
    bed.refuses("lists no image");
    fs::write(
        bed.layout().join("oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .unwrap();
    bed.refuses("version \"2.0.0\"");
    fs::remove_file(bed.layout().join("oci-layout")).unwrap();
    bed.refuses("neither an OCI image layout");

    let bed = Bed::new();
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"a")]}});
    let config = bed.put_json(CONFIG, &config);
    let parts = json!({"schemaVersion": 2, "config": config, "layers": []});
    let manifest = bed.put_json(MANIFEST, &parts);
    bed.index(&[entry(&manifest, "x")]);
    bed.refuses("0 layers and 1 diff IDs");
    let mut manifest = entry(&manifest, "x");
    manifest["size"] = 7.into();
    bed.index(&[manifest]);
    bed.refuses("bytes, not 7");
}

#[test]
fn a_failing_unpacker_leaves_the_store_as_it_was() {
    struct Fails;
    impl Unpack for Fails {
        fn unpack(&self, _: &Store, _: &mut dyn Read, _: Digest, stage: &Path) -> Result<Digests> {
            fs::write(stage.join("pack"), "half")?;
            Err(Error::because(Errno::EINVAL, "a hostile tar"))
        }
        fn finish(&self, _: &Store, _: &[Digest]) -> Result<()> {
            Ok(())
        }
    }
    let bed = Bed::with(&three());
    let before = bed.state();
    let input = Input::Path(bed.layout());
    let e = load(&bed.store, &input, &Options::default(), &Fails, &Silent).unwrap_err();
    assert!(
        e.is(Errno::EINVAL) && e.reason().contains("a hostile tar"),
        "{e}"
    );
    assert!(e.reason().contains("layer sha256:"), "{e}");
    assert_eq!(bed.state(), before);
}

#[test]
fn a_faulty_archive_leaves_the_store_as_it_was() {
    let bed = Bed::new();
    let good = docker_archive(&blob("x", Compression::Gzip), Digest::of(b""));
    let mut wrong = blob("x", Compression::Gzip);
    wrong.diff_id = Digest::of(b"y");
    let gz = packed(&good, Compression::Gzip);
    for (bytes, reason) in [
        (docker_archive(&wrong, Digest::of(b"")), "the diff ID is"),
        (
            docker_archive(&blob("x", Compression::None), Digest::of(b"z")),
            "has the digest",
        ),
        (gz[..gz.len() / 2].to_vec(), "truncated"),
        ([&gz[..], b"more"].concat(), "followed by other data"),
        (good[..2200].to_vec(), "no whole tar"),
        (b"hello".to_vec(), "no whole tar"),
        (Vec::new(), "no whole tar"),
        (tar_of(&[("file", b"x")]), "neither an OCI image layout"),
        (tar_of(&[("manifest.json", b"[]")]), "lists no image"),
        (
            tar_of(&[("manifest.json", b"{")]),
            "manifest.json: invalid type",
        ),
        (
            tar_of(&[("manifest.json", br#"[{"Config":"../../etc/passwd"}]"#)]),
            "is missing",
        ),
        (b"\xfd7zXZ\0\0\0".to_vec(), "compressed with xz"),
    ] {
        let before = bed.state();
        let e = bed.load_file(&bytes).unwrap_err();
        assert!(e.reason().contains(reason), "{reason}: {e}");
        assert_eq!(bed.state(), before, "{reason}");
    }
}
