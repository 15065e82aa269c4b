//! From the start of the mount command to the first answer of the mount, and from the unmount to the end
//! of the process that served it.

use super::pass;
use super::{Metric, Op, Sample, Unit, needs_mount};
use crate::bench::bed::{Access, Bed};
use crate::bench::failure::Result;
use crate::bench::latency::Watch;
use std::os::fd::AsFd;
use std::time::Instant;

/// Mounts, looks at one file, unmounts.
pub struct Mount;

static METRICS: [Metric; 2] = [
    Metric::new(
        "mount",
        Unit::Seconds,
        "from the start of the mount command to the first lstat of a file",
    ),
    Metric::new(
        "unmount",
        Unit::Seconds,
        "from the unmount to the end of the process that served it",
    ),
];

impl Op for Mount {
    fn metrics(&self) -> &[Metric] {
        &METRICS
    }

    fn access(&self) -> Access {
        Access::Read
    }

    fn skips(&self, bed: &Bed<'_>) -> Option<&'static str> {
        needs_mount(bed.peer)
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Read)?;
        let start = Instant::now();
        let done = pass::stat(live.root.as_fd(), &bed.work.names[..1], &mut Watch::off())?;
        let mount = live.took + start.elapsed();
        let unmount = live.unmount()?;
        Ok(vec![
            Sample::new(0, mount.as_secs_f64(), done.check),
            Sample::new(1, unmount.as_secs_f64(), 0),
        ])
    }
}
