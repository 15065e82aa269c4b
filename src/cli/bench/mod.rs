//! `vellum bench`.

mod compare;
mod report;

use super::store::StoreArgs;
use crate::bench::document::{self, Document};
use crate::bench::images::Stored;
use crate::bench::variant::Variant;
use crate::bench::{self, Failure, Options, RealTree, Report};
use clap::{Args, Subcommand, ValueHint};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Measure layer stacking: this program beside its rivals
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Examples:
  # everything that is found here, on a generated tree
  vellum bench --out results

  # an image of the store, under five depths
  vellum bench --tree debian:12 --layers 1,8,32,100,500

  # a real root file system, two operations, another program beside the others
  vellum bench --tree /srv/debian --ops find,mount --peer 'mine=my-overlay -o lowerdir={lower},upperdir={upper},workdir={work} {mnt}'

  # what another version changed
  vellum bench --out before; vellum-new bench --out after
  vellum bench compare before after

Exit code 1: a peer failed an operation, or a layer changed; the table says which.")]
pub struct Bench {
    #[command(subcommand)]
    command: Option<Command>,

    /// Depths of the stacks
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1,8,32,100"
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4000))]
    layers: Vec<u16>,

    /// Regular files in the generated tree
    #[arg(long, value_name = "N", default_value_t = 5000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    files: u32,

    /// What to cut into layers instead of a generated tree: a directory, or an image of the store;
    /// it is copied, never changed
    #[arg(long, value_name = "DIR|IMAGE", value_hint = ValueHint::DirPath)]
    tree: Option<PathBuf>,

    #[command(flatten)]
    store: StoreArgs,

    /// Whom to measure: names as --list shows them, fuse-overlayfs for all of its versions, the path of a
    /// fuse-overlayfs, defaults for all that are found but without their best options, or auto for all
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "auto"
    )]
    peers: Vec<String>,

    /// Another program that mounts; {lower}, {upper}, {work} and {mnt} are replaced, and without
    /// any of them -o lowerdir=...,upperdir=...,workdir=... MOUNTPOINT is added
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    extra: Vec<String>,

    /// What to measure: names of rows or beginnings of them, as in find,lookup-cold,rm
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    ops: Vec<String>,

    /// What the stacks have in abundance
    #[arg(long, value_name = "KIND", default_value = "mixed")]
    #[arg(value_parser = ["mixed", "shadowed", "whiteouts", "deep", "wide"])]
    variant: String,

    /// How many threads, and then processes, work at once
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "1,2"
    )]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Vec<u16>,

    /// Stop after so many minutes, with what there is
    #[arg(long, value_name = "MINUTES")]
    max_time: Option<f64>,

    /// Show what can be measured here, and on whom, and measure nothing
    #[arg(long)]
    list: bool,

    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,

    /// Directory for results.json, table.txt, report.html and its plots
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: Option<PathBuf>,

    /// The same seed makes the same tree, layers and order
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// Size of the large file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    large: u32,

    /// Files looked up to measure memory
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    nodes: u32,

    /// Seconds after which a peer that hangs is aborted
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,

    /// Where layers and mounts are made for the time of the run; the default is $TMPDIR or /tmp
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    scratch: Option<PathBuf>,

    /// Do not show how far it is
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    Compare(compare::Compare),
    Report(report::Report),
    /// A process of the benchmark's own
    #[command(hide = true)]
    Worker,
}

impl Bench {
    /// Measures, and writes the results.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Some(Command::Compare(compare)) => compare.run(),
            Some(Command::Report(report)) => report.run(),
            Some(Command::Worker) => bench::worker::serve().map(|()| ExitCode::SUCCESS),
            None if self.list => self
                .options()
                .and_then(|o| bench::list(&o))
                .map(|t| super::print(&t)),
            None => self.measure(),
        };
        match done {
            Ok(code) => code,
            Err(e) => {
                eprintln!("vellum: bench: {e}");
                ExitCode::FAILURE
            }
        }
    }

    fn measure(self) -> bench::Result<ExitCode> {
        if let Some(out) = &self.out {
            fs::create_dir_all(out)?; // not after an hour of measuring
        }
        let out = self.out.clone();
        let options = self.options()?;
        crate::sys::interrupt::install()?;
        let report = bench::run(&options)?;
        let text = bench::table::render(&report.results);
        let printed = super::print(&text);
        if let Some(out) = out {
            write(&out, &text, &report, &options)?;
        }
        Ok(
            match (report.results.interrupted, report.results.has_failures()) {
                (true, _) => ExitCode::from(INTERRUPTED),
                (false, true) => ExitCode::FAILURE,
                (false, false) => printed,
            },
        )
    }

    fn options(self) -> bench::Result<Options> {
        let variant: Variant =
            serde_json::from_value(self.variant.clone().into()).map_err(Failure::new)?;
        if self.tree.is_some() && variant.is_a_tree() {
            let why = format!(
                "--variant {} is a generated tree: no --tree with it",
                self.variant
            );
            return Err(Failure::new(why));
        }
        let max_time = self.max_time.map(|m| Duration::try_from_secs_f64(m * 60.0));
        let max_time = max_time
            .transpose()
            .map_err(|e| Failure::new(format!("--max-time: {e}")))?;
        let usize_of = |n: u32| usize::try_from(n).map_err(Failure::new);
        Ok(Options {
            layers: distinct(self.layers.into_iter().map(usize::from)),
            files: usize_of(self.files)?,
            tree: self.tree.map(|t| real_tree(t, &self.store)).transpose()?,
            peers: self.peers.into_iter().filter(|p| p != "auto").collect(),
            extra_peers: self.extra,
            ops: self.ops,
            variant,
            threads: distinct(self.threads.into_iter().map(usize::from)),
            max_time,
            rounds: usize::from(self.rounds),
            seed: self.seed,
            large: u64::from(self.large) << 20,
            nodes: usize_of(self.nodes)?,
            limit: self.limit,
            scratch: self.scratch.unwrap_or_else(std::env::temp_dir),
            vellum: std::env::current_exe()?,
            progress: !self.quiet,
        })
    }
}

/// A directory of that name, else an image.
fn real_tree(name: PathBuf, store: &StoreArgs) -> bench::Result<RealTree> {
    if name.is_dir() {
        return Ok(RealTree::Dir(name));
    }
    let what = name.display().to_string();
    let store = store
        .open()
        .map_err(|e| Failure::new(format!("--tree {what}: no directory, and {e}")))?;
    store.resolve(&what)?;
    let root = store.root().to_owned();
    Ok(RealTree::Image(Stored { root, name: what }))
}

/// What shells give for SIGINT.
const INTERRUPTED: u8 = 130;

/// A depth given twice is measured once.
fn distinct(layers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut all: Vec<usize> = layers.collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn write(out: &Path, text: &str, report: &Report, options: &Options) -> bench::Result<()> {
    let document = Document::of(report, options);
    let json = document.render()?;
    for (name, data) in [(document::NAME, json.as_str()), ("table.txt", text)] {
        fs::write(out.join(name), data)
            .map_err(|e| Failure::new(format!("{}: {e}", out.join(name).display())))?;
    }
    bench::report::write(&document, out)
}
