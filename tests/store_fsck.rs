//! `vellum fsck`: each kind of file in a store is damaged in turn, is named, and is mended where it
//! can be; and what containers and mounts use is not removed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;

use live::{VELLUM, text};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use vellum::image::container::Keep;
use vellum::image::digest::Digest;
use vellum::image::oci::digest_of;
use vellum::image::prepare::Recipe;
use vellum::image::store::{Image, Store};
use vellum::lower::Lower;
use vellum::vfs::NodeId;
use vellum::vfs::cookie::CookieKey;

struct Bed {
    dir: tempfile::TempDir,
}

/// What the files of the image `x:1` are.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let large = |seed: u32| {
        (0..50_000u32)
            .flat_map(|i| (i * seed).to_le_bytes())
            .collect()
    };
    vec![
        ("small", b"of the second layer".to_vec()),
        ("below", b"of the first layer".to_vec()),
        ("large", large(7)),
        ("other", large(11)),
    ]
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut to, bytes).unwrap();
    to.finish().unwrap()
}

impl Bed {
    /// A store with two images, `x:1` of two layers and `y:1` of the lower one of these.
    fn new() -> Bed {
        let bed = Bed {
            dir: tempfile::tempdir().unwrap(),
        };
        let all = files();
        let data = |name: &str| all.iter().find(|f| f.0 == name).unwrap().1.clone();
        let first = tar_of(&[
            ("small", b"hidden"),
            ("below", &data("below")),
            ("large", &data("large")),
        ]);
        let second = tar_of(&[("small", &data("small")), ("other", &data("other"))]);
        bed.archive("x.tar", "x:1", &[&first, &second]);
        bed.archive("y.tar", "y:1", &[&first]);
        bed.vellum(&["load", "-q", "x.tar"]);
        bed.vellum(&["load", "-q", "y.tar"]);
        bed
    }

