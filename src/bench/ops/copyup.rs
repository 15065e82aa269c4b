//! Copy-up: the first change of a file that only a layer has.

use super::pass;
use super::{Depths, Metric, Op, Sample, Unit, large, needs_mount};
use crate::bench::bed::{Access, Bed, Live};
use crate::bench::failure::{Failure, Result, Step, go_on};
use crate::bench::fixture::LARGE;
use crate::bench::latency::Watch;
use rustix::fs::{AtFlags, Mode, OFlags};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Of small files, one byte appended to each.
pub struct Small;

static SMALL: [Metric; 1] = [Metric::rate(
    "copyup-small",
    "append one byte to small files of the layers",
)];

/// Of one large file, its first byte written, while another thread looks names up.
pub struct Large;

static LARGE_METRICS: [Metric; 3] = [
    Metric::new(
        "copyup-large",
        Unit::BytesPerSecond,
        "write one byte into a large file of the lowest layer",
    ),
    Metric::new(
        "copyup-first-write",
        Unit::Seconds,
        "from the open of that file to the end of its first write",
    ),
    Metric::new(
        "copyup-stall",
        Unit::Seconds,
        "the longest lookup of another name meanwhile",
    ),
];

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

    fn access(&self) -> Access {
        Access::Write
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Write)?;
        let root = live.root.as_fd();
        let mut watch = Watch::on(bed.work.change.len());
        let start = Instant::now();
        for name in &bed.work.change {
            go_on()?;
            watch.time(|| change(root, name, OFlags::APPEND))?;
        }
        let time = start.elapsed();
        let done = pass::read_files(root, &bed.work.change, &mut Watch::off())?;
        Ok(vec![Sample::rate(0, done, time).with(watch.latency())])
    }
}

impl Op for Large {
    fn metrics(&self) -> &[Metric] {
        &LARGE_METRICS
    }

    fn access(&self) -> Access {
        Access::Write
    }

    fn depths(&self) -> Depths {
        Depths::Ends
    }

    fn skips(&self, bed: &Bed<'_>) -> Option<&'static str> {
        needs_mount(bed.peer)
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let layer = bed.fixtures.large()?;
        let live = bed.mount_layers(&large::layers(bed)?, layer, Access::Write)?;
        let (copied, stall) = beside(&live)?;
        let root = live.root.as_fd();
        let st = rustix::fs::statat(root, LARGE, AtFlags::empty())?;
        let size = bed.fixtures.large_size();
        if u64::try_from(st.st_size) != Ok(size) {
            return Err(Failure::new(format!(
                "{} bytes after copy-up, not {size}",
                st.st_size
            )));
        }
        let fd = pass::open(root, LARGE)?;
        let check = pass::read_all(&fd, &mut vec![0; 128 << 10])?;
        let seconds = copied.as_secs_f64();
        Ok(vec![
            Sample::new(0, size as f64 / seconds, check),
            Sample::new(1, seconds, 0),
            Sample::new(2, stall.as_secs_f64(), 0),
        ])
    }
}

/// Copies the large file up while a second thread looks names up, each for the first time, so that no cache
/// answers. Gives the time that the first took, and the longest that the second waited.
fn beside(live: &Live) -> Result<(Duration, Duration)> {
    let root = live.root.as_fd();
    let (ready, over) = (Barrier::new(2), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            ready.wait();
            for i in 0_u64.. {
                let name = format!("never-asked-for-{i}");
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let start = Instant::now();
                let found = rustix::fs::statat(root, &name, AtFlags::SYMLINK_NOFOLLOW);
                longest = longest.max(start.elapsed());
                match found {
                    Err(rustix::io::Errno::NOENT) => {}
                    Ok(_) => return Err(Failure::new(format!("{name} exists and must not"))),
                    Err(e) => return Err(e).step(format_args!("lstat {name} meanwhile")),
                }
            }
            Ok(longest)
        });
        ready.wait();
        let start = Instant::now();
        let changed = change(root, LARGE, OFlags::empty());
        let time = start.elapsed();
        over.store(true, Ordering::Relaxed);
        let longest = looking
            .join()
            .map_err(|_| Failure::new("the thread that looks names up panicked"))?;
        changed?;
        Ok((time, longest?))
    })
}
