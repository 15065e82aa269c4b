//! The operations: what is measured, on one mounted peer at a time.
//!
//! An operation mounts the peer as it needs it, does the same work on each, times it, and gives
//! a check value of what it saw, which must be the one that a plain directory gives.

mod copyup;
mod large;
mod mount;
mod nodes;
mod pass;
mod read;
mod write;

use super::bed::{Bed, Cold};
use super::failure::Result;
use super::peers::{How, Peer};
use super::stats::Better;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What a sample counts.
    pub unit: Unit,
    /// What is done.
    pub about: &'static str,
}

/// What a sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things done in a second.
    PerSecond,
    /// Bytes in a second.
    BytesPerSecond,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// What a greater number means.
    pub fn better(self) -> Better {
        match self {
            Unit::PerSecond | Unit::BytesPerSecond => Better::Higher,
            Unit::Seconds | Unit::Bytes => Better::Lower,
        }
    }

    /// Its name in the results.
    pub fn name(self) -> &'static str {
        match self {
            Unit::PerSecond => "1/s",
            Unit::BytesPerSecond => "B/s",
            Unit::Seconds => "s",
            Unit::Bytes => "B",
        }
    }
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Which row: a place in [`Op::metrics`].
    pub metric: usize,
    /// The number, in the metric's unit.
    pub value: f64,
    /// What was seen, folded into a number; the same for all peers.
    pub check: u64,
}

/// An operation.
pub trait Op: Sync {
    /// What one run of it measures.
    fn metrics(&self) -> &[Metric];

    /// Why this peer has no part in it.
    fn skips(&self, peer: &Peer, cold: Cold) -> Option<&'static str>;

    /// True if it is the same at every depth, and so is done at one only.
    fn once(&self) -> bool {
        false
    }

    /// Runs it.
    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>>;
}

/// All operations, in the order of the table.
pub fn all() -> Vec<&'static dyn Op> {
    let mut ops: Vec<&'static dyn Op> = Vec::new();
    ops.extend(read::OPS.iter().map(|o| o as &dyn Op));
    ops.push(&large::Large);
    ops.extend(write::OPS.iter().map(|o| o as &dyn Op));
    ops.push(&copyup::Small);
    ops.push(&copyup::Large);
    ops.push(&mount::Mount);
    ops.push(&nodes::Nodes);
    ops
}

/// A peer that only stands for the merged tree has nothing to mount, and no process.
fn needs_mount(peer: &Peer) -> Option<&'static str> {
    (peer.how == How::Plain).then_some("a plain directory is not mounted")
}
