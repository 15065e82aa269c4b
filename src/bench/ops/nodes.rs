//! Memory that many looked-up files cost the process that serves them.

use super::pass;
use super::{Metric, Op, Sample, Unit};
use crate::bench::bed::{Access, Bed, Cold};
use crate::bench::failure::Result;
use crate::bench::peers::Peer;
use std::os::fd::AsFd;

/// Looks up many files.
pub struct Nodes;

static METRICS: [Metric; 2] = [
    Metric {
        name: "rss",
        unit: Unit::Bytes,
        about: "resident memory of the daemon when --nodes files were looked up (8 layers)",
    },
    Metric {
        name: "rss-growth",
        unit: Unit::Bytes,
        about: "how much of that came by looking them up",
    },
];

impl Op for Nodes {
    fn metrics(&self) -> &[Metric] {
        &METRICS
    }

    fn skips(&self, peer: &Peer, _: Cold) -> Option<&'static str> {
        (!peer.is_fuse()).then_some("no process serves it")
    }

    fn once(&self) -> bool {
        true
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let (layers, names) = bed.fixtures.nodes()?;
        let live = bed.mount_layers(layers, bed.source, Access::Read)?;
        let before = live.mounted.resident()?;
        let done = pass::stat(live.root.as_fd(), names)?;
        live.mounted.settle();
        let after = live.mounted.resident()?;
        let sample = |metric, bytes: u64| Sample {
            metric,
            value: bytes as f64,
            check: done.check,
        };
        Ok(vec![
            sample(0, after),
            sample(1, after.saturating_sub(before)),
        ])
    }
}
