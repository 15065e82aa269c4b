//! The benchmark: layer stacking measured against everything a user would pick instead.
//!
//! One tree is cut into stacks of several depths ([`cut`]); every [`peers::Peer`] mounts each, and
//! every [`ops::Op`] runs on each mount, interleaved and in random order ([`runner`]). A benchmark
//! is a claim, so:
//!
//! * caches are in the state that a row says, looked at ([`cold`]), not assumed;
//! * all peers do the same work, and what they saw is compared with a plain directory;
//! * a peer that fails shows its error and no number;
//! * no number is without its spread, and a difference within the spread is called that ([`stats`]);
//! * what was made and mounted is gone at the end, also after ctrl-C and after an error.

mod bed;
pub mod cold;
pub mod compare;
pub mod cut;
pub mod document;
pub mod failure;
mod fixture;
pub mod images;
pub mod latency;
pub mod machine;
pub mod manifest;
pub mod ops;
pub mod peers;
pub mod report;
pub mod results;
pub mod rng;
mod runner;
pub mod scratch;
pub mod stats;
pub mod table;
pub mod transfer;
pub mod tree;
pub mod variant;
mod work;
pub mod worker;

pub use failure::{Failure, Result};

use bed::Cold;
use cut::Stack;
use failure::Step;
use fixture::Fixtures;
use images::Images;
use machine::Machine;
use manifest::Manifest;
use ops::Op;
use results::{Column, Results};
use runner::Runner;
use scratch::Scratch;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use variant::Variant;
use work::Work;

/// What the user wants measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Depths of the stacks.
    pub layers: Vec<usize>,
    /// Regular files in the generated tree.
    pub files: usize,
    /// A real tree to cut instead.
    pub tree: Option<RealTree>,
    /// Names of peers; empty for all that are found.
    pub peers: Vec<String>,
    /// Further peers, `NAME=COMMAND`.
    pub extra_peers: Vec<String>,
    /// Names of metrics, or beginnings of them; empty for all.
    pub ops: Vec<String>,
    /// What the stacks have in abundance.
    pub variant: Variant,
    /// How many threads, and processes, work at once.
    pub threads: Vec<usize>,
    /// How often everything is measured.
    pub rounds: usize,
    /// When no more is measured, whatever is missing.
    pub max_time: Option<Duration>,
    /// The same seed chooses the same tree, layers, files and order.
    pub seed: u64,
    /// Size of the large file in bytes.
    pub large: u64,
    /// Files looked up to measure memory.
    pub nodes: usize,
    /// Seconds after which a peer's mount is aborted.
    pub limit: u64,
    /// Where the scratch directory is made.
    pub scratch: PathBuf,
    /// The program whose `mount` command is measured as Vellum.
    pub vellum: PathBuf,
    /// Show on stderr how far it is.
    pub progress: bool,
}

/// A tree that is there, and is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RealTree {
    /// A directory.
    Dir(PathBuf),
    /// What an image of a store shows.
    Image(images::Stored),
}

impl std::fmt::Display for RealTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RealTree::Dir(dir) => dir.display().fmt(f),
            RealTree::Image(stored) => f.write_str(&stored.name),
        }
    }
}

/// What a run gives.
#[derive(Clone, Debug)]
pub struct Report {
    /// The samples.
    pub results: Results,
    /// What they were measured on.
    pub machine: Machine,
}

/// What can be measured, and on whom, here.
pub fn list(options: &Options) -> Result<String> {
    let mut out = String::from("Operations:\n");
    for op in ops::all(&options.threads) {
        for m in op.metrics() {
            out.push_str(&format!("  {:<20} {}\n", m.name, m.about));
        }
    }
    let found = peers::select(&options.peers, &options.extra_peers, &options.vellum)?;
    out.push_str("\nPeers:\n");
    for peer in &found.peers {
        out.push_str(&format!("  {:<24} {}\n", peer.name, peer.command()));
    }
    for what in found.left_out {
        out.push_str(&format!("  left out: {what}\n"));
    }
    Ok(out)
}

/// Measures. Signals to stop are noticed once [`crate::sys::interrupt::install`] was called.
pub fn run(options: &Options) -> Result<Report> {
    let begun = Instant::now();
    let mut selection = peers::select(&options.peers, &options.extra_peers, &options.vellum)?;
    let cold = match cold::may_drop() {
        true => Cold::Drop,
        false => {
            let why = "cold rows without root: a fresh mount only; what is beneath may be warm";
            selection.left_out.push(why.into());
            Cold::Remount
        }
    };
    let mut results = Results {
        left_out: selection.left_out,
        peers: selection.peers.iter().map(column).collect(),
        ..Results::default()
    };
    if options.layers.is_empty() || options.rounds == 0 {
        return Err(Failure::new("nothing to measure: no depth, or no round"));
    }
    let ops = choose(options, &mut results)?;
    let scratch = Scratch::new(&options.scratch)?;
    let machine = Machine::here(scratch.path());
    let source = source(options, &scratch)?;
    let manifest = Manifest::read(&source)?;
    let work = Work::new(&manifest, options.seed)?;
    let bare = selection.peers.iter().any(|p| !p.knows_marks());
    let tree = (source.as_path(), &manifest);
    let stacks = stacks(options, &scratch, tree, bare, &mut results)?;
    let before = fingerprints(&stacks)?;
    let fixtures = Fixtures::new(
        &scratch,
        &source,
        &work.unpack,
        options.seed,
        options.large,
        options.nodes,
    );
    let images = Images::new(&scratch);
    let runner = Runner {
        options,
        peers: &selection.peers,
        ops: &ops,
        stacks: &stacks,
        source: &source,
        manifest: &manifest,
        work: &work,
        fixtures: &fixtures,
        images: &images,
        scratch: &scratch,
        cold,
        begun,
    };
    runner.run(&mut results)?;
    if !results.interrupted {
        compare(&stacks, &before, &mut results)?;
        let changed = images.changed();
        let paths = changed.iter().map(|p| p.display().to_string());
        results.broken_layers.extend(paths);
    }
    Ok(Report { results, machine })
}

