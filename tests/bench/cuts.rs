//! A cut tree, merged, is the tree.

use super::helpers::*;
use super::live;

#[test]
fn a_cut_tree_merged_by_the_kernel_is_the_tree() {
    if !live::may_mount() {
        return;
    }
    let s = scratch();
    let source = s.dir("source").unwrap();
    odd_tree(&source);
    let manifest = Manifest::read(&source).unwrap();
    let want = dump(&source);
    for depth in [1, 2, 9, 40] {
        let out = s.dir("stack").unwrap();
        let stack = cut(&source, &manifest, depth, (Mix::USUAL, 3), &out).unwrap();
        assert_eq!(stack.layers.len(), depth);
        if depth > 1 {
            assert!(stack.shadowed > 5 && stack.whiteouts > 5, "{stack:?}");
        }
        let at = places(&s, &stack.layers);
        let mounted = overlayfs().mount(&at, Duration::from_secs(30)).unwrap();
        let got = dump(mounted.path());
        assert_eq!(got.len(), want.len(), "at {depth} layers");
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got, want, "at {depth} layers");
        }
    }
}

#[test]
fn the_comparison_sees_a_wrong_cut() {
    if !live::may_mount() {
        return;
    }
    let s = scratch();
    let source = s.dir("source").unwrap();
    odd_tree(&source);
    let stack = cut(
        &source,
        &Manifest::read(&source).unwrap(),
        9,
        (Mix::USUAL, 3),
        &s.dir("stack").unwrap(),
    )
    .unwrap();
    // without one whiteout, a deleted file is there again
    let whiteout = stack
        .layers
        .iter()
        .flat_map(|l| {
            let entries = Manifest::read(l).unwrap().entries;
            let chars = entries
                .into_iter()
                .filter(|e| e.kind == vellum::vfs::Kind::CharDev);
            chars
                .map(|e| l.join(std::ffi::OsStr::from_bytes(&e.path)))
                .collect::<Vec<_>>()
        })
        .next()
        .expect("the stack has whiteouts");
    fs::remove_file(&whiteout).unwrap();
    let at = places(&s, &stack.layers);
    let mounted = overlayfs().mount(&at, Duration::from_secs(30)).unwrap();
    assert_ne!(dump(mounted.path()), dump(&source));
}

#[test]
fn opaque_directories_are_cut_too() {
    if !live::may_mount() {
        return;
    }
    let s = scratch();
    let source = s.dir("source").unwrap();
    tree::generate(&source, 1500, Shape::Usual, 7).unwrap();
    let stack = cut(
        &source,
        &Manifest::read(&source).unwrap(),
        40,
        (Mix::USUAL, 3),
        &s.dir("stack").unwrap(),
    )
    .unwrap();
    assert!(stack.opaque > 0, "{stack:?}");
    let at = places(&s, &stack.layers);
    let mounted = overlayfs().mount(&at, Duration::from_secs(30)).unwrap();
    assert_eq!(dump(mounted.path()), dump(&source));
}

#[test]
fn the_same_seed_makes_the_same_tree_and_cut() {
    let s = scratch();
    let make = |seed| {
        let source = s.dir("source").unwrap();
        tree::generate(&source, 100, Shape::Usual, seed).unwrap();
        let names = |p: &Path| {
            let entries = Manifest::read(p).unwrap().entries;
            entries
                .into_iter()
                .map(|e| (e.path, e.size))
                .collect::<Vec<_>>()
        };
        let stack = cut(
            &source,
            &Manifest::read(&source).unwrap(),
            5,
            (Mix::USUAL, seed),
            &s.dir("st").unwrap(),
        )
        .unwrap();
        let layers: Vec<_> = stack.layers.iter().map(|l| names(l)).collect();
        (names(&source), layers)
    };
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
}

