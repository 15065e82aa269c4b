//! Trees, scratch places, options, and looks at what a run left.

pub use std::fs;
pub use std::os::unix::ffi::OsStrExt;
pub use std::os::unix::fs::{MetadataExt, PermissionsExt};
pub use std::path::{Path, PathBuf};
pub use std::process::{Command, Stdio};
pub use std::sync::Mutex;
pub use std::time::Duration;
pub use vellum::bench::cut::{Mix, cut};
pub use vellum::bench::document::Document;
pub use vellum::bench::images::Images;
pub use vellum::bench::manifest::Manifest;
pub use vellum::bench::peers::{How, Peer, Places};
pub use vellum::bench::scratch::{Scratch, mounts_beneath};
pub use vellum::bench::tree::Shape;
pub use vellum::bench::variant::Variant;
pub use vellum::bench::worker::{Job, Worker};
pub use vellum::bench::{
    Options, RealTree, fingerprint, report, results::Results, run, transfer, tree,
};

/// Runs drop the machine's caches: two at once would warm and cool each other's.
pub static ONE: Mutex<()> = Mutex::new(());

pub fn scratch() -> Scratch {
    Scratch::new(&std::env::temp_dir()).unwrap()
}

/// A tree as text: everything that a layer carries, but the times of directories, that merging
/// does not define, and directory sizes.
pub fn dump(root: &Path) -> Vec<String> {
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

pub fn odd_tree(root: &Path) {
    tree::generate(root, 300, Shape::Usual, 7).unwrap();
    fs::create_dir_all(root.join("odd/empty")).unwrap();
    fs::set_permissions(root.join("odd"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(root.join("odd/first"), b"linked").unwrap();
    fs::hard_link(root.join("odd/first"), root.join("usr/second")).unwrap();
    std::os::unix::fs::chown(root.join("odd/first"), Some(1234), Some(5)).unwrap();
    fs::set_permissions(root.join("odd/first"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::write(root.join("odd/with space, and: colon"), b"x").unwrap();
}

pub fn overlayfs() -> Peer {
    Peer {
        name: "overlayfs".into(),
        how: How::Kernel(&[]),
        version: String::new(),
    }
}

pub fn places(scratch: &Scratch, layers: &[PathBuf]) -> Places {
    Places {
        layers: layers.to_vec(),
        upper: scratch.dir("upper").unwrap(),
        work: scratch.dir("work").unwrap(),
        mnt: scratch.dir("mnt").unwrap(),
        log: scratch.path().join("log"),
        image: None,
    }
}

pub fn options(s: &Scratch, peers: &[&str], ops: &[&str]) -> Options {
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

pub fn failures(results: &Results) -> Vec<String> {
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

pub fn left_behind(s: &Scratch) -> Vec<String> {
    let mut left = mounts_beneath(s.path()).unwrap();
    left.extend(
        fs::read_dir(s.path())
            .unwrap()
            .map(|e| format!("{:?}", e.unwrap().path())),
    );
    left
}
