//! Directories that many layers have a share of: whole, in the right order, whatever their number.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod engine;

use engine::{at, dump, names};
use std::fs;
use std::path::{Path, PathBuf};
use vellum::bench::cut::{Mix, cut};
use vellum::bench::manifest::Manifest;
use vellum::bench::tree::{self, Shape};
use vellum::overlay::{Config, Engine};

fn over(lowers: Vec<PathBuf>) -> Engine {
    Engine::open(&Config {
        lowers,
        ..Config::default()
    })
    .unwrap()
}

#[test]
fn a_tree_in_any_number_of_layers_is_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    tree::generate(&source, 800, Shape::Usual, 5).unwrap();
    let manifest = Manifest::read(&source).unwrap();
    let want = dump(&over(vec![source.clone()]));
    // a directory has up to 64 layers open at a time
    for depth in [2, 15, 16, 17, 64, 65, 150] {
        let out = dir.path().join(depth.to_string());
        let mix = Mix {
            opaque: 30,
            ..Mix::USUAL
        };
        let stack = cut(&source, &manifest, depth, (mix, 3), &out).unwrap();
        assert!(stack.shadowed > 20 && stack.whiteouts > 20, "{stack:?}");
        let got = dump(&over(stack.layers));
        let other = got.lines().zip(want.lines()).find(|(a, b)| a != b);
        assert!(got == want, "{depth} layers: {other:?}");
    }
}

/// Twenty layers, each with a file of its own in the same directory; `change` adds to the one in the middle.
fn twenty(dir: &Path, change: &dyn Fn(&Path)) -> Vec<Vec<u8>> {
    let layer = |n: usize| dir.join(format!("l{n}"));
    for n in 0..20 {
        fs::create_dir_all(layer(n).join("top/d")).unwrap();
        fs::write(layer(n).join(format!("top/d/f{n:02}")), "").unwrap();
    }
    change(&layer(10));
    let e = over((0..20).map(layer).collect());
    names(&e, at(&e, "top/d").ino)
}

fn files(numbers: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    numbers.map(|n| format!("f{n:02}").into_bytes()).collect()
}

#[test]
fn marks_in_the_middle_end_what_is_below() {
    let set = |name: &str, value: &'static [u8]| {
        let name = std::ffi::CString::new(name).unwrap();
        move |layer: &Path| {
            rustix::fs::setxattr(
                layer.join("top/d"),
                &name,
                value,
                rustix::fs::XattrFlags::empty(),
            )
            .unwrap();
        }
    };
    type Change = Box<dyn Fn(&Path)>;
    let cases: Vec<(Change, Vec<Vec<u8>>)> = vec![
        (Box::new(|_| ()), files(0..20)),
        (Box::new(set("trusted.overlay.opaque", b"y")), files(0..11)),
        (
            Box::new(|layer| fs::write(layer.join("top/d/.wh..wh..opq"), "").unwrap()),
            files(0..11),
        ),
        (
            // a file, under which no directory shows
            Box::new(|layer| {
                fs::remove_dir_all(layer.join("top/d")).unwrap();
                fs::write(layer.join("top/d"), "").unwrap();
            }),
            files(0..10),
        ),
        (
            Box::new(|layer| fs::write(layer.join("top/d/.wh.f15"), "").unwrap()),
            [files(0..15), files(16..20)].concat(),
        ),
        (
            // its lower part is where nothing is
            Box::new(set("trusted.overlay.redirect", b"/elsewhere")),
            files(0..11),
        ),
        (
            Box::new(move |layer| {
                set("trusted.overlay.redirect", b"/elsewhere")(layer);
                let below = layer.with_file_name("l12").join("elsewhere");
                fs::create_dir(&below).unwrap();
                fs::write(below.join("moved"), "").unwrap();
            }),
            [files(0..11), vec![b"moved".to_vec()]].concat(),
        ),
    ];
    for (n, (change, want)) in cases.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(twenty(dir.path(), &*change), want, "case {n}");
    }
}
