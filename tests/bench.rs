//! The benchmark's own promises: a cut tree is the tree again, nothing is left behind, a peer
//! that fails or lies is found out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use vellum::bench::cut::{Mix, cut};
use vellum::bench::images::Images;
use vellum::bench::manifest::Manifest;
use vellum::bench::peers::{How, Peer, Places};
use vellum::bench::scratch::{Scratch, mounts_beneath};
use vellum::bench::{
    Options, RealTree, fingerprint, results::Results, run, transfer, tree, tree::Shape,
    variant::Variant,
};

/// Runs drop the machine's caches: two at once would warm and cool each other's.
static ONE: Mutex<()> = Mutex::new(());

fn scratch() -> Scratch {
    Scratch::new(&std::env::temp_dir()).unwrap()
}

/// A tree as text: everything that a layer carries, but the times of directories, that merging
/// does not define, and directory sizes.
fn dump(root: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in Manifest::read(root).unwrap().entries {
        let path = root.join(std::ffi::OsStr::from_bytes(&entry.path));
        let m = fs::symlink_metadata(&path).unwrap();
        let (data, time) = match m.file_type() {
            t if t.is_file() => (fs::read(&path).unwrap(), m.mtime_nsec()),
            t if t.is_symlink() => {
                let target = fs::read_link(&path).unwrap();
                (target.into_os_string().as_bytes().to_vec(), m.mtime_nsec())
            }
            _ => (Vec::new(), 0),
        };
        let (mode, uid, gid) = (m.mode(), m.uid(), m.gid());
        let name = entry.path.escape_ascii();
        out.push(format!(
            "{name} {mode:o} {uid} {gid} {time} {} {}",
            data.len(),
            data.escape_ascii()
        ));
    }
    out
}

