//! Reading a large file that lies in the lowest layer and in the page cache beneath.

use super::pass;
use super::{Metric, Op, Sample, Unit};
use crate::bench::bed::{Access, Bed, Cold};
use crate::bench::cold;
use crate::bench::failure::Result;
use crate::bench::fixture::LARGE;
use crate::bench::peers::Peer;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

/// What `cp` and `cat` read at once.
const READ: usize = 128 << 10;

/// First touch, then warm.
pub struct Large;

static METRICS: [Metric; 2] = [
    Metric {
        name: "large-first",
        unit: Unit::BytesPerSecond,
        about: "first read of a large file whose pages are cached beneath",
    },
    Metric {
        name: "large-warm",
        unit: Unit::BytesPerSecond,
        about: "the same file once more",
    },
];

/// The stack with the large file's layer in the place of the lowest.
pub fn layers(bed: &Bed<'_>) -> Result<Vec<PathBuf>> {
    let mut layers = bed.stack.layers.clone();
    layers.pop();
    layers.push(bed.fixtures.large()?.to_owned());
    Ok(layers)
}

impl Op for Large {
    fn metrics(&self) -> &[Metric] {
        &METRICS
    }

    fn skips(&self, _: &Peer, _: Cold) -> Option<&'static str> {
        None
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let layer = bed.fixtures.large()?;
        let live = bed.mount_layers(&layers(bed)?, layer, Access::Read)?;
        for file in bed.beneath(layer, LARGE)? {
            cold::load_pages(&file)?;
        }
        // the lookup is not what is measured
        pass::stat(live.root.as_fd(), &[LARGE.to_owned()])?;
        let mut buf = vec![0u8; READ];
        let mut samples = Vec::new();
        for metric in 0..2 {
            let start = Instant::now();
            let fd = pass::open(live.root.as_fd(), LARGE)?;
            let check = pass::read_all(&fd, &mut buf)?;
            drop(fd);
            let seconds = start.elapsed().as_secs_f64();
            samples.push(Sample {
                metric,
                value: bed.fixtures.large_size() as f64 / seconds,
                check,
            });
        }
        Ok(samples)
    }
}
