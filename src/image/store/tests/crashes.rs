//! A crash at each step of what changes a store: the next process finds one that works, without a
//! fault, with all in it that was there before or was reported done; and doing it again does it.

use super::super::stop;
use super::*;
use crate::image::commit::{Said, commit};
use crate::image::fsck;
use crate::image::import::import;
use crate::image::load::{Input, Options, Silent, load};
use crate::image::prepare::Prepare;
use std::os::fd::AsFd;

struct Place(TempDir);

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

impl Place {
    /// A store with the image `a`, and a source of `b`, which has one layer of `a` and one more.
    fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let below = tar_of(&[("file", b"small"), ("large", &[1; 70_000])]);
        let above = tar_of(&[("other", b"small too"), ("huge", &[2; 70_000])]);
        place.archive("a", &[&below]);
        place.archive("b", &[&below, &above]);
        Store::create(&place.root()).unwrap();
        place.load("a").unwrap();
        place
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn store(&self) -> Store {
        Store::open(&self.root()).unwrap()
    }

    fn archive(&self, name: &str, layers: &[&[u8]]) {
        let ids: Vec<Digest> = layers.iter().map(|l| Digest::of(l)).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "author": name,
            "rootfs": {"type": "layers", "diff_ids": ids}});
        let names: Vec<String> = (0..layers.len()).map(|i| format!("{i}.tar")).collect();
        let manifest = json!([{"Config": "c.json", "RepoTags": [name], "Layers": names}]);
        let (config, manifest) = (config.to_string(), manifest.to_string());
        let mut parts = vec![
            ("c.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ];
        parts.extend(names.iter().map(String::as_str).zip(layers.iter().copied()));
        fs::write(self.0.path().join(name), tar_of(&parts)).unwrap();
    }

    fn load(&self, name: &str) -> Result<()> {
        let store = Store::open(&self.root())?;
        let input = Input::Path(self.0.path().join(name));
        let options = Options {
            platform: Some("linux/amd64".parse().unwrap()),
            ..Options::default()
        };
        load(&store, &input, &options, &Prepare, &Silent).map(drop)
    }

    /// The image is there, with all that a mount needs.
    fn has(&self, name: &str) -> bool {
        let store = self.store();
        let image = store.resolve(name);
        image.is_ok_and(|image| image.is_unpacked(&store))
    }

    /// No fault is found, and nothing lies in `tmp`.
    fn check(&self, after: i64) {
        let report = fsck::check(&self.store(), &Silent).unwrap();
        assert_eq!(report.faults, [], "after {after} steps");
        assert!(is_empty(&self.root().join(TMP)).unwrap());
        assert!(self.has("a"), "after {after} steps");
    }
}

/// Stops `change` before each of its steps in turn. Gives back how many it has.
fn each_step(
    prepare: impl Fn(&Place),
    change: impl Fn(&Place) -> Result<()>,
    check: impl Fn(&Place, i64),
    done: impl Fn(&Place) -> bool,
) -> i64 {
    for steps in 0.. {
        let place = Place::new();
        prepare(&place);
        stop::after(Some(steps));
        let result = change(&place);
        let stopped = stop::stopped();
        stop::after(None);
        assert_eq!(result.is_err(), stopped, "{steps}: {result:?}");
        check(&place, steps);
        if !stopped {
            assert!(done(&place), "it was reported done");
            return steps;
        }
        change(&place).unwrap();
        check(&place, steps);
        assert!(done(&place), "again after {steps} steps");
    }
    unreachable!("it ends")
}

#[test]
fn a_load_stops_anywhere() {
    let steps = each_step(
        |_| {},
        |place| place.load("b"),
        Place::check,
        |place| place.has("b"),
    );
    // an object and perhaps its folder, a layer, its blob, two documents, an index, a name
    assert!(steps >= 7, "{steps}");
}

#[test]
fn a_commit_stops_anywhere() {
    let change = |place: &Place| {
        let dir = place.0.path();
        for name in ["upper", "mount"] {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("new"), "new").unwrap();
            fs::write(dir.join(name).join("large"), [3; 70_000]).unwrap();
        }
        let store = Store::open(&place.root())?;
        let image = store.resolve("a")?;
        let [upper, mount] = ["upper", "mount"].map(|name| fs::File::open(dir.join(name)).unwrap());
        let names = [name("c")];
        let fds = (upper.as_fd(), mount.as_fd());
        commit(&store, &image, fds, &Said::default(), &names).map(drop)
    };
    let steps = each_step(|_| {}, change, Place::check, |place| place.has("c"));
    assert!(steps >= 7, "{steps}");
}

