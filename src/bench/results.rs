//! What a run found: the samples of every row, depth and peer, and what went wrong.

use super::ops::Metric;
use super::stats::Summary;
use std::collections::BTreeMap;

/// The samples of one metric of one peer at one depth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Round and value, in the order of measuring.
    pub samples: Vec<(usize, f64)>,
    /// Why runs failed. A cell with failures shows them and no number.
    pub failures: Vec<String>,
    /// Why the peer has no part in it.
    pub skipped: Option<&'static str>,
}

impl Cell {
    /// The summary, unless a run failed.
    pub fn summary(&self) -> Option<Summary> {
        let values: Vec<f64> = self.samples.iter().map(|(_, v)| *v).collect();
        match self.failures.is_empty() {
            true => Summary::of(&values),
            false => None,
        }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
