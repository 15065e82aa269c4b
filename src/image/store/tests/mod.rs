//! The store, by its own functions.

mod crashes;
mod making;
mod users;

use super::*;
use crate::image::digest::Digest;
use crate::image::oci::{CONFIG, Descriptor, LAYER, MANIFEST, chain_id, descriptor, render};
use crate::image::reference::Reference;
use crate::image::spill::Digests;
use serde_json::json;
use std::io::Write;
use tempfile::TempDir;

struct Bed {
    dir: TempDir,
    store: Store,
}

impl Bed {
    fn new() -> Bed {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store")).unwrap();
        Bed { dir, store }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// An image with one layer and one object, unpacked; `seed` makes it another.
    fn image(&self, seed: &str) -> Descriptor {
        let layer = self.store.put_blob(LAYER, seed.as_bytes(), None).unwrap();
        let diff_id = Digest::of(seed.as_bytes());
        self.unpack(diff_id, seed);
        let config = json!({"architecture": "amd64", "os": "linux", "author": seed,
            "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
        let config = self
            .store
            .put_document(CONFIG, &render(&config).unwrap())
            .unwrap();
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": [layer]});
        self.store
            .put_document(MANIFEST, &render(&manifest).unwrap())
            .unwrap()
    }

    fn unpack(&self, diff_id: Digest, seed: &str) {
        let stage = self.store.staging().unwrap();
        fs::write(stage.path().join("pack"), seed).unwrap();
        fs::create_dir(stage.path().join("objects")).unwrap();
        let object = Digest::of(format!("object {seed}").as_bytes());
        fs::write(stage.path().join("objects").join(object.hex()), "large").unwrap();
        let facts = LayerFacts {
            size: 7,
            objects: Digests::of([object]).unwrap(),
        };
        self.store.publish_layer(diff_id, stage, &facts).unwrap();
        assert!(facts.are(&self.store.layer_info(diff_id).unwrap()).unwrap());
        let mut index = self.store.temp().unwrap();
        let empty = crate::image::merge::Merge::new().unwrap().finish();
        crate::image::index::write(&empty, index.file()).unwrap();
        self.store
            .publish_index(chain_id(&[diff_id]).unwrap(), index)
            .unwrap();
    }

    /// Closes the store, collects, opens it again.
    fn collect(self, keep_nameless: bool) -> (Bed, Garbage) {
        let Bed { dir, store } = self;
        let root = store.root().to_owned();
        drop(store);
        let garbage = Exclusive::open(&root)
            .unwrap()
            .collect(keep_nameless)
            .unwrap();
        let store = Store::open(&root).unwrap();
        (Bed { dir, store }, garbage)
    }
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn a_blob_is_seen_only_if_it_is_what_was_expected() {
    let bed = Bed::new();
    let good = descriptor(LAYER, Digest::of(b"abc"), 3);
    for (bytes, reason) in [
        (&b"abd"[..], "has the digest"),
        (b"ab", "2 bytes, not 3"),
        (b"abcdefgh", "4 bytes, not 3"),
    ] {
        let e = bed.store.put_blob(LAYER, bytes, Some(&good)).unwrap_err();
        assert!(e.reason().contains(reason), "{e}");
        assert!(!bed.store.has_blob(Digest::of(b"abc")));
    }
    assert!(is_empty(&bed.root().join(TMP)).unwrap());
    assert_eq!(
        bed.store.put_blob(LAYER, &b"abc"[..], Some(&good)).unwrap(),
        good
    );
    assert!(bed.store.has_blob(Digest::of(b"abc")));
    let long = vec![b' '; 5 << 20];
    assert!(
        bed.store
            .put_document(CONFIG, &long)
            .unwrap_err()
            .is(Errno::EFBIG)
    );
}

#[test]
fn a_document_that_changed_on_disk_is_not_believed() {
    let bed = Bed::new();
    let image = bed.image("a");
    bed.store.tag(&name("a"), &image).unwrap();
    let file = bed
        .root()
        .join(BLOBS)
        .join(bed.store.resolve("a").unwrap().id.hex());
    let text = fs::read_to_string(&file).unwrap().replace("amd64", "arm64");
    fs::write(&file, text).unwrap();
    let e = bed.store.resolve("a").unwrap_err();
    assert!(e.reason().contains("has the digest"), "{e}");
}

#[test]
fn an_image_is_found_by_all_that_people_write() {
    let bed = Bed::new();
    let manifest = bed.image("a");
    bed.store.tag(&name("example.com/x:1"), &manifest).unwrap();
    bed.store.tag(&name("x"), &manifest).unwrap();
    let image = bed.store.image(&manifest).unwrap();
    let id = image.id;
    for text in [
        "x".to_owned(),
        "x:latest".into(),
        "docker.io/library/x".into(),
        "example.com/x:1".into(),
        format!("x@{}", image.digest),
        format!("example.com/x@{}", image.digest),
        id.to_string(),
        id.hex(),
        id.short(),
        id.hex()[..3].to_owned(),
        format!("sha256:{}", id.short()),
    ] {
        assert_eq!(bed.store.resolve(&text).unwrap().id, id, "{text}");
    }
    for text in [
        "y",
        "x:2",
        "example.com/x",
        &format!("y@{}", image.digest),
        "ffffffffffff",
    ] {
        let e = bed.store.resolve(text).unwrap_err();
        assert!(
            e.is(Errno::ENOENT) && e.reason().contains("no such image"),
            "{text}: {e}"
        );
    }
    let names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["x:latest", "example.com/x:1"]);
}

#[test]
fn an_ambiguous_id_is_named_as_such() {
    let bed = Bed::new();
    // 17 images: two of them begin with the same digit
    let ids: Vec<Digest> = (0..17)
        .map(|n| {
            let manifest = bed.image(&n.to_string());
            bed.store.keep(&manifest).unwrap();
            bed.store.image(&manifest).unwrap().id
        })
        .collect();
    let of = |digit: char| ids.iter().filter(move |id| id.hex().starts_with(digit));
    let digit = "0123456789abcdef"
        .chars()
        .find(|d| of(*d).count() > 1)
        .unwrap();
    let e = bed.store.resolve(&digit.to_string()).unwrap_err();
    assert!(e.is(Errno::ENOTUNIQ), "{e}");
    for id in of(digit) {
        assert!(e.reason().contains(&id.short()), "{e}");
    }
    // a name comes before an ID that begins so
    let text = ids[0].short();
    bed.store
        .tag(
            &name(&text),
            &bed.store.resolve(&ids[1].hex()).unwrap().manifest,
        )
        .unwrap();
    assert_eq!(bed.store.resolve(&text).unwrap().id, ids[1]);
}

#[test]
fn a_name_moves_and_its_old_image_stays_without() {
    let bed = Bed::new();
    let (a, b) = (bed.image("a"), bed.image("b"));
    bed.store.tag(&name("x"), &a).unwrap();
    bed.store.tag(&name("x"), &b).unwrap();
    bed.store.tag(&name("x"), &b).unwrap();
    let labels: Vec<Option<String>> = bed
        .store
        .entries()
        .unwrap()
        .iter()
        .map(|e| e.label().map(str::to_owned))
        .collect();
    assert_eq!(
        labels,
        [None, Some("docker.io/library/x:latest".to_owned())]
    );
    // naming it again takes it out of the nameless
    bed.store.tag(&name("y:1"), &a).unwrap();
    assert_eq!(bed.store.entries().unwrap().len(), 2);
    let index = fs::read_to_string(bed.root().join(INDEX)).unwrap();
    assert!(
        index.contains(r#""org.opencontainers.image.ref.name":"1""#),
        "{index}"
    );
    assert_eq!(bed.store.untag(&name("y:1")).unwrap().digest(), a.digest());
    assert!(bed.store.untag(&name("y:1")).unwrap_err().is(Errno::ENOENT));
    assert!(bed.store.resolve("y:1").is_err());
    let gone = descriptor(MANIFEST, Digest::of(b"none"), 4);
    assert!(
        bed.store
            .tag(&name("z"), &gone)
            .unwrap_err()
            .is(Errno::ENOENT)
    );
}

#[test]
fn a_collection_takes_what_nothing_reaches_and_nothing_else() {
    let bed = Bed::new();
    let (a, b) = (bed.image("a"), bed.image("b"));
    bed.store.tag(&name("a"), &a).unwrap();
    bed.store.keep(&b).unwrap();
    let (bed, garbage) = bed.collect(true);
    assert_eq!(garbage, Garbage::default());
    let foreseen = bed.store.garbage(false).unwrap();
    let (bed, garbage) = bed.collect(false);
    assert_eq!(foreseen, garbage);
    assert_eq!(garbage.nameless.len(), 1);
    let lens = [
        &garbage.blobs,
        &garbage.layers,
        &garbage.objects,
        &garbage.indexes,
    ]
    .map(Vec::len);
    assert_eq!(lens, [3, 1, 1, 1]);
    assert!(garbage.bytes > 0);
    let left = [
        bed.store.blobs().unwrap().len(),
        bed.store.layers().unwrap().len(),
        bed.store.objects().unwrap().len(),
        bed.store.indexes().unwrap().len(),
    ];
    assert_eq!(left, [3, 1, 1, 1]);
    assert!(bed.store.resolve("a").unwrap().is_unpacked(&bed.store));
    bed.store.untag(&name("a")).unwrap();
    let (bed, _) = bed.collect(true);
    assert!(bed.store.blobs().unwrap().is_empty() && bed.store.objects().unwrap().is_empty());
    assert!(is_empty(&bed.root().join(TMP)).unwrap());
}

#[test]
fn a_shared_object_stays_while_one_layer_has_it() {
    let bed = Bed::new();
    let (a, b) = (bed.image("a"), bed.image("b"));
    bed.store.tag(&name("a"), &a).unwrap();
    bed.store.tag(&name("b"), &b).unwrap();
    let [first, second] = ["a", "b"].map(|n| bed.store.resolve(n).unwrap().diff_ids[0]);
    let object = bed.store.layer_info(first).unwrap().objects[0];
    let file = bed.store.layer_path(second).join("layer.json");
    let info = LayerInfo {
        size: 1,
        objects: vec![object],
    };
    fs::write(file, serde_json::to_vec(&info).unwrap()).unwrap();
    bed.store.untag(&name("a")).unwrap();
    let (bed, garbage) = bed.collect(true);
    assert_eq!(garbage.layers, [first]);
    assert!(bed.store.has_object(object));
}

#[test]
fn what_is_pinned_stays() {
    let bed = Bed::new();
    let a = bed.image("a");
    bed.store.tag(&name("a"), &a).unwrap();
    let pin = bed
        .store
        .pin(&bed.store.resolve("a").unwrap().manifest)
        .unwrap();
    bed.store.untag(&name("a")).unwrap();
    let (bed, garbage) = bed.collect(false);
    assert_eq!(garbage, Garbage::default());
    drop(pin);
    // a pin whose process died: a file that nobody has locked
    fs::write(bed.root().join(PINS).join("dead"), "{}").unwrap();
    let (bed, garbage) = bed.collect(false);
    assert_eq!(garbage.layers.len(), 1);
    assert!(is_empty(&bed.root().join(PINS)).unwrap());
}

#[test]
fn a_document_that_cannot_be_read_stops_a_collection() {
    let bed = Bed::new();
    let a = bed.image("a");
    bed.store.tag(&name("a"), &a).unwrap();
    let id = bed.store.resolve("a").unwrap().id;
    fs::remove_file(bed.root().join(BLOBS).join(id.hex())).unwrap();
    let e = bed.store.garbage(false).unwrap_err();
    assert!(e.reason().contains("docker.io/library/a:latest"), "{e}");
    assert!(bed.store.images().unwrap()[0].1.is_err());
    // it can still be taken away
    bed.store.untag(&name("a")).unwrap();
    assert_eq!(bed.store.garbage(false).unwrap().blobs.len(), 2);
}

#[test]
fn a_manifest_of_something_else_keeps_its_blobs() {
    let bed = Bed::new();
    let blob = bed
        .store
        .put_blob("application/x-sbom", &b"sbom"[..], None)
        .unwrap();
    let config = bed
        .store
        .put_document("application/vnd.oci.empty.v1+json", b"{}")
        .unwrap();
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": [blob]});
    let manifest = bed
        .store
        .put_document(MANIFEST, &render(&manifest).unwrap())
        .unwrap();
    bed.store.tag(&name("sbom"), &manifest).unwrap();
    assert_eq!(bed.store.garbage(false).unwrap(), Garbage::default());
    assert!(bed.store.resolve("sbom").is_err());
}

#[test]
fn what_a_crash_left_is_swept_when_nobody_else_is_there() {
    let bed = Bed::new();
    let left = bed.root().join(TMP).join("0123");
    fs::create_dir_all(left.join("deep/er")).unwrap();
    fs::write(bed.root().join(TMP).join("file"), "half").unwrap();
    // the first still has the store open, so it may be its own
    let second = Store::open(&bed.root()).unwrap();
    assert!(left.exists());
    let root = bed.root();
    let Bed { dir, store } = bed;
    drop((store, second));
    drop(Store::open(&root).unwrap());
    assert!(is_empty(&root.join(TMP)).unwrap());
    drop(dir);
}

#[test]
fn what_is_not_published_leaves_nothing() {
    let bed = Bed::new();
    let stage = bed.store.staging().unwrap();
    fs::write(stage.path().join("pack"), "x").unwrap();
    drop(stage);
    let mut temp = bed.store.temp().unwrap();
    temp.file().write_all(b"x").unwrap();
    drop(temp);
    drop(bed.store.blob_writer().unwrap());
    assert!(is_empty(&bed.root().join(TMP)).unwrap());
}

#[test]
fn a_layer_without_its_object_is_not_published() {
    let bed = Bed::new();
    let facts = LayerFacts {
        size: 0,
        objects: Digests::of([Digest::of(b"gone")]).unwrap(),
    };
    let stage = bed.store.staging().unwrap();
    let e = bed
        .store
        .publish_layer(Digest::of(b"l"), stage, &facts)
        .unwrap_err();
    assert!(e.reason().contains("is missing"), "{e}");
    assert!(!bed.store.has_layer(Digest::of(b"l")));
    // a layer that is there is left as it is
    bed.unpack(Digest::of(b"m"), "first");
    let stage = bed.store.staging().unwrap();
    bed.store
        .publish_layer(Digest::of(b"m"), stage, &facts)
        .unwrap();
    assert_eq!(
        fs::read(bed.store.layer_path(Digest::of(b"m")).join("pack")).unwrap(),
        b"first"
    );
}

#[test]
fn removing_waits_for_those_who_use_the_store() {
    let bed = Bed::new();
    assert!(Exclusive::try_open(&bed.root()).unwrap().is_none());
    let root = bed.root();
    let waits = std::thread::spawn(move || Exclusive::open(&root).unwrap());
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(!waits.is_finished());
    let Bed { dir, store } = bed;
    drop(store);
    let alone = waits.join().unwrap();
    assert!(Exclusive::try_open(alone.root()).unwrap().is_none());
    drop(dir);
}

#[test]
fn many_name_at_once_and_no_name_is_lost() {
    let bed = Bed::new();
    let image = bed.image("a");
    std::thread::scope(|s| {
        for t in 0..4 {
            let (store, image) = (Store::open(&bed.root()).unwrap(), &image);
            s.spawn(move || {
                for n in 0..8 {
                    store.tag(&name(&format!("x{t}:{n}")), image).unwrap();
                }
            });
        }
    });
    assert_eq!(bed.store.resolve("x0:0").unwrap().names.len(), 32);
}