fn column(peer: &peers::Peer) -> Column {
    Column {
        name: peer.name.clone(),
        command: peer.command(),
        version: peer.version.clone(),
        ours: peer.is_ours(),
    }
}

/// The operations that have one of the wanted metrics, with the place of their first metric.
fn choose(options: &Options, results: &mut Results) -> Result<Vec<(usize, Box<dyn Op>)>> {
    let all = ops::all(&options.threads);
    let wanted = &options.ops;
    let names: Vec<String> = all
        .iter()
        .flat_map(|o| o.metrics())
        .map(|m| m.name.to_string())
        .collect();
    for want in wanted {
        if !names.iter().any(|n| n.starts_with(want.as_str())) {
            let there = names.join(", ");
            return Err(Failure::new(format!(
                "no operation {want:?}; there are {there}"
            )));
        }
    }
    let mut chosen = Vec::new();
    for op in all {
        let hit = |w: &String| op.metrics().iter().any(|m| m.name.starts_with(w.as_str()));
        if wanted.is_empty() || wanted.iter().any(hit) {
            let first = results.metrics.len();
            results.metrics.extend_from_slice(op.metrics());
            chosen.push((first, op));
        }
    }
    Ok(chosen)
}

/// The merged tree: generated, or copied, so that nothing of the user's is ever touched.
fn source(options: &Options, scratch: &Scratch) -> Result<PathBuf> {
    match &options.tree {
        None => {
            let dir = scratch.dir("tree")?;
            tree::generate(&dir, options.files, options.variant.shape(), options.seed)?;
            Ok(dir)
        }
        Some(RealTree::Dir(from)) => {
            let to = scratch.path().join("tree");
            transfer::tree(from, &Manifest::read(from)?, &to)?;
            Ok(to)
        }
        Some(RealTree::Image(stored)) => {
            let to = scratch.path().join("tree");
            let limit = Duration::from_secs(options.limit);
            let mounted = images::mount(stored, &options.vellum, scratch, limit)
                .step(format_args!("mount the image {}", stored.name))?;
            transfer::tree(mounted.path(), &Manifest::read(mounted.path())?, &to)?;
            Ok(to)
        }
    }
}

fn stacks(
    options: &Options,
    scratch: &Scratch,
    (source, manifest): (&Path, &Manifest),
    bare: bool,
    results: &mut Results,
) -> Result<Vec<Stack>> {
    let mix = options.variant.mix();
    let mut stacks = Vec::new();
    for depth in &options.layers {
        let out = scratch.dir(&format!("stack-of-{depth}"))?;
        let mut stack = cut::cut(source, manifest, *depth, (mix, options.seed), &out)?;
        if bare {
            let out = scratch.dir(&format!("bare-stack-of-{depth}"))?;
            let how = (mix.without_marks(), options.seed);
            stack.bare = cut::cut(source, manifest, *depth, how, &out)?.layers;
        }
        results.stacks.push(format!(
            "{depth} layer{}: {} entries, {} shadowed files, {} whiteouts, {} opaque directories",
            if *depth == 1 { "" } else { "s" },
            manifest.entries.len(),
            stack.shadowed,
            stack.whiteouts,
            stack.opaque
        ));
        stacks.push(stack);
    }
    rustix::fs::syncfs(manifest::open(scratch.path())?)?;
    for tree in every_layer(&stacks).map(PathBuf::as_path).chain([source]) {
        if !cold::read_in(tree)? {
            let why =
                "pages beneath as reading brings them: they stay in memory as they were written";
            results.left_out.push(why.into());
            break;
        }
    }
    Ok(stacks)
}

fn fingerprints(stacks: &[Stack]) -> Result<Vec<u64>> {
    every_layer(stacks).map(|l| fingerprint(l)).collect()
}

fn every_layer(stacks: &[Stack]) -> impl Iterator<Item = &PathBuf> {
    stacks.iter().flat_map(|s| s.layers.iter().chain(&s.bare))
}

/// Says which layers are not what they were.
fn compare(stacks: &[Stack], before: &[u64], results: &mut Results) -> Result<()> {
    for (layer, before) in every_layer(stacks).zip(before) {
        if fingerprint(layer)? != *before {
            results.broken_layers.push(layer.display().to_string());
        }
    }
    Ok(())
}

/// Changes when anything in a layer does: every write to a file moves its ctime.
pub fn fingerprint(layer: &Path) -> Result<u64> {
    let manifest = Manifest::read(layer)?;
    let fd = manifest::open(layer)?;
    let mut hasher = DefaultHasher::new();
    for entry in &manifest.entries {
        let st = rustix::fs::statat(&fd, &*entry.path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .at("stat in", layer)?;
        (&entry.path, st.st_mode, st.st_ino, st.st_nlink, st.st_size).hash(&mut hasher);
        (st.st_ctime, st.st_ctime_nsec).hash(&mut hasher);
    }
    Ok(hasher.finish())
}
