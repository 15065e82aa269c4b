//! Loading, from sources made by hand.

mod copy;
mod faults;

use super::*;
use crate::image::oci::{CONFIG, Compression, LAYER, MANIFEST, descriptor, render};
use crate::image::save::{Format, Saved, save};
use crate::vfs::Error;
use copy::CopyTar;
use nix::errno::Errno;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use tempfile::TempDir;

/// A place with a store, and a layout to be loaded into it.
struct Bed {
    dir: TempDir,
    store: Store,
}

/// A layer: what is in its blob, and what is said of it.
struct Blob {
    bytes: Vec<u8>,
    media_type: String,
    diff_id: Digest,
    /// Digest and size, if they are not those of `bytes`.
    claims: Option<(Digest, u64)>,
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

fn packed(tar: &[u8], how: Compression) -> Vec<u8> {
    match how {
        Compression::None => tar.to_vec(),
        Compression::Gzip => {
            let level = flate2::Compression::default();
            let mut to = flate2::write::GzEncoder::new(Vec::new(), level);
            to.write_all(tar).unwrap();
            to.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(tar, 3).unwrap(),
    }
}

fn blob(content: &str, how: Compression) -> Blob {
    let tar = tar_of(&[("file", content.as_bytes())]);
    Blob {
        bytes: packed(&tar, how),
        media_type: how.layer_type().to_owned(),
        diff_id: Digest::of(&tar),
        claims: None,
    }
}

fn three() -> Vec<Blob> {
    vec![
        blob("one", Compression::None),
        blob("two", Compression::Gzip),
        blob("three", Compression::Zstd),
    ]
}

impl Bed {
    fn new() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store")).unwrap();
        fs::create_dir_all(dir.path().join("debian/blobs/sha256")).unwrap();
        let bed = Bed { dir, store };
        fs::write(
            bed.layout().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        bed
    }

    fn layout(&self) -> PathBuf {
        self.dir.path().join("debian")
    }

    fn blob_path(&self, digest: Digest) -> PathBuf {
        self.layout().join("blobs/sha256").join(digest.hex())
    }

    fn put(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        fs::write(self.blob_path(digest), bytes).unwrap();
        descriptor(media_type, digest, bytes.len() as u64)
    }

    fn put_json(&self, media_type: &str, value: &Value) -> Descriptor {
        self.put(media_type, &render(value).unwrap())
    }

    fn manifest(&self, layers: &[Blob], arch: &str) -> Descriptor {
        let ids: Vec<Digest> = layers.iter().map(|l| l.diff_id).collect();
        let config = json!({"architecture": arch, "os": "linux", "created": "2024-01-02T03:04:05Z",
            "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": ids},
            "history": [{"created_by": "ADD"}, {"created_by": "CMD", "empty_layer": true}]});
        let one = |l: &Blob| {
            let real = self.put(&l.media_type, &l.bytes);
            let (digest, size) = l.claims.unwrap_or((Digest::of(&l.bytes), real.size()));
            if l.claims.is_some() {
                fs::write(self.blob_path(digest), &l.bytes).unwrap();
            }
            descriptor(&l.media_type, digest, size)
        };
        let parts: Vec<Descriptor> = layers.iter().map(one).collect();
        let config = self.put_json(CONFIG, &config);
        self.put_json(
            MANIFEST,
            &json!({"schemaVersion": 2, "mediaType": MANIFEST,
            "config": config, "layers": parts}),
        )
    }

    fn index(&self, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": entries});
        fs::write(self.layout().join("index.json"), render(&index).unwrap()).unwrap();
    }

    /// A layout with one image, whose tag is `12`.
    fn with(layers: &[Blob]) -> Bed {
        let bed = Bed::new();
        let manifest = bed.manifest(layers, "amd64");
        bed.index(&[entry(&manifest, "12")]);
        bed
    }

    fn load(&self, options: &Options) -> Result<Vec<Loaded>> {
        let input = Input::Path(self.layout());
        load(&self.store, &input, options, &CopyTar, &Silent)
    }

    fn load_file(&self, bytes: &[u8]) -> Result<Vec<Loaded>> {
        let path = self.dir.path().join("archive.tar");
        fs::write(&path, bytes).unwrap();
        load(
            &self.store,
            &Input::Path(path),
            &Options::default(),
            &CopyTar,
            &Silent,
        )
    }

    /// Loading fails for this reason, and leaves the store as it was.
    fn refuses(&self, reason: &str) -> Error {
        self.refuses_with(&Options::default(), reason)
    }

    fn refuses_with(&self, options: &Options, reason: &str) -> Error {
        let before = self.state();
        let e = self.load(options).unwrap_err();
        assert!(e.reason().contains(reason), "{e}");
        assert_eq!(self.state(), before);
        e
    }

    /// Every file of the store with its digest.
    fn state(&self) -> BTreeMap<PathBuf, Digest> {
        fn walk(dir: &Path, all: &mut BTreeMap<PathBuf, Digest>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, all);
                } else {
                    all.insert(path.clone(), Digest::of(&fs::read(&path).unwrap()));
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(self.store.root(), &mut all);
        all
    }
}

fn entry(manifest: &Descriptor, tag: &str) -> Value {
    let mut value = serde_json::to_value(manifest).unwrap();
    value["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
    value
}

fn with_platform(manifest: &Descriptor, arch: &str) -> Value {
    let mut value = serde_json::to_value(manifest).unwrap();
    value["platform"] = json!({"os": "linux", "architecture": arch});
    value
}

#[test]
fn a_layout_is_loaded_with_every_compression() {
    let bed = Bed::with(&three());
    let loaded = bed.load(&Options::default()).unwrap();
    assert_eq!(loaded[0].names[0].familiar(), "debian:12");
    let image = bed.store.resolve("debian:12").unwrap();
    assert_eq!((image.id, image.digest), (loaded[0].id, loaded[0].digest));
    assert!(image.is_unpacked(&bed.store));
    for (layer, id) in three().iter().zip(&image.diff_ids) {
        assert_eq!(layer.diff_id, *id);
        let tar = fs::read(bed.store.layer_path(*id).join("tar")).unwrap();
        assert_eq!(Digest::of(&tar), *id);
        assert_eq!(bed.store.layer_info(*id).unwrap().size, tar.len() as u64);
        assert!(bed.store.has_blob(Digest::of(&layer.bytes)));
    }
    assert_eq!(bed.store.garbage(false).unwrap(), Default::default());
    // again: nothing is read, so nothing is missed
    for layer in three() {
        fs::remove_file(bed.blob_path(Digest::of(&layer.bytes))).unwrap();
    }
    assert_eq!(bed.load(&Options::default()).unwrap(), loaded);
}

#[test]
fn gzip_in_several_members_is_one_layer() {
    let tar = tar_of(&[("file", b"x")]);
    let (a, b) = tar.split_at(700);
    let bytes = [packed(a, Compression::Gzip), packed(b, Compression::Gzip)].concat();
    let mut layer = blob("", Compression::Gzip);
    (layer.bytes, layer.diff_id) = (bytes, Digest::of(&tar));
    Bed::with(&[layer]).load(&Options::default()).unwrap();
}

#[test]
fn a_layer_that_is_gone_is_made_from_its_blob() {
    let bed = Bed::with(&three());
    bed.load(&Options::default()).unwrap();
    let id = three()[1].diff_id;
    fs::remove_dir_all(bed.store.layer_path(id)).unwrap();
    fs::remove_file(bed.blob_path(Digest::of(&three()[1].bytes))).unwrap();
    bed.load(&Options::default()).unwrap();
    assert!(bed.store.has_layer(id));
}

#[test]
fn an_unpacker_that_reads_nothing_is_no_fault_of_the_layer() {
    struct Lazy;
    impl Unpack for Lazy {
        fn unpack(&self, _: &Store, _: &mut dyn Read, _: Digest, stage: &Path) -> Result<Digests> {
            let object = Digest::of(b"large");
            fs::create_dir(stage.join("objects"))?;
            fs::write(stage.join("objects").join(object.hex()), "large")?;
            Digests::of([object])
        }
        fn finish(&self, _: &Store, _: &[Digest]) -> Result<()> {
            Ok(())
        }
    }
    let bed = Bed::with(&three());
    let input = Input::Path(bed.layout());
    load(&bed.store, &input, &Options::default(), &Lazy, &Silent).unwrap();
    assert!(bed.store.has_object(Digest::of(b"large")));
}

#[test]
fn the_platform_is_chosen() {
    let bed = Bed::new();
    let [amd, arm] =
        ["amd64", "arm64"].map(|arch| bed.manifest(&[blob(arch, Compression::Gzip)], arch));
    let index = json!({"schemaVersion": 2, "mediaType": oci::INDEX,
        "manifests": [with_platform(&amd, "amd64"), with_platform(&arm, "arm64")]});
    let index = bed.put_json(oci::INDEX, &index);
    bed.index(&[entry(&index, "12")]);
    let want = |text: &str| Options {
        platform: Some(text.parse().unwrap()),
        ..Options::default()
    };
    let loaded = bed.load(&want("linux/arm64")).unwrap();
    assert_eq!(loaded[0].digest, oci::digest_of(&arm).unwrap());
    assert_eq!(bed.store.layers().unwrap().len(), 1);
    bed.refuses_with(&want("linux/s390x"), "there is linux/amd64, linux/arm64");
    // one that stands alone has to be what was asked for
    bed.index(&[entry(&amd, "12")]);
    bed.refuses_with(&want("linux/arm64"), "it is for linux/amd64");
    // an index.json can be the list of platforms itself
    bed.index(&[with_platform(&amd, "amd64"), with_platform(&arm, "arm64")]);
    let loaded = bed.load(&want("linux/amd64")).unwrap();
    assert_eq!(loaded[0].digest, oci::digest_of(&amd).unwrap());
}

#[test]
fn names_come_from_the_source_or_from_who_loads() {
    let bed = Bed::new();
    let [a, b] = ["a", "b"].map(|x| bed.manifest(&[blob(x, Compression::None)], "amd64"));
    bed.index(&[
        entry(&a, "example.com/a:1"),
        entry(&a, "2"),
        serde_json::to_value(&b).unwrap(),
    ]);
    let loaded = bed.load(&Options::default()).unwrap();
    let names = |l: &Loaded| l.names.iter().map(Reference::familiar).collect::<Vec<_>>();
    let all: BTreeMap<Digest, Vec<String>> = loaded.iter().map(|l| (l.digest, names(l))).collect();
    assert_eq!(
        all[&oci::digest_of(&a).unwrap()],
        ["debian:2", "example.com/a:1"]
    );
    assert!(all[&oci::digest_of(&b).unwrap()].is_empty());
    assert_eq!(bed.store.images().unwrap().len(), 2);
    let options = Options {
        name: Some("mine".parse().unwrap()),
        ..Options::default()
    };
    bed.refuses_with(&options, "2 images cannot all be called mine");
    bed.index(&[entry(&a, "2")]);
    let loaded = bed.load(&options).unwrap();
    assert_eq!(names(&loaded[0]), ["mine:latest"]);
}

/// What `docker save` of old wrote, with the layer twice, once as a link.
fn docker_archive(layer: &Blob, id: Digest) -> Vec<u8> {
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id, layer.diff_id]}});
    let config = render(&config).unwrap();
    let id = if id == Digest::of(b"") {
        Digest::of(&config)
    } else {
        id
    };
    let name = format!("{}.json", id.hex());
    let manifest = json!([{"Config": name, "RepoTags": ["old:1", "example.com/old:2"],
        "Layers": ["a/layer.tar", "b/layer.tar"]}]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, name, data).unwrap();
    };
    add(&name, &config);
    // the later of two counts
    add("a/layer.tar", b"not this");
    add("a/layer.tar", &layer.bytes);
    add("manifest.json", &render(&manifest).unwrap());
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "b/layer.tar", "../a/layer.tar")
        .unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn what_docker_saved_is_loaded() {
    for how in [Compression::None, Compression::Gzip] {
        for outside in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let bed = Bed::new();
            let layer = blob("x", how);
            let archive = packed(&docker_archive(&layer, Digest::of(b"")), outside);
            let loaded = bed.load_file(&archive).unwrap();
            let image = bed.store.resolve("old:1").unwrap();
            assert_eq!(image.id, loaded[0].id);
            assert_eq!(image.diff_ids, [layer.diff_id, layer.diff_id]);
            assert_eq!(
                oci::digest_of(&image.parts.layers()[0]).unwrap(),
                Digest::of(&layer.bytes)
            );
            assert_eq!(
                image.parts.layers()[1].media_type().as_ref(),
                how.layer_type()
            );
            assert_eq!(bed.store.resolve("example.com/old:2").unwrap().id, image.id);
            assert_eq!(bed.load_file(&archive).unwrap(), loaded);
            assert_eq!(bed.store.garbage(false).unwrap(), Default::default());
        }
    }
}

