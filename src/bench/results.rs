//! What a run found: the samples of every row, depth and peer, and what went wrong.

use super::latency::{Latency, QUANTILES};
use super::ops::Metric;
use super::stats::Summary;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The samples of one metric of one peer at one depth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// In the order of measuring.
    pub samples: Vec<Taken>,
    /// Why runs failed. A cell with failures shows them and no number.
    pub failures: Vec<String>,
    /// Why the peer has no part in it.
    pub skipped: Option<String>,
}

/// One sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// In which round.
    pub round: usize,
    /// The number, in the metric's unit.
    pub value: f64,
    /// How long single calls took, where that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

impl Cell {
    /// The summary, unless a run failed.
    pub fn summary(&self) -> Option<Summary> {
        let values: Vec<f64> = self.samples.iter().map(|s| s.value).collect();
        match self.failures.is_empty() {
            true => Summary::of(&values),
            false => None,
        }
    }

    /// The medians of the samples' quantiles: how long calls took in a usual round.
    pub fn latency(&self) -> Option<Latency> {
        if !self.failures.is_empty() {
            return None;
        }
        usual(&self.samples)
    }
}

/// The medians of the samples' quantiles.
pub fn usual(samples: &[Taken]) -> Option<Latency> {
    let all: Vec<&Latency> = samples.iter().filter_map(|s| s.latency.as_ref()).collect();
    let median = |i: usize| {
        let of: Vec<f64> = all.iter().filter_map(|l| l.0.get(i).copied()).collect();
        Summary::of(&of).map(|s| s.median)
    };
    let medians: Option<Vec<f64>> = (0..QUANTILES.len()).map(median).collect();
    medians.map(Latency)
}

/// Where a cell is: the metric's place in [`Results::metrics`], the depth, the peer's place.
pub type Key = (usize, usize, usize);

/// Everything that a run found.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// The rows.
    pub metrics: Vec<Metric>,
    /// The columns: name, command line, version, and whether it is ours.
    pub peers: Vec<Column>,
    /// The cells.
    pub cells: BTreeMap<Key, Cell>,
    /// What each stack had, in words.
    pub stacks: Vec<String>,
    /// Layers that changed although nobody may change them.
    pub broken_layers: Vec<String>,
    /// What was not measured, and why.
    pub left_out: Vec<String>,
    /// True if the user stopped it.
    pub interrupted: bool,
}

/// One peer, as the results tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// How it is called.
    pub command: String,
    /// What it says of its version.
    pub version: String,
    /// True for a peer of this project: rivals are compared with it.
    pub ours: bool,
}

impl Results {
    /// The cell, made if need be.
    pub fn cell(&mut self, key: Key) -> &mut Cell {
        self.cells.entry(key).or_default()
    }

    /// The depths at which a metric was measured.
    pub fn depths(&self, metric: usize) -> Vec<usize> {
        let mut depths: Vec<usize> = self
            .cells
            .keys()
            .filter(|(m, _, _)| *m == metric)
            .map(|(_, d, _)| *d)
            .collect();
        depths.dedup();
        depths
    }

    /// True if a peer failed an operation, or a layer changed.
    pub fn has_failures(&self) -> bool {
        !self.broken_layers.is_empty() || self.cells.values().any(|c| !c.failures.is_empty())
    }
}
