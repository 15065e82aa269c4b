//! The operations: what is measured, on one mounted peer at a time.
//!
//! An operation mounts the peer as it needs it, does the same work on each, times it, and gives
//! a check value of what it saw, which must be the one that a plain directory gives.

mod copyup;
mod fan;
mod large;
mod mount;
mod nodes;
pub mod pass;
mod read;
mod tree;
mod write;

use super::bed::{Access, Bed};
use super::failure::Result;
use super::latency::Latency;
use super::peers::{How, Peer};
use super::stats::Better;
use pass::Done;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What a sample counts.
    pub unit: Unit,
    /// What is done.
    pub about: Cow<'static, str>,
}

impl Metric {
    /// One with a name and words that are known beforehand.
    pub const fn new(name: &'static str, unit: Unit, about: &'static str) -> Metric {
        Metric {
            name: Cow::Borrowed(name),
            unit,
            about: Cow::Borrowed(about),
        }
    }

    /// A rate of things done.
    pub const fn rate(name: &'static str, about: &'static str) -> Metric {
        Metric::new(name, Unit::PerSecond, about)
    }
}

/// What a sample counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Things done in a second.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Bytes in a second.
    #[serde(rename = "B/s")]
    BytesPerSecond,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Bytes.
    #[serde(rename = "B")]
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
}

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Which row: a place in [`Op::metrics`].
    pub metric: usize,
    /// The number, in the metric's unit.
    pub value: f64,
    /// What was seen, folded into a number; the same for all peers.
    pub check: u64,
    /// How long single calls took, where that was looked at.
    pub latency: Option<Latency>,
}

impl Sample {
    /// Without the times of single calls.
    pub fn new(metric: usize, value: f64, check: u64) -> Sample {
        Sample {
            metric,
            value,
            check,
            latency: None,
        }
    }

    /// A rate of things done.
    pub fn rate(metric: usize, done: Done, time: Duration) -> Sample {
        Sample::new(metric, done.count as f64 / time.as_secs_f64(), done.check)
    }

    /// With them.
    #[must_use]
    pub fn with(mut self, latency: Option<Latency>) -> Sample {
        self.latency = latency;
        self
    }
}

/// At which depths an operation is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depths {
    /// At all.
    All,
    /// At the first and the last: what is measured hardly depends on it.
    Ends,
    /// At one of its own.
    Own(usize),
}

/// An operation.
pub trait Op: Sync {
    /// What one run of it measures.
    fn metrics(&self) -> &[Metric];

    /// Whether it changes the tree: a peer that copies nothing up has no part in it then.
    fn access(&self) -> Access;

    /// Why this peer has no part in it.
    fn skips(&self, _bed: &Bed<'_>) -> Option<&'static str> {
        None
    }

    /// Where it is measured.
    fn depths(&self) -> Depths {
        Depths::All
    }

    /// Runs it.
    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>>;
}

/// All operations, in the order of the table; `threads` are the numbers for the fan-out.
pub fn all(threads: &[usize]) -> Vec<Box<dyn Op>> {
    let mut ops: Vec<Box<dyn Op>> = Vec::new();
    ops.extend(read::all().into_iter().map(boxed));
    ops.extend(threads.iter().map(|n| boxed(fan::Fan::new(*n))));
    ops.extend(large::all().into_iter().map(boxed));
    ops.extend(tree::all().into_iter().map(boxed));
    ops.extend(write::all().into_iter().map(boxed));
    ops.push(boxed(copyup::Small));
    ops.push(boxed(copyup::Large));
    ops.push(boxed(mount::Mount));
    ops.push(boxed(nodes::Nodes));
    ops
}

fn boxed<O: Op + 'static>(op: O) -> Box<dyn Op> {
    Box::new(op)
}

/// A peer that only stands for the merged tree has nothing to mount, and no process.
fn needs_mount(peer: &Peer) -> Option<&'static str> {
    (peer.how == How::Plain).then_some("a plain directory is not mounted")
}
