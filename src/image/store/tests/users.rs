//! What uses images, and keeps them.

use super::*;
use crate::image::container::Keep;

#[test]
fn a_container_keeps_its_image() {
    let bed = Bed::new();
    let a = bed.image("a");
    bed.store.tag(&name("a"), &a).unwrap();
    let image = bed.store.resolve("a").unwrap();
    let container = bed
        .store
        .make_container(Some("web"), &image, "a", &Keep::default())
        .unwrap();
    // something in the folder that is no container is nobody's
    fs::create_dir(bed.store.uppers().join("other")).unwrap();
    bed.store.untag(&name("a")).unwrap();
    for keep_nameless in [true, false] {
        assert_eq!(
            bed.store.garbage(keep_nameless).unwrap(),
            Garbage::default()
        );
    }
    let (bed, _) = bed.collect(false);
    assert!(bed.store.image(&a).unwrap().is_unpacked(&bed.store));
    bed.store.remove_container(&container).unwrap();
    let (bed, garbage) = bed.collect(false);
    assert_eq!(garbage.layers.len(), 1);
    assert!(bed.store.blobs().unwrap().is_empty());
}

#[test]
fn an_image_in_use_says_by_what() {
    let bed = Bed::new();
    let (a, b) = (bed.image("a"), bed.image("b"));
    let image = bed.store.image(&a).unwrap();
    bed.store.check_unused(image.digest).unwrap();
    let pin = bed.store.pin(&image.manifest).unwrap();
    let e = bed.store.check_unused(image.digest).unwrap_err();
    assert!(e.is(Errno::EBUSY) && e.reason().contains("mounted"), "{e}");
    bed.store
        .make_container(Some("web"), &image, "a", &Keep::default())
        .unwrap();
    let e = bed.store.check_unused(image.digest).unwrap_err();
    assert!(
        e.is(Errno::EBUSY) && e.reason().contains("container \"web\""),
        "{e}"
    );
    drop(pin);
    assert!(bed.store.check_unused(image.digest).is_err());
    let other = bed.store.image(&b).unwrap().digest;
    bed.store.check_unused(other).unwrap();
}

#[test]
fn a_container_that_cannot_be_read_stops_a_collection() {
    let bed = Bed::new();
    let a = bed.image("a");
    bed.store.keep(&a).unwrap();
    let image = bed.store.image(&a).unwrap();
    bed.store
        .make_container(Some("web"), &image, "a", &Keep::default())
        .unwrap();
    let record = bed.store.uppers().join("web/container.json");
    fs::write(&record, "{").unwrap();
    let e = bed.store.garbage(false).unwrap_err();
    assert!(e.reason().contains("container \"web\""), "{e}");
}
