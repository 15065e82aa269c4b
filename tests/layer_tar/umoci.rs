//! umoci, which unpacks with Go's archive/tar, as docker and containerd do.

use crate::gnu::{ATTRIBUTES, gnu_tar};
use crate::layer::{Entries, read, same, write};
use crate::made::{Tree, Wealth, make, run, scan};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;
use vellum::image::digest::Digest;
use vellum::image::entry::{Entry, Item};

fn blob(layout: &Path, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    json!({ "digest": digest, "size": bytes.len() })
}

fn typed(mut descriptor: Value, kind: &str) -> Value {
    descriptor["mediaType"] = json!(format!("application/vnd.oci.image.{kind}"));
    descriptor
}

/// An image of these layers, lowest first, in a directory.
fn image(layout: &Path, layers: &[Vec<u8>]) {
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let diff_ids: Vec<Digest> = layers.iter().map(|l| Digest::of(l)).collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = blob(layout, config.to_string().as_bytes());
    let layers: Vec<Value> = layers
        .iter()
        .map(|l| typed(blob(layout, l), "layer.v1.tar"))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "config": typed(config, "config.v1+json"),
        "layers": layers,
    });
    let manifest = blob(layout, manifest.to_string().as_bytes());
    let mut manifest = typed(manifest, "manifest.v1+json");
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "t" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    let version = json!({ "imageLayoutVersion": "1.0.0" });
    fs::write(layout.join("oci-layout"), version.to_string()).unwrap();
}

/// What umoci makes of these layers.
fn unpacked(layers: &[Entries]) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let (layout, rootfs) = (dir.path().join("image"), dir.path().join("rootfs"));
    let layers: Vec<Vec<u8>> = layers.iter().map(write).collect();
    image(&layout, &layers);
    let mut umoci = Command::new("umoci");
    umoci.args(["raw", "unpack", "--image"]);
    run(umoci.arg(format!("{}:t", layout.display())).arg(&rootfs));
    scan(&rootfs)
}

/// The tree without what Go's reader has no way to say: attributes with an empty value, which are
/// records with an empty value, and those with a `=` in their name.
fn for_go(mut entries: Entries) -> Entries {
    for (entry, _) in &mut entries {
        if let Item::File(meta, _) = &mut entry.item {
            meta.xattrs
                .retain(|(name, value)| !value.is_empty() && !name.contains(&b'='));
        }
    }
    entries
}

#[test]
fn umoci_makes_the_same_tree_of_ours() {
    if !crate::has("umoci") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), Wealth::Pax);
    let entries = for_go(read(&gnu_tar(dir.path(), &ATTRIBUTES)));
    let mut expected = scan(dir.path());
    for seen in expected.values_mut() {
        let xattrs = &mut seen.meta.xattrs;
        xattrs.retain(|(name, value)| !value.is_empty() && !name.contains(&b'='));
    }
    same(unpacked(&[entries]), &expected);
}

#[test]
fn umoci_hides_what_we_hide() {
    if !crate::has("umoci") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path(), Wealth::V7);
    let below = read(&gnu_tar(dir.path(), &[]));
    let hidden = |parts: &[&[u8]], item| {
        let path = parts.iter().map(|p| (*p).into()).collect();
        (Entry { path, item }, Vec::new())
    };
    let above = vec![
        hidden(&[b"block"], Item::Whiteout),
        hidden(&[b"d", b"f"], Item::Whiteout),
        hidden(&[b"d", b"sub"], Item::Whiteout),
    ];
    let found = unpacked(&[below.clone(), above]);
    let names: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
    let left: [&[u8]; 6] = [b"", b"d", b"d/empty", b"d/g", b"d/h", b"d/link"];
    assert_eq!(names, left);
    let opaque = vec![hidden(&[b"d"], Item::Opaque)];
    let found = unpacked(&[below, opaque]);
    let names: Vec<&[u8]> = found.keys().map(Vec::as_slice).collect();
    assert_eq!(names, [&b""[..], b"block", b"d"]);
}