#[test]
fn what_is_saved_is_loaded_with_the_same_digests() {
    let bed = Bed::with(&three());
    bed.load(&Options::default()).unwrap();
    let image = bed.store.resolve("debian:12").unwrap();
    let names: Vec<Reference> = ["debian:12", "mine/x:y"].map(|n| n.parse().unwrap()).into();
    for format in [Format::Oci, Format::Docker] {
        let saved = [Saved {
            image: image.clone(),
            names: names.clone(),
        }];
        let archive = || {
            let mut out = Vec::new();
            save(&bed.store, &saved, format, &mut out).unwrap();
            out
        };
        assert_eq!(archive(), archive());
        let other = Bed::new();
        let loaded = other.load_file(&archive()).unwrap();
        assert_eq!(
            (loaded.len(), loaded[0].id, &loaded[0].names),
            (1, image.id, &names)
        );
        let again = other.store.resolve("mine/x:y").unwrap();
        assert_eq!(again.diff_ids, image.diff_ids);
        let digests = |i: &crate::image::store::Image| -> Vec<_> {
            i.parts
                .layers()
                .iter()
                .map(|l| (l.digest().clone(), l.media_type().clone()))
                .collect()
        };
        assert_eq!(digests(&again), digests(&image));
        assert_eq!(
            again.digest, image.digest,
            "{format:?}: also the manifest, as ours are canonical"
        );
    }
}

