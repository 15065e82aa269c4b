//! From the start of the mount command to the first answer of the mount.

use super::pass;
use super::{Metric, Op, Sample, Unit, needs_mount};
use crate::bench::bed::{Access, Bed, Cold};
use crate::bench::failure::Result;
use crate::bench::peers::Peer;
use std::os::fd::AsFd;
use std::time::Instant;

/// Mounts and looks at one file.
pub struct Mount;

static METRICS: [Metric; 1] = [Metric {
    name: "mount",
    unit: Unit::Seconds,
    about: "from the start of the mount command to the first lstat of a file",
}];

impl Op for Mount {
    fn metrics(&self) -> &[Metric] {
        &METRICS
    }

    fn skips(&self, peer: &Peer, _: Cold) -> Option<&'static str> {
        needs_mount(peer)
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Read)?;
        let start = Instant::now();
        let done = pass::stat(live.root.as_fd(), &bed.work.names[..1])?;
        Ok(vec![Sample {
            metric: 0,
            value: (live.took + start.elapsed()).as_secs_f64(),
            check: done.check,
        }])
    }
}
