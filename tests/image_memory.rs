//! Memory while an index is made: it has a limit, and what is beyond the limit changes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod live;

use live::{may_mount, sh};
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufWriter, Cursor};
use std::path::Path;
use std::process::Command;
use vellum::image::digest::{Digest, Digesting};
use vellum::image::entry::{Entry, Item, Meta};
use vellum::image::index::{self, Index};
use vellum::image::layer::LayerWriter;
use vellum::image::merge::Merge;
use vellum::image::spill::{Pages, Room};
use vellum::image::table::{Row, Table, TableWriter};
use vellum::image::tree::{Content, Tree};
use vellum::vfs::Result;

type Layer = Vec<Row>;

/// The tree of these layers.
fn tree(room: Room, layers: &[Layer]) -> Result<Tree> {
    let mut merge = Merge::within(room)?;
    for (i, rows) in layers.iter().enumerate() {
        let mut table = TableWriter::new(Vec::new())?;
        for row in rows {
            table.add(row)?;
        }
        let mut table = Table::open(Cursor::new(table.finish()?))?;
        merge.add(Digest::of(&[i as u8]), &mut table)?;
    }
    Ok(merge.finish())
}

/// Its index.
fn bytes(tree: &Tree) -> Result<Vec<u8>> {
    let mut out = Cursor::new(Vec::new());
    index::write(tree, &mut out)?;
    Ok(out.into_inner())
}

fn path(text: &str) -> Vec<Box<[u8]>> {
    let names = text.split('/').filter(|n| !n.is_empty());
    names.map(|n| n.as_bytes().into()).collect()
}

fn row(at: &str, item: Item, content: Content) -> Row {
    let path = path(at);
    Row {
        entry: Entry { path, item },
        content,
    }
}

fn file(at: &str, size: u64, offset: u64) -> Row {
    let content = match size {
        0 => Content::Empty,
        size if size > 900 => Content::Object(Digest::of(&size.to_le_bytes())),
        _ => Content::Packed { layer: 0, offset },
    };
    row(at, Item::File(Meta::default(), size), content)
}

/// A few names, so that layers meet, some of them longer than a page of records.
fn paths() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        8 => "[a-e]",
        2 => "[a-z]{2,9}",
        1 => Just("long".repeat(60)),
    ];
    proptest::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

fn metas() -> impl Strategy<Value = Meta> {
    let xattrs =
        proptest::collection::btree_map("[xyz]", proptest::collection::vec(0u8..3, 0..3), 0..3);
    (0u32..0o7777, 0u32..3, -3i64..3, xattrs).prop_map(|(perm, uid, mtime, xattrs)| Meta {
        perm,
        uid,
        gid: uid * 2,
        mtime,
        mtime_nsec: 7,
        xattrs: xattrs
            .into_iter()
            .map(|(name, value)| (format!("user.{name}").into_bytes().into(), value.into()))
            .collect(),
    })
}

fn rows() -> impl Strategy<Value = Row> {
    (paths(), metas(), paths(), 0u64..1000, 0u8..20).prop_map(|(at, meta, other, n, what)| {
        let item = match what {
            0..=7 => {
                let mut row = file(&at, n, n * 1000);
                row.entry.item = Item::File(meta, n);
                return row;
            }
            8..=11 => Item::Dir(meta),
            12..=14 => Item::Hardlink(path(&other)),
            15 => Item::Symlink(meta, other.into_bytes().into()),
            16 => Item::CharDev(meta, 259),
            17 => Item::Fifo(meta),
            18 => Item::Whiteout,
            _ => Item::Opaque,
        };
        row(&at, item, Content::Empty)
    })
}

/// Layers of which none contradicts itself: what the merge refuses is left out.
fn sound(layers: Vec<Layer>) -> Vec<Layer> {
    let mut kept: Vec<Layer> = Vec::new();
    for rows in layers {
        kept.push(Vec::new());
        for row in rows {
            kept.last_mut().unwrap().push(row);
            if tree(Room::unlimited(), &kept).is_err() {
                kept.last_mut().unwrap().pop();
            }
        }
    }
    kept
}

proptest! {
    #![proptest_config(common::config("image_memory", 60))]

    #[test]
    fn an_image_that_is_not_in_memory_has_the_same_index(
        layers in proptest::collection::vec(proptest::collection::vec(rows(), 0..40), 1..5),
        pages in 0usize..8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        // also of those that are refused, and for the same reason
        let room = || Room::limited(pages * 4096, dir.path());
        let refused = (tree(Room::unlimited(), &layers), tree(room(), &layers));
        match refused {
            (Err(one), Err(other)) => prop_assert_eq!(one.reason(), other.reason()),
            (one, other) => prop_assert_eq!(one.is_ok(), other.is_ok()),
        }
        let layers = sound(layers);
        let (whole, spilled) = (tree(Room::unlimited(), &layers)?, tree(room(), &layers)?);
        prop_assert!(spilled.spilled() && !whole.spilled());
        let want = bytes(&whole)?;
        prop_assert!(want == bytes(&spilled)?);
        prop_assert!(want == bytes(&spilled)?, "the second time");
        Index::new(&want[..])?.check()?;
        prop_assert_eq!(fs::read_dir(dir.path())?.count(), 0, "temporary files have no name");
    }
}

