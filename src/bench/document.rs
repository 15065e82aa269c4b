//! `results.json`: everything that a later run needs to be compared with this one, and that the report
//! is made of.

use super::failure::{Failure, Result, Step};
use super::latency::{Latency, QUANTILES};
use super::machine::Machine;
use super::ops::Unit;
use super::results::{Cell, Column, Results, Taken, usual};
use super::stats::Summary;
use super::variant::Variant;
use super::{Options, Report};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Version of the format; it grows when a reader of the old one would misread the new.
pub const FORMAT: u32 = 1;

/// The name of the file in the directory of a run.
pub const NAME: &str = "results.json";

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the program that measured.
    pub vellum: String,
    /// When, in seconds since the epoch.
    pub time: u64,
    /// On what.
    pub machine: Machine,
    /// What was asked for.
    pub options: Asked,
    /// On whom.
    pub peers: Vec<Column>,
    /// What each stack had, in words.
    pub stacks: Vec<String>,
    /// The quantiles that latencies are given at.
    #[serde(default)]
    pub latency_quantiles: Vec<f64>,
    /// What was found.
    pub results: Vec<Row>,
    /// What was not measured, and why.
    pub left_out: Vec<String>,
    /// Layers that changed although nobody may change them.
    pub broken_layers: Vec<String>,
    /// True if the user stopped it.
    pub interrupted: bool,
}

/// The options that say what was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Depths of the stacks.
    pub layers: Vec<usize>,
    /// Files in the generated tree.
    pub files: usize,
    /// The real tree, if there was one.
    pub tree: Option<String>,
    /// What the stacks had in abundance.
    #[serde(default)]
    pub variant: Variant,
    /// Threads, and processes, at once.
    #[serde(default)]
    pub threads: Vec<usize>,
    /// How often everything was measured.
    pub rounds: usize,
    /// What chose all that is random.
    pub seed: u64,
    /// Size of the large file in bytes.
    pub large: u64,
    /// Files looked up to measure memory.
    pub nodes: usize,
    /// Names of operations, if not all.
    pub ops: Vec<String>,
}

/// What was found of one peer at one depth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The name of the metric.
    pub metric: String,
    /// What was done.
    #[serde(default)]
    pub about: String,
    /// What a sample counts.
    pub unit: Unit,
    /// The depth.
    pub layers: usize,
    /// The name of the peer.
    pub peer: String,
    /// Raw.
    pub samples: Vec<Taken>,
    /// The summary of the samples, unless the peer failed.
    pub summary: Option<Summary>,
    /// Why it failed.
    pub failures: Vec<String>,
    /// Why it was not measured.
    pub skipped: Option<String>,
}

impl Document {
    /// Of a run that is over.
    pub fn of(report: &Report, options: &Options) -> Document {
        let results = &report.results;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs());
        Document {
            format: FORMAT,
            vellum: env!("CARGO_PKG_VERSION").to_owned(),
            time: now,
            machine: report.machine.clone(),
            options: Asked::of(options),
            peers: results.peers.clone(),
            stacks: results.stacks.clone(),
            latency_quantiles: QUANTILES.to_vec(),
            results: rows(results),
            left_out: results.left_out.clone(),
            broken_layers: results.broken_layers.clone(),
            interrupted: results.interrupted,
        }
    }

    /// Reads the file of a run, given it or its directory.
    pub fn read(path: &Path) -> Result<Document> {
        let file = match path.is_dir() {
            true => path.join(NAME),
            false => path.to_owned(),
        };
        let text = fs::read(&file).at("read", &file)?;
        let document: Document = serde_json::from_slice(&text)
            .map_err(Failure::new)
            .at("results of vellum bench are expected:", &file)?;
        match document.format {
            FORMAT => Ok(document),
            other => Err(Failure::new(format!(
                "{}: it has format {other}, and this program knows format {FORMAT}",
                file.display()
            ))),
        }
    }

    /// As text.
    pub fn render(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(Failure::new)
    }

    /// The names of the metrics, in the order of the table.
    pub fn metrics(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for row in &self.results {
            if !names.contains(&row.metric.as_str()) {
                names.push(&row.metric);
            }
        }
        names
    }

    /// The row of a metric, a depth and a peer.
    pub fn row(&self, metric: &str, layers: usize, peer: &str) -> Option<&Row> {
        let same = |r: &&Row| r.metric == metric && r.layers == layers && r.peer == peer;
        self.results.iter().find(same)
    }
}

impl Asked {
    fn of(options: &Options) -> Asked {
        Asked {
            layers: options.layers.clone(),
            files: options.files,
            tree: options.tree.as_ref().map(ToString::to_string),
            variant: options.variant,
            threads: options.threads.clone(),
            rounds: options.rounds,
            seed: options.seed,
            large: options.large,
            nodes: options.nodes,
            ops: options.ops.clone(),
        }
    }
}

impl Row {
    /// How long calls took in a usual round.
    pub fn latency(&self) -> Option<Latency> {
        match self.failures.is_empty() {
            true => usual(&self.samples),
            false => None,
        }
    }
}

fn rows(results: &Results) -> Vec<Row> {
    let row = |((metric, depth, peer), cell): (&(usize, usize, usize), &Cell)| {
        let m = &results.metrics[*metric];
        Row {
            metric: m.name.to_string(),
            about: m.about.to_string(),
            unit: m.unit,
            layers: *depth,
            peer: results.peers[*peer].name.clone(),
            samples: cell.samples.clone(),
            summary: cell.summary(),
            failures: cell.failures.clone(),
            skipped: cell.skipped.clone(),
        }
    };
    results.cells.iter().map(row).collect()
}