#[test]
fn a_fingerprint_sees_every_change_of_a_layer() {
    let s = scratch();
    let dir = s.dir("layer").unwrap();
    odd_tree(&dir);
    let before = fingerprint(&dir).unwrap();
    assert_eq!(before, fingerprint(&dir).unwrap());
    let file = dir.join("odd/first");
    let times = fs::metadata(&file).unwrap();
    let data = fs::read(&file).unwrap();
    fs::write(&file, &data).unwrap(); // the same bytes, the same length
    let same = fs::File::options().write(true).open(&file).unwrap();
    same.set_modified(times.modified().unwrap()).unwrap();
    assert_ne!(before, fingerprint(&dir).unwrap());
}

#[test]
fn every_variant_is_cut_into_the_same_tree() {
    if !live::may_mount() {
        return;
    }
    let s = scratch();
    for variant in [
        Variant::Shadowed,
        Variant::Whiteouts,
        Variant::Deep,
        Variant::Wide,
    ] {
        let source = s.dir("source").unwrap();
        tree::generate(&source, 300, variant.shape(), 7).unwrap();
        let manifest = Manifest::read(&source).unwrap();
        let out = s.dir("stack").unwrap();
        let stack = cut(&source, &manifest, 9, (variant.mix(), 3), &out).unwrap();
        let files = manifest.of(vellum::vfs::Kind::File);
        let levels =
            |e: &vellum::bench::manifest::Entry| e.path.iter().filter(|b| **b == b'/').count();
        let deepest = files.map(levels).max().unwrap();
        match variant {
            Variant::Shadowed => assert!(stack.shadowed > 150, "{stack:?}"),
            Variant::Whiteouts => assert!(stack.whiteouts > 300, "{stack:?}"),
            Variant::Deep => assert!(deepest > 30, "{deepest}"),
            _ => assert!(fs::read_dir(source.join("var/lib/wide")).unwrap().count() > 100),
        }
        let at = places(&s, &stack.layers);
        let mounted = overlayfs().mount(&at, Duration::from_secs(30)).unwrap();
        assert_eq!(dump(mounted.path()), dump(&source), "{variant:?}");
    }
}

/// The stack of a cut tree, as an image, shows the tree: whiteouts and opaque directories hide what they
/// hide, and attributes are those of the files.
#[test]
fn a_cut_tree_stored_as_an_image_is_the_tree() {
    if !live::may_mount() {
        return;
    }
    let s = scratch();
    let source = s.dir("source").unwrap();
    odd_tree(&source);
    let manifest = Manifest::read(&source).unwrap();
    let images = Images::new(&s);
    for depth in [1, 9, 500] {
        let out = s.dir("stack").unwrap();
        let stack = cut(&source, &manifest, depth, (Mix::USUAL, 3), &out).unwrap();
        let stored = images.of(&stack.layers).unwrap();
        assert_eq!(stored, images.of(&stack.layers).unwrap());
        let vellum = Path::new(env!("CARGO_BIN_EXE_vellum"));
        let limit = Duration::from_secs(60);
        let mounted = vellum::bench::images::mount(&stored, vellum, &s, limit).unwrap();
        let (got, want) = (dump(mounted.path()), dump(&source));
        assert_eq!(got.len(), want.len(), "at {depth} layers");
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got, want, "at {depth} layers");
        }
    }
    assert_eq!(images.changed(), Vec::<PathBuf>::new());
    let layer = images.contents(&s.path().join("stack-1/0")).unwrap();
    fs::File::options()
        .append(true)
        .open(&layer[0])
        .unwrap()
        .set_len(0)
        .unwrap();
    assert_eq!(images.changed().len(), 1);
}

#[test]
fn a_tree_with_links_and_modes_is_copied_whole() {
    let s = scratch();
    let source = s.dir("source").unwrap();
    odd_tree(&source);
    let to = s.path().join("copy");
    transfer::tree(&source, &Manifest::read(&source).unwrap(), &to).unwrap();
    assert_eq!(dump(&source), dump(&to));
    let ino = |p: &str| fs::metadata(to.join(p)).unwrap().ino();
    assert_eq!(ino("odd/first"), ino("usr/second"));
}