fn odd_tree(root: &Path) {
    tree::generate(root, 300, Shape::Usual, 7).unwrap();
    fs::create_dir_all(root.join("odd/empty")).unwrap();
    fs::set_permissions(root.join("odd"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(root.join("odd/first"), b"linked").unwrap();
    fs::hard_link(root.join("odd/first"), root.join("usr/second")).unwrap();
    std::os::unix::fs::chown(root.join("odd/first"), Some(1234), Some(5)).unwrap();
    fs::set_permissions(root.join("odd/first"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(root.join("odd/with space, and: colon"), b"x").unwrap();
}

fn overlayfs() -> Peer {
    Peer {
        name: "overlayfs".into(),
        how: How::Kernel(&[]),
        version: String::new(),
    }
}

fn places(scratch: &Scratch, layers: &[PathBuf]) -> Places {
    Places {
        layers: layers.to_vec(),
        upper: scratch.dir("upper").unwrap(),
        work: scratch.dir("work").unwrap(),
        mnt: scratch.dir("mnt").unwrap(),
        log: scratch.path().join("log"),
        image: None,
    }
}

#[test]
fn a_cut_tree_merged_by_the_kernel_is_the_tree() {
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

fn options(s: &Scratch, peers: &[&str], ops: &[&str]) -> Options {
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect();
    Options {
        layers: vec![1, 5],
        files: 200,
        tree: None,
        peers: words(peers),
        extra_peers: Vec::new(),
        ops: words(ops),
        variant: Variant::Mixed,
        threads: vec![2],
        max_time: None,
        rounds: 2,
        seed: 1,
        large: 3 << 20,
        nodes: 500,
        limit: 60,
        scratch: s.path().to_owned(),
        vellum: env!("CARGO_BIN_EXE_vellum").into(),
        progress: false,
    }
}

fn failures(results: &Results) -> Vec<String> {
    let all = results.cells.iter().flat_map(|((m, d, p), c)| {
        let at = format!(
            "{} {d} {}",
            results.metrics[*m].name, results.peers[*p].name
        );
        c.failures
            .iter()
            .map(move |f| format!("{at}: {f}"))
            .collect::<Vec<_>>()
    });
    all.collect()
}

fn left_behind(s: &Scratch) -> Vec<String> {
    let mut left = mounts_beneath(s.path()).unwrap();
    left.extend(
        fs::read_dir(s.path())
            .unwrap()
            .map(|e| format!("{:?}", e.unwrap().path())),
    );
    left
}

#[test]
fn every_operation_runs_on_every_peer_and_leaves_nothing() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let peers = [
        "plain",
        "overlayfs",
        "vellum",
        "vellum-passthrough",
        "vellum-image",
    ];
    let mut o = options(&s, &peers, &[]);
    o.rounds = 1;
    let report = run(&o).unwrap();
    let results = report.results;
    assert_eq!(failures(&results), Vec::<String>::new());
    assert_eq!(results.broken_layers, Vec::<String>::new());
    assert_eq!(results.peers.len(), 5);
    for (m, metric) in results.metrics.iter().enumerate() {
        let depths = results.depths(m);
        assert!(
            depths == [1, 5] || depths == [8],
            "{} at {depths:?}",
            metric.name
        );
        for p in 0..5 {
            let cell = &results.cells[&(m, depths[0], p)];
            let measured = cell.samples.len() == 1 && cell.samples.iter().all(|s| s.value > 0.0);
            // growth of so small a tree may be nothing
            assert!(
                measured || cell.skipped.is_some() || metric.name == "rss-growth",
                "{} {p}: {cell:?}",
                metric.name
            );
        }
    }
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

#[test]
fn a_peer_that_cannot_mount_fails_and_the_others_go_on() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut o = options(&s, &["overlayfs"], &["find"]);
    o.extra_peers.push("broken=ls {mnt} /does/not/exist".into());
    let results = run(&o).unwrap().results;
    let text = vellum::bench::table::render(&results);
    assert!(results.has_failures());
    assert!(
        text.contains("FAILED") && text.contains("broken at 1: mount: "),
        "{text}"
    );
    assert!(
        text.contains("/does/not/exist"),
        "the peer's own words are missing: {text}"
    );
    let good = results
        .peers
        .iter()
        .position(|p| p.name == "overlayfs")
        .unwrap();
    assert_eq!(results.cells[&(0, 5, good)].samples.len(), 2);
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

#[test]
fn a_peer_that_shows_something_else_fails() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut o = options(&s, &["overlayfs"], &["find", "lookup"]);
    o.layers = vec![5];
    o.rounds = 1;
    // a "union" that only has the upper: an empty tree, mounted fast
    o.extra_peers.push("liar=mount --bind {upper} {mnt}".into());
    let results = run(&o).unwrap().results;
    let all = failures(&results);
    assert!(
        all.iter()
            .any(|f| f.contains("find-cold 5 liar: it saw something else")),
        "{all:?}"
    );
    assert!(all.iter().all(|f| f.contains("liar")), "{all:?}");
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

#[test]
fn ctrl_c_cleans_up_and_shows_what_there_is() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vellum"))
        .args([
            "bench",
            "--files",
            "300",
            "--rounds",
            "1000",
            "--ops",
            "find,create",
            "--quiet",
        ])
        .args([
            "--layers",
            "1,4",
            "--peers",
            "overlayfs,vellum",
            "--scratch",
        ])
        .arg(s.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // in the middle of things: something is mounted
    for _ in 0..6000 {
        if !mounts_beneath(s.path()).unwrap().is_empty() {
            break;
        }
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it mounted anything"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("interrupted"), "{text}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(left_behind(&s), Vec::<String>::new());
}

#[test]
fn a_real_tree_is_copied_and_not_changed() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let (mine, inner) = (s.dir("mine").unwrap(), s.dir("inner").unwrap());
    odd_tree(&mine);
    let before = fingerprint(&mine).unwrap();
    let mut o = options(&s, &["overlayfs"], &["rm", "copyup-small"]);
    o.tree = Some(RealTree::Dir(mine.clone()));
    o.scratch = inner;
    o.rounds = 1;
    let results = run(&o).unwrap().results;
    assert_eq!(failures(&results), Vec::<String>::new());
    assert_eq!(before, fingerprint(&mine).unwrap());
}

/// The stack of a cut tree, as an image, shows the tree: whiteouts and opaque directories hide what they
/// hide, and attributes are those of the files.
#[test]
fn a_cut_tree_stored_as_an_image_is_the_tree() {
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
fn an_image_of_the_store_can_be_the_tree() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let (mine, inner) = (s.dir("mine").unwrap(), s.dir("inner").unwrap());
    odd_tree(&mine);
    let root = s.path().join("store");
    let bin = env!("CARGO_BIN_EXE_vellum");
    let bench = |tree: &str| {
        let mut command = Command::new(bin);
        command
            .args(["bench", "--quiet", "--rounds", "1", "--layers", "3"])
            .args(["--peers", "overlayfs,vellum-image", "--ops", "find"])
            .args(["--tree", tree, "--root"])
            .arg(&root)
            .arg("--scratch")
            .arg(&inner);
        command.output().unwrap()
    };
    let none = bench("mine/tree:1");
    let text = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(
        !none.status.success() && text.contains("no image store"),
        "{text}"
    );
    let import = Command::new(bin)
        .args(["import", "--root"])
        .arg(&root)
        .arg(&mine)
        .arg("mine/tree:1")
        .output()
        .unwrap();
    assert!(import.status.success(), "{import:?}");
    let done = bench("mine/tree:1");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{done:?}");
    let entries = Manifest::read(&mine).unwrap().entries.len();
    assert!(
        text.contains(&format!("3 layers: {entries} entries")),
        "{text}"
    );
    assert_eq!(left_behind(&Scratch::new(&inner).unwrap()).len(), 0);
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 0);
}

#[test]
fn the_results_are_json_with_raw_samples() {
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let out = s.path().join("out");
    let done = Command::new(env!("CARGO_BIN_EXE_vellum"))
        .args([
            "bench", "--files", "60", "--rounds", "3", "--ops", "find", "--quiet", "--seed", "9",
        ])
        .args(["--layers", "2", "--peers", "plain,overlayfs", "--scratch"])
        .arg(s.path())
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(json["format"], 1);
    assert_eq!(json["options"]["seed"], 9);
    assert!(!json["machine"]["kernel"].as_str().unwrap().is_empty());
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 4, "two metrics of two peers");
    for r in results {
        assert_eq!(r["samples"].as_array().unwrap().len(), 3);
        assert_eq!(r["layers"], 2);
        assert!(r["summary"]["median"].as_f64().unwrap() > 0.0);
    }
    let table = fs::read(out.join("table.txt")).unwrap();
    assert_eq!(table, done.stdout);
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
