//! Copy-up: the first change of a file that only a layer has.

use super::pass;
use super::read::rate;
use super::{Metric, Op, Sample, Unit, large, needs_mount};
use crate::bench::bed::{Access, Bed, Cold};
use crate::bench::failure::{Failure, Result, Step, go_on};
use crate::bench::fixture::LARGE;
use crate::bench::peers::Peer;
use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// Of small files, one byte appended to each.
pub struct Small;

static SMALL: [Metric; 1] = [Metric {
    name: "copyup-small",
    unit: Unit::PerSecond,
    about: "append one byte to small files of the layers",
}];

/// Of one large file, its first byte written.
pub struct Large;

static LARGE_METRIC: [Metric; 1] = [Metric {
    name: "copyup-large",
    unit: Unit::BytesPerSecond,
    about: "write one byte into a large file of the lowest layer",
}];

fn change(root: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<()> {
    let flags = flags | OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(root, name, flags, Mode::empty())
        .step(format_args!("open {name:?} to write"))?;
    match rustix::io::write(&fd, b"v").step(format_args!("write {name:?}"))? {
        1 => Ok(()),
        n => Err(Failure::new(format!("wrote {n} bytes for 1 to {name:?}"))),
    }
}

impl Op for Small {
    fn metrics(&self) -> &[Metric] {
        &SMALL
    }

    fn skips(&self, _: &Peer, _: Cold) -> Option<&'static str> {
        None
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Write)?;
        let root = live.root.as_fd();
        let start = Instant::now();
        for name in &bed.work.change {
            go_on()?;
            change(root, name, OFlags::APPEND)?;
        }
        let time = start.elapsed();
        Ok(vec![rate(
            0,
            pass::read_files(root, &bed.work.change)?,
            time,
        )])
    }
}

impl Op for Large {
    fn metrics(&self) -> &[Metric] {
        &LARGE_METRIC
    }

    fn skips(&self, peer: &Peer, _: Cold) -> Option<&'static str> {
        needs_mount(peer)
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let layer = bed.fixtures.large()?;
        let live = bed.mount_layers(&large::layers(bed)?, layer, Access::Write)?;
        let root = live.root.as_fd();
        let start = Instant::now();
        change(root, LARGE, OFlags::empty())?;
        let seconds = start.elapsed().as_secs_f64();
        let st = rustix::fs::statat(root, LARGE, rustix::fs::AtFlags::empty())?;
        let size = bed.fixtures.large_size();
        if u64::try_from(st.st_size) != Ok(size) {
            return Err(Failure::new(format!(
                "{} bytes after copy-up, not {size}",
                st.st_size
            )));
        }
        Ok(vec![Sample {
            metric: 0,
            value: size as f64 / seconds,
            check: 0,
        }])
    }
}