/// Enough for tables, sections and what is sorted to be in several parts.
#[test]
fn a_large_image_that_is_not_in_memory_has_the_same_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = vec![file("all", 5, 0)];
    for i in 0..4000u64 {
        // in no order
        let n = i * 7919 % 4000;
        first.push(file(&format!("dir/file-{n}"), i % 1000, i * 1000));
        let target = if i % 2 == 0 {
            "all".to_owned()
        } else {
            format!("dir/file-{n}")
        };
        let link = Item::Hardlink(path(&target));
        first.push(row(&format!("links/l-{i}"), link, Content::Empty));
        let mut meta = Meta::default();
        let value = i.to_le_bytes();
        meta.xattrs = vec![(b"security.ima".as_slice().into(), value.as_slice().into())];
        let target = format!("../{i}").into_bytes().into();
        let link = Item::Symlink(meta, target);
        first.push(row(&format!("many/d{i}/link"), link, Content::Empty));
    }
    let gone = |at: &str, item| row(at, item, Content::Empty);
    let second = vec![
        gone("links/l-9", Item::Whiteout),
        gone("many/d7", Item::Opaque),
        file("many/d8", 3, 0),
        file("dir/file-5", 20, 0),
    ];
    let third = vec![gone("links", Item::Whiteout), gone("dir", Item::Opaque)];
    for layers in [
        vec![first.clone()],
        vec![first.clone(), second.clone()],
        vec![first, second, third],
    ] {
        let spilled = tree(Room::limited(100_000, dir.path()), &layers).unwrap();
        assert!(spilled.spilled());
        let want = bytes(&tree(Room::unlimited(), &layers).unwrap()).unwrap();
        assert!(want == bytes(&spilled).unwrap());
        Index::new(&want[..]).unwrap().check().unwrap();
    }
}

#[test]
fn a_disk_that_is_full_is_told() {
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    sh(
        "mount -t tmpfs -o size=64k tmpfs \"$1\"",
        &[dir.path().as_os_str()],
    );
    let rows = (0..2000)
        .map(|i| file(&format!("d/file-{i}"), 1, i))
        .collect();
    let failed = tree(Room::limited(0, dir.path()), &[rows]).map(drop);
    sh("umount \"$1\"", &[dir.path().as_os_str()]);
    let failed = failed.unwrap_err();
    assert!(failed.is(Errno::ENOSPC), "{failed}");
    let said = format!("temporary file in {}", dir.path().display());
    assert!(failed.reason().contains(&said), "{failed}");
    assert!(failed.reason().contains("entry /d/file-"), "{failed}");
}

/// Writes a blob of an OCI layout; gives its descriptor.
fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    let kind = format!("application/vnd.oci.image.{kind}");
    json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
}

/// A layout of one layer of so many files. No more than a part of it is in memory: what this process
/// once had would count as the program's that it starts.
fn layout(at: &Path, files: u64) {
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    let new = at.join("layer");
    let out = BufWriter::new(Digesting::new(File::create(&new).unwrap()));
    let pages = Pages::new(Room::limited(1 << 20, at));
    let mut writer = LayerWriter::within(out, &pages).unwrap();
    for i in 0..files {
        let row = file(&format!("usr/d{}/e{}/file-{i}", i / 10_000, i / 100), 1, 0);
        writer.add(&row.entry, &mut &b"x"[..]).unwrap();
    }
    let digesting = writer.finish().unwrap().into_inner().unwrap();
    let size = digesting.len();
    let (_, digest) = digesting.finish();
    fs::rename(new, at.join("blobs/sha256").join(digest.hex())).unwrap();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": arch, "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [digest] },
    });
    let config = blob(at, "config.v1+json", config.to_string().as_bytes());
    let layer = "application/vnd.oci.image.layer.v1.tar";
    let layer = json!({ "mediaType": layer, "digest": digest, "size": size });
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let manifest = blob(at, "manifest.v1+json", manifest.to_string().as_bytes());
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(at.join("index.json"), index.to_string()).unwrap();
    let version = json!({ "imageLayoutVersion": "1.0.0" });
    fs::write(at.join("oci-layout"), version.to_string()).unwrap();
}

#[test]
#[ignore = "heavy: 10 GiB of disk, and minutes where the program is not optimized"]
fn three_million_files_are_loaded_in_256_mib() {
    let dir = tempfile::tempdir().unwrap();
    let (from, root) = (dir.path().join("layout"), dir.path().join("store"));
    layout(&from, 3_000_000);
    let mut load = Command::new(live::VELLUM);
    load.args(["load", "-q", "--name", "large:1", "--root"]);
    live::run(load.args([&root, &from]));
    let most = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(most < 256 << 10, "{most} KiB");
    let index = fs::read_dir(root.join("vellum/index")).unwrap().next();
    let index = Index::open(&index.unwrap().unwrap().path()).unwrap();
    // with the directories, and the root
    assert_eq!(index.inodes(), 3_000_000 + 30_000 + 300 + 2);
}
