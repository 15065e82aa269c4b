//! Operations that write data: a new large file, pages of one that is there, and what fsync costs.

use super::pass::{self, Done, PAGE};
use super::{Depths, Metric, Op, Sample, Unit};
use crate::bench::bed::{Access, Bed, Live};
use crate::bench::failure::{Failure, Result, Step, go_on};
use crate::bench::latency::Watch;
use crate::bench::rng::Rng;
use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

/// What `cp` and `dd bs=128k` write at once.
const WRITE: usize = 128 << 10;
/// The new file is this large at most.
const LARGEST: u64 = 64 << 20;
/// Pages written at random.
const PAGES: usize = 4096;
/// Appends that are each followed by fsync.
const SYNCS: usize = 100;

/// An operation that writes one new file.
pub struct Write {
    metric: [Metric; 1],
    run: fn(&Bed<'_>, &Live) -> Result<Vec<Sample>>,
}

/// All of them.
pub fn all() -> Vec<Write> {
    let new = |name, unit, about, run| Write {
        metric: [Metric::new(name, unit, about)],
        run,
    };
    vec![
        new(
            "write-seq",
            Unit::BytesPerSecond,
            "a new file written in blocks of 128 KiB, then fsync",
            sequential,
        ),
        new(
            "write-rand",
            Unit::PerSecond,
            "4 KiB at random places of a new file, then fsync; writes",
            random,
        ),
        new(
            "fsync",
            Unit::PerSecond,
            "4 KiB appended, then fsync",
            synced,
        ),
    ]
}

impl Op for Write {
    fn metrics(&self) -> &[Metric] {
        &self.metric
    }

    fn access(&self) -> Access {
        Access::Write
    }

    fn depths(&self) -> Depths {
        Depths::Ends
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Write)?;
        (self.run)(bed, &live)
    }
}

const NEW: &CStr = c"bench-new-file";

fn make(live: &Live) -> Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(&live.root, NEW, flags, Mode::from_raw_mode(0o644)).step("create a file")
}

fn size(bed: &Bed<'_>) -> u64 {
    bed.fixtures.large_size().min(LARGEST)
}

fn whole(written: usize, of: usize) -> Result<()> {
    match written == of {
        true => Ok(()),
        false => Err(Failure::new(format!("wrote {written} bytes of {of}"))),
    }
}

/// What the file has now.
fn check(live: &Live) -> Result<u64> {
    let fd = pass::open(live.root.as_fd(), NEW)?;
    pass::read_all(&fd, &mut vec![0; WRITE])
}

/// Writes as much as `size` says, block by block, each with another content.
fn fill(fd: &OwnedFd, size: u64) -> Result<()> {
    let mut block = vec![0u8; WRITE];
    let mut left = size;
    while left > 0 {
        go_on()?;
        let part = usize::try_from(left).map_or(WRITE, |l| l.min(WRITE));
        for page in block.chunks_mut(PAGE) {
            page[..8].copy_from_slice(&left.to_le_bytes());
        }
        whole(rustix::io::write(fd, &block[..part]).step("write")?, part)?;
        left -= part as u64;
    }
    Ok(())
}

fn sequential(bed: &Bed<'_>, live: &Live) -> Result<Vec<Sample>> {
    let size = size(bed);
    let start = Instant::now();
    let fd = make(live)?;
    fill(&fd, size)?;
    rustix::fs::fsync(&fd).step("fsync")?;
    drop(fd);
    let seconds = start.elapsed().as_secs_f64();
    Ok(vec![Sample::new(0, size as f64 / seconds, check(live)?)])
}

fn random(bed: &Bed<'_>, live: &Live) -> Result<Vec<Sample>> {
    let size = size(bed);
    let fd = make(live)?;
    fill(&fd, size)?;
    rustix::fs::fsync(&fd).step("fsync")?;
    let mut rng = Rng::new(bed.fixtures.seed(), "random writes");
    let pages = usize::try_from(size / PAGE as u64).map_err(Failure::new)?;
    let places: Vec<u64> = (0..PAGES)
        .map(|_| (rng.below(pages) * PAGE) as u64)
        .collect();
    let mut page = [0u8; PAGE];
    let mut watch = Watch::on(PAGES);
    let start = Instant::now();
    for (i, at) in places.iter().enumerate() {
        page[..8].copy_from_slice(&i.to_le_bytes());
        let n = watch
            .time(|| rustix::io::pwrite(&fd, &page, *at))
            .step("pwrite")?;
        whole(n, PAGE)?;
    }
    rustix::fs::fsync(&fd).step("fsync")?;
    let time = start.elapsed();
    drop(fd);
    let done = Done {
        count: PAGES,
        check: check(live)?,
    };
    Ok(vec![Sample::rate(0, done, time).with(watch.latency())])
}

fn synced(_: &Bed<'_>, live: &Live) -> Result<Vec<Sample>> {
    let fd = make(live)?;
    let mut page = [0u8; PAGE];
    let mut watch = Watch::on(SYNCS);
    let start = Instant::now();
    for i in 0..SYNCS {
        go_on()?;
        page[..8].copy_from_slice(&i.to_le_bytes());
        let n = watch.time(|| -> Result<usize> {
            let n = rustix::io::write(&fd, &page).step("write")?;
            rustix::fs::fsync(&fd).step("fsync")?;
            Ok(n)
        })?;
        whole(n, PAGE)?;
    }
    let time = start.elapsed();
    let done = Done {
        count: SYNCS,
        check: check(live)?,
    };
    Ok(vec![Sample::rate(0, done, time).with(watch.latency())])
}
