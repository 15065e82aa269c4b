//! Memory that many looked-up files cost the process that serves them.

use super::pass;
use super::{Depths, Metric, Op, Sample, Unit};
use crate::bench::bed::{Access, Bed};
use crate::bench::failure::Result;
use crate::bench::fixture::NODE_LAYERS;
use crate::bench::latency::Watch;
use std::os::fd::AsFd;

/// Looks up many files.
pub struct Nodes;

static METRICS: [Metric; 2] = [
    Metric::new(
        "rss",
        Unit::Bytes,
        "resident memory of the daemon when --nodes files were looked up (8 layers)",
    ),
    Metric::new(
        "rss-growth",
        Unit::Bytes,
        "how much of that came by looking them up",
    ),
];

impl Op for Nodes {
    fn metrics(&self) -> &[Metric] {
        &METRICS
    }

    fn access(&self) -> Access {
        Access::Read
    }

    fn skips(&self, bed: &Bed<'_>) -> Option<&'static str> {
        (!bed.peer.is_fuse()).then_some("no process serves it")
    }

    fn depths(&self) -> Depths {
        Depths::Own(NODE_LAYERS)
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let (layers, names) = bed.fixtures.nodes()?;
        let live = bed.mount_layers(layers, bed.source, Access::Read)?;
        let before = live.mounted.resident()?;
        let done = pass::stat(live.root.as_fd(), names, &mut Watch::off())?;
        live.mounted.settle();
        let after = live.mounted.resident()?;
        let growth = after.saturating_sub(before);
        Ok(vec![
            Sample::new(0, after as f64, done.check),
            Sample::new(1, growth as f64, done.check),
        ])
    }
}