#[test]
fn history_tells_steps_and_layers() {
    let bed = Bed::with(&three());
    bed.load(&Options::default()).unwrap();
    let image = bed.store.resolve("debian:12").unwrap();
    let steps = crate::image::history::history(&bed.store, &image).unwrap();
    let short: Vec<(&str, Option<Digest>)> = steps
        .iter()
        .map(|s| (s.created_by.as_str(), s.layer))
        .collect();
    let id = |n: usize| Some(image.diff_ids[n]);
    assert_eq!(
        short,
        [("", id(2)), ("", id(1)), ("CMD", None), ("ADD", id(0))]
    );
    assert!(steps[3].size > 1000 && steps[2].size == 0);
}

#[test]
fn progress_is_told() {
    #[derive(Default)]
    struct Told(parking_lot::Mutex<Vec<String>>);
    impl Progress for Told {
        fn start(&self, _: Digest, size: u64) {
            self.0.lock().push(format!("start {size}"));
        }
        fn advance(&self, _: Digest, bytes: u64) {
            self.0.lock().push(format!("advance {bytes}"));
        }
        fn done(&self, _: Digest, outcome: Outcome) {
            self.0.lock().push(format!("{outcome:?}"));
        }
    }
    let bed = Bed::with(&[blob("x", Compression::None)]);
    let told = Told::default();
    let load = || {
        load(
            &bed.store,
            &Input::Path(bed.layout()),
            &Options::default(),
            &CopyTar,
            &told,
        )
    };
    load().unwrap();
    load().unwrap();
    let told = told.0.into_inner();
    let size = blob("x", Compression::None).bytes.len();
    assert_eq!(told.first().unwrap(), &format!("start {size}"));
    assert!(told.contains(&"Loaded".to_owned()) && told.last().unwrap() == "Present");
    let sum: usize = told
        .iter()
        .filter_map(|t| t.strip_prefix("advance ")?.parse::<usize>().ok())
        .sum();
    assert_eq!(sum, size);
    assert_eq!(LAYER, Compression::None.layer_type());
}