    fn archive(&self, file: &str, name: &str, layers: &[&[u8]]) {
        let ids: Vec<Digest> = layers.iter().map(|l| Digest::of(l)).collect();
        let arch = std::env::consts::ARCH
            .replace("x86_64", "amd64")
            .replace("aarch64", "arm64");
        let config = json!({"architecture": arch, "os": "linux", "author": name,
            "history": [{"created_by": "ADD first"}, {"created_by": "ENV", "empty_layer": true}],
            "rootfs": {"type": "layers", "diff_ids": ids}});
        let names: Vec<String> = (0..layers.len()).map(|i| format!("{i}.tar")).collect();
        let manifest = json!([{"Config": "c.json", "RepoTags": [name], "Layers": names}]);
        let packed: Vec<Vec<u8>> = layers.iter().map(|l| gzip(l)).collect();
        let (config, manifest) = (config.to_string(), manifest.to_string());
        let mut parts = vec![
            ("c.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ];
        parts.extend(
            names
                .iter()
                .map(String::as_str)
                .zip(packed.iter().map(Vec::as_slice)),
        );
        fs::write(self.path(file), tar_of(&parts)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(VELLUM)
            .args(args)
            .env("VELLUM_ROOT", self.path("store"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn vellum(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", text(&out));
        String::from_utf8(out.stdout).unwrap()
    }

    /// A command that fails with code 1; what it says.
    #[track_caller]
    fn fails(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}", text(&out));
        text(&out)
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store")).unwrap()
    }

    fn image(&self) -> Image {
        self.store().resolve("x:1").unwrap()
    }

    #[track_caller]
    fn clean(&self) {
        let said = self.vellum(&["fsck"]);
        assert!(said.contains("2 images, 2 layers; faults: 0"), "{said}");
        assert_eq!(self.vellum(&["fsck", "-q"]), "");
    }

    /// The files of the image are what they were.
    #[track_caller]
    fn same_files(&self) {
        let recipe = Recipe::of(&self.path("store"), &self.image());
        let lower = recipe.open(CookieKey::new()).unwrap();
        for (name, data) in files() {
            assert_eq!(read(lower.as_ref(), name), data, "{name}");
        }
    }
}

fn read(lower: &dyn Lower, name: &str) -> Vec<u8> {
    let attr = lower.lookup(NodeId::ROOT, name.as_bytes()).unwrap();
    let attr = attr.unwrap();
    let source = lower.open(attr.ino).unwrap();
    let (at, len) = source.clip(0, attr.size as usize);
    let mut data = vec![0; len];
    source.file().read_exact_at(&mut data, at).unwrap();
    data
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    Flip,
    Truncate,
    Remove,
}

fn damage(path: &Path, how: Damage) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    match how {
        Damage::Flip => bytes[middle] ^= 0x20,
        Damage::Truncate => bytes.truncate(middle),
        Damage::Remove => return fs::remove_file(path).unwrap(),
    }
    fs::write(path, bytes).unwrap();
}

const ALL: [Damage; 3] = [Damage::Flip, Damage::Truncate, Damage::Remove];

#[test]
fn what_is_made_of_blobs_is_mended() {
    let bed = Bed::new();
    bed.clean();
    let (store, image) = (bed.store(), bed.image());
    let layer = |i: usize| store.layer_path(image.diff_ids[i]);
    let object = store.layer_info(image.diff_ids[0]).unwrap().objects[0];
    let both = "x:1, y:1";
    let cases = [
        (layer(0).join("pack"), "pack of layer", both),
        (layer(1).join("pack"), "pack of layer", "[x:1]"),
        (layer(0).join("table"), "table of layer", both),
        (layer(1).join("layer.json"), "layer.json of layer", "[x:1]"),
        (store.object_path(object), "object sha256:", both),
        (
            store.index_path(image.chain_id().unwrap()),
            "index sha256:",
            "[x:1]",
        ),
        (bed.path("store/oci-layout"), "oci-layout", ""),
    ];
    drop(store);
    for (path, what, images) in &cases {
        for how in ALL {
            let before = fs::read(path).unwrap();
            damage(path, how);
            let said = bed.fails(&["fsck"]);
            let said = said.lines().find(|l| l.contains(&*path.to_string_lossy()));
            let said = said.unwrap_or_else(|| panic!("{path:?} {how:?}"));
            assert!(
                said.starts_with(what) && said.contains(images) && said.contains("--repair"),
                "{how:?}: {said}"
            );
            assert_eq!(said.contains("missing"), how == Damage::Remove, "{said}");
            let said = bed.vellum(&["fsck", "--repair"]);
            assert!(said.contains("; mended"), "{said}");
            assert_eq!(fs::read(path).unwrap(), before, "{path:?} {how:?}");
            bed.clean();
            bed.same_files();
        }
    }
    let tmp = fs::read_dir(bed.path("store/vellum/tmp")).unwrap();
    assert_eq!(tmp.count(), 0);
}

#[test]
fn a_whole_layer_that_is_gone_is_unpacked_again() {
    let bed = Bed::new();
    let (store, image) = (bed.store(), bed.image());
    let dir = store.layer_path(image.diff_ids[0]);
    drop(store);
    fs::remove_dir_all(&dir).unwrap();
    fs::remove_dir_all(bed.path("store/vellum/objects")).unwrap();
    fs::create_dir(bed.path("store/vellum/objects")).unwrap();
    let said = bed.fails(&["fsck"]);
    assert!(
        said.contains("unpacked layer") && said.contains("missing"),
        "{said}"
    );
    bed.vellum(&["fsck", "--repair"]);
    bed.clean();
    bed.same_files();
}

#[test]
fn a_blob_is_named_and_loading_brings_it_again() {
    let bed = Bed::new();
    let (store, image) = (bed.store(), bed.image());
    let layer = digest_of(&image.parts.layers()[1]).unwrap();
    let cases = [
        (store.blob_path(layer), "blob of a layer"),
        (store.blob_path(image.id), "configuration"),
        (store.blob_path(image.digest), "manifest"),
    ];
    drop(store);
    for (path, what) in &cases {
        for how in ALL {
            let before = fs::read(path).unwrap();
            damage(path, how);
            let said = bed.fails(&["fsck"]);
            let line = said.lines().find(|l| l.starts_with(what)).expect(&said);
            assert!(
                line.contains("load the image again") && line.contains("[x:1]"),
                "{said}"
            );
            let said = bed.fails(&["fsck", "--repair"]);
            assert!(said.contains("; load the image again"), "{said}");
            assert!(!path.exists());
            bed.vellum(&["load", "-q", "x.tar"]);
            assert_eq!(fs::read(path).unwrap(), before, "{what} {how:?}");
            bed.clean();
            bed.same_files();
        }
    }
}

#[test]
fn a_layer_without_its_blob_is_mended_after_it_was_loaded_again() {
    let bed = Bed::new();
    let (store, image) = (bed.store(), bed.image());
    let blob = store.blob_path(digest_of(&image.parts.layers()[0]).unwrap());
    let dir = store.layer_path(image.diff_ids[0]);
    let object = store.object_path(store.layer_info(image.diff_ids[0]).unwrap().objects[0]);
    drop(store);
    fs::remove_file(&blob).unwrap();
    for (name, what) in [
        (dir.join("pack"), "pack of layer"),
        (dir.join("table"), "table of layer"),
        (dir.join("layer.json"), "layer.json of layer"),
        (object, "object"),
    ] {
        damage(&name, Damage::Truncate);
        let said = bed.fails(&["fsck", "--repair"]);
        let line = said.lines().find(|l| l.starts_with(what)).expect(&said);
        assert!(
            line.contains("load the image again, then --repair"),
            "{said}"
        );
        bed.vellum(&["load", "-q", "x.tar"]);
        bed.vellum(&["fsck", "--repair"]);
        bed.clean();
        bed.same_files();
        fs::remove_file(&blob).unwrap();
    }
}

#[test]
fn damage_to_what_is_not_used_goes() {
    let bed = Bed::new();
    let stray = bed.path("store/blobs/sha256").join("0".repeat(64));
    fs::write(&stray, "x").unwrap();
    let other = bed.path("store/vellum/objects/00");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("0".repeat(64)), "x").unwrap();
    let layer = bed.path("store/vellum/layers").join("1".repeat(64));
    fs::create_dir(&layer).unwrap();
    assert!(bed.fails(&["fsck"]).contains("faults: 4"));
    bed.vellum(&["fsck", "--repair"]);
    assert!(!stray.exists() && !layer.exists());
    bed.clean();
    // a layer that lost an object, which loading would take for one that is there
    let (store, id) = (bed.store(), bed.image().diff_ids[1]);
    let object = store.layer_info(id).unwrap().objects[0];
    let (layer, object) = (store.layer_path(id), store.object_path(object));
    bed.vellum(&["rmi", "x:1"]);
    drop(store);
    damage(&object, Damage::Flip);
    bed.fails(&["fsck"]);
    bed.vellum(&["fsck", "--repair"]);
    assert!(!object.exists() && !layer.exists());
    bed.vellum(&["load", "-q", "x.tar"]);
    bed.clean();
    bed.same_files();
    // what is whole and not used is no fault, and stays
    let good = bed
        .path("store/blobs/sha256")
        .join(Digest::of(b"good").hex());
    fs::write(&good, "good").unwrap();
    let said = bed.vellum(&["fsck", "--repair"]);
    assert!(said.contains("Not used:") && good.exists(), "{said}");
}

#[test]
fn names_that_cannot_be_read_are_a_fault_that_stays() {
    let bed = Bed::new();
    let table = bed
        .store()
        .layer_path(bed.image().diff_ids[0])
        .join("table");
    let before = fs::read(bed.path("store/index.json")).unwrap();
    fs::write(bed.path("store/index.json"), "{").unwrap();
    damage(&table, Damage::Flip);
    let said = bed.fails(&["fsck", "--repair"]);
    assert!(
        said.contains("\nindex.json: ") && said.contains("faults: 2"),
        "{said}"
    );
    // nobody knows that it is not used, so it stays until that can be known
    assert!(table.exists());
    fs::write(bed.path("store/index.json"), before).unwrap();
    assert!(bed.vellum(&["fsck", "--repair"]).contains("mended: 1"));
    bed.clean();
}

/// Nobody else knows the names, so nothing is made up; but what is wrong is said, by every command.
#[test]
fn a_damaged_list_of_names_is_told_by_its_path() {
    let bed = Bed::new();
    let path = bed.path("store/index.json");
    let before = fs::read(&path).unwrap();
    let older = "{\"schemaVersion\": 1, \"manifests\": []}";
    let other = "{\"schemaVersion\": 2, \"manifests\": [{\"mediaType\": \"x\"}]}";
    let cut = before.split_at(before.len() / 2).0;
    for (bytes, why) in [
        (Some(&b""[..]), "EOF while parsing"),
        (Some(cut), "EOF while parsing"),
        (Some(&[0; 100]), "expected value"),
        (Some(older.as_bytes()), "schema version 1, not 2"),
        (Some(other.as_bytes()), "missing field"),
        (None, "missing"),
    ] {
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        for args in [&["fsck"][..], &["fsck", "--repair"]] {
            let said = bed.fails(args);
            let line = said.lines().find(|l| l.starts_with("index.json: "));
            let line = line.unwrap_or_else(|| panic!("{said}"));
            assert!(line.contains(why), "{line}");
            assert!(line.contains("the names of all images are in it"), "{line}");
            assert!(said.contains(path.to_str().unwrap()), "{said}");
        }
        let said = bed.fails(&["images"]);
        assert!(said.contains("index.json"), "{said}");
        // nor is it written anew with what is known
        bed.fails(&["tag", "x:1", "n:1"]);
        assert_eq!(fs::read(&path).ok().as_deref(), bytes);
    }
    fs::write(&path, before).unwrap();
    bed.clean();
}

#[test]
fn what_a_container_uses_is_not_removed() {
    let bed = Bed::new();
    let (store, image) = (bed.store(), bed.image());
    store
        .make_container(Some("web"), &image, "x:1", &Keep::default())
        .unwrap();
    drop(store);
    bed.vellum(&["tag", "x:1", "z:1"]);
    assert_eq!(bed.vellum(&["rmi", "x:1"]), "Untagged: x:1\n");
    let id = image.id.to_string();
    for args in [["rmi", "z:1"], ["rmi", &id]] {
        let said = bed.fails(&args);
        assert!(
            said.contains("container \"web\"") && said.contains("EBUSY"),
            "{said}"
        );
    }
    assert!(bed.fails(&["rmi", "-f", &id]).contains("container \"web\""));
    assert!(bed.vellum(&["images"]).contains('z'));
    // a load that takes its name leaves the image without one: prune keeps it
    bed.archive("other.tar", "z:1", &[&tar_of(&[("a", b"b")])]);
    bed.vellum(&["load", "-q", "other.tar"]);
    bed.vellum(&["prune"]);
    bed.vellum(&["fsck"]);
    let store = bed.store();
    assert!(store.image(&image.manifest).unwrap().is_unpacked(&store));
    drop(store);
    bed.vellum(&["rm", "web"]);
    bed.vellum(&["prune"]);
    assert!(bed.store().image(&image.manifest).is_err());
}

#[test]
fn a_mounted_image_keeps_its_last_name() {
    let bed = Bed::new();
    let (store, image) = (bed.store(), bed.image());
    let pin = store.pin(&image.manifest).unwrap();
    drop(store);
    let said = bed.fails(&["rmi", "x:1"]);
    assert!(said.contains("mounted") && said.contains("EBUSY"), "{said}");
    drop(pin);
    bed.vellum(&["rmi", "x:1"]);
}

#[test]
fn the_tree_says_who_shares_what() {
    let bed = Bed::new();
    let image = bed.image();
    let said = bed.vellum(&["tree"]);
    let shared = said
        .lines()
        .filter(|l| l.contains(&image.diff_ids[0].short()));
    let shared: Vec<&str> = shared.collect();
    assert_eq!(shared.len(), 2, "{said}");
    assert!(
        shared[0].ends_with("y:1") && shared[0].contains("ADD first"),
        "{said}"
    );
    assert!(shared[1].ends_with("x:1"), "{said}");
    let own = said
        .lines()
        .find(|l| l.contains(&image.diff_ids[1].short()));
    assert!(!own.unwrap().contains(":1"), "{said}");
    let all = bed.vellum(&["tree", "--format", "json", "x:1"]);
    let one: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(one["Names"], json!(["x:1"]));
    assert_eq!(one["Layers"][0]["DiffID"], json!(image.diff_ids[0]));
    assert_eq!(one["Layers"][0]["SharedWith"], json!(["y:1"]));
    assert_eq!(one["Layers"][0]["CreatedBy"], "ADD first");
    assert_eq!(one["Layers"][1]["SharedWith"], json!([]));
}
