//! How a directory becomes a store, and which does not.

use super::*;

#[test]
fn a_store_is_an_image_layout_and_made_once() {
    let bed = Bed::new();
    let text = fs::read_to_string(bed.root().join("oci-layout")).unwrap();
    assert_eq!(text, r#"{"imageLayoutVersion":"1.0.0"}"#);
    let image = bed.image("a");
    bed.store.tag(&name("a"), &image).unwrap();
    let again = Store::create(&bed.root()).unwrap();
    assert_eq!(again.entries().unwrap().len(), 1);
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(bed.root()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn what_is_no_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let e = Store::open(dir.path()).unwrap_err();
    assert!(
        e.is(Errno::ENOENT) && e.reason().contains("no image store"),
        "{e}"
    );
    fs::write(dir.path().join("thesis.txt"), "").unwrap();
    let e = Store::create(dir.path()).unwrap_err();
    assert!(e.is(Errno::ENOTEMPTY), "{e}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

    let bed = Bed::new();
    fs::write(bed.root().join(VERSION), "2\n").unwrap();
    let e = Store::open(&bed.root()).unwrap_err();
    assert!(e.reason().contains("format 2"), "{e}");
}

/// Whatever of it is there when the maker dies, the next one makes the rest.
#[test]
fn a_store_that_a_crash_left_half_made_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    for made in [
        vec![OWN],
        vec![OWN, BLOBS],
        vec![OWN, BLOBS, TMP, LAYERS, PINS],
    ] {
        let root = dir.path().join(made.len().to_string());
        for part in &made {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::write(root.join(OWN).join("lock"), "").unwrap();
        assert!(Store::open(&root).unwrap_err().is(Errno::ENOENT));
        assert!(Store::create(&root).unwrap().entries().unwrap().is_empty());
    }
}

/// They find a store, or make it, but do not trip over each other.
#[test]
fn many_make_one_store() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..20 {
        let root = dir.path().join(n.to_string());
        std::thread::scope(|s| {
            let make = || s.spawn(|| Store::create(&root).map(drop));
            let all: Vec<_> = (0..8).map(|_| make()).collect();
            for one in all {
                one.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_layout_of_somebody_else_becomes_a_store() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(LAYOUT), LAYOUT_TEXT).unwrap();
    let one = descriptor(MANIFEST, Digest::of(b"x"), 1);
    let index = json!({"schemaVersion": 2, "manifests": [one]});
    fs::write(dir.path().join(INDEX), render(&index).unwrap()).unwrap();
    let store = Store::create(dir.path()).unwrap();
    assert_eq!(store.entries().unwrap().len(), 1);
}