#[test]
fn an_import_stops_anywhere() {
    for from_folder in [false, true] {
        let change = |place: &Place| {
            let source = place.0.path().join("source");
            let files = [("small", vec![4; 10]), ("large", vec![5; 70_000])];
            if from_folder {
                fs::create_dir_all(&source).unwrap();
                for (name, data) in &files {
                    fs::write(source.join(name), data).unwrap();
                }
            } else {
                fs::write(
                    &source,
                    tar_of(&files.each_ref().map(|(n, d)| (*n, &d[..]))),
                )
                .unwrap();
            }
            let store = Store::open(&place.root())?;
            import(&store, &Input::Path(source), None, &[], Some(&name("d"))).map(drop)
        };
        let steps = each_step(|_| {}, change, Place::check, |place| place.has("d"));
        assert!(steps >= 7, "{steps}");
    }
}

/// As `vellum rmi` does it: the name, then what only it reached.
#[test]
fn a_removal_stops_anywhere() {
    let remove = |place: &Place| {
        match place.store().untag(&name("b")) {
            Err(e) if !e.is(Errno::ENOENT) => return Err(e),
            _ => {}
        }
        Exclusive::open(&place.root())?.collect(true).map(drop)
    };
    let done = |place: &Place| {
        let store = place.store();
        let left = [
            store.blobs().unwrap().len(),
            store.layers().unwrap().len(),
            store.objects().unwrap().len(),
            store.indexes().unwrap().len(),
        ];
        !place.has("b") && left == [3, 1, 1, 1]
    };
    let steps = each_step(|place| place.load("b").unwrap(), remove, Place::check, done);
    assert!(steps >= 7, "{steps}");
}

/// A name that moves to another image.
#[test]
fn naming_stops_anywhere() {
    let tag = |place: &Place| {
        let store = Store::open(&place.root())?;
        let image = store.resolve("b")?;
        store.tag(&name("moves"), &image.manifest)
    };
    let steps = each_step(
        |place| {
            place.load("b").unwrap();
            let store = place.store();
            let a = store.resolve("a").unwrap();
            store.tag(&name("moves"), &a.manifest).unwrap();
        },
        tag,
        |place, after| {
            place.check(after);
            assert!(place.has("moves"), "the name is gone after {after} steps");
        },
        |place| {
            let store = place.store();
            store.resolve("moves").unwrap().id == store.resolve("b").unwrap().id
        },
    );
    assert!(steps >= 1, "{steps}");
}

#[test]
fn a_collection_stops_anywhere() {
    let steps = each_step(
        |place| {
            place.load("b").unwrap();
            let store = place.store();
            let manifest = store.untag(&name("b")).unwrap();
            store.keep(&manifest).unwrap();
        },
        |place| Exclusive::open(&place.root())?.collect(false).map(drop),
        Place::check,
        |place| {
            let store = place.store();
            let left = [
                store.blobs().unwrap().len(),
                store.layers().unwrap().len(),
                store.objects().unwrap().len(),
                store.indexes().unwrap().len(),
            ];
            left == [3, 1, 1, 1]
        },
    );
    assert!(steps >= 7, "{steps}");
}

#[test]
fn mending_stops_anywhere() {
    let damage = |place: &Place| {
        let store = place.store();
        let image = store.resolve("a").unwrap();
        let layer = image.diff_ids[0];
        let object = store.layer_info(layer).unwrap().objects[0];
        for path in [
            store.layer_path(layer).join("pack"),
            store.object_path(object),
            store.index_path(image.chain_id().unwrap()),
        ] {
            fs::write(path, "damaged").unwrap();
        }
        fs::remove_file(store.root().join(LAYOUT)).unwrap();
    };
    let mend = |place: &Place| {
        let report = fsck::repair(&Exclusive::open(&place.root())?, &Silent)?;
        assert_eq!(report.left(), 0, "{report:?}");
        Ok(())
    };
    let steps = each_step(
        damage,
        mend,
        |place, _| assert!(place.has("a")),
        |place| {
            place.check(0);
            true
        },
    );
    assert!(steps >= 4, "{steps}");
}
