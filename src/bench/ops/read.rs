//! Operations that look: each once cold, right after a fresh mount, then warm.

use super::pass::{self, Done};
use super::{Metric, Op, Sample, Unit};
use crate::bench::bed::{Access, Bed, Cold};
use crate::bench::failure::{Failure, Result, go_on};
use crate::bench::peers::{How, Peer};
use crate::bench::work::Work;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A warm pass is repeated until this much time is over: a short one says nothing.
const WARM: Duration = Duration::from_millis(60);

/// An operation that is a pass over the tree.
pub struct Look {
    metrics: [Metric; 2],
    names: fn(&Work) -> &[CString],
    pass: fn(BorrowedFd<'_>, &Work) -> Result<Done>,
}

const fn metric(name: &'static str, about: &'static str) -> Metric {
    Metric {
        name,
        unit: Unit::PerSecond,
        about,
    }
}

/// All of them.
pub static OPS: [Look; 4] = [
    Look {
        metrics: [
            metric("lookup-cold", "lstat of every name, nothing cached"),
            metric("stat-warm", "lstat of every name, once more"),
        ],
        names: |w| &w.names,
        pass: |root, w| pass::stat(root, &w.names),
    },
    Look {
        metrics: [
            metric(
                "negative-cold",
                "lstat of names that do not exist, nothing cached",
            ),
            metric(
                "negative-warm",
                "lstat of names that do not exist, once more",
            ),
        ],
        names: |w| &w.names,
        pass: |root, w| pass::absent(root, &w.absent),
    },
    Look {
        metrics: [
            metric(
                "find-cold",
                "find -ls: entries listed and lstated, nothing cached",
            ),
            metric("find-warm", "find -ls once more"),
        ],
        names: |w| &w.names,
        pass: |root, _| pass::find(root),
    },
    Look {
        metrics: [
            metric(
                "read-cold",
                "open, read whole, close every file; names cold, pages beneath cached",
            ),
            metric("read-warm", "open, read whole, close every file once more"),
        ],
        names: |w| &w.files,
        pass: |root, w| pass::read_files(root, &w.files),
    },
];

impl Op for Look {
    fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    fn skips(&self, peer: &Peer, cold: Cold) -> Option<&'static str> {
        (peer.how == How::Plain && cold == Cold::Remount)
            .then_some("only root can make a plain directory's names cold")
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Read)?;
        bed.chill(&live, (self.names)(bed.work))?;
        let root = live.root.as_fd();
        let start = Instant::now();
        let cold = (self.pass)(root, bed.work)?;
        let cold_time = start.elapsed();
        live.mounted.settle();
        let (warm, warm_time) = self.warm(root, bed.work, cold)?;
        Ok(vec![rate(0, cold, cold_time), rate(1, warm, warm_time)])
    }
}

impl Look {
    /// Repeats the pass; one goes before, untimed, for what the cold one did not leave behind
    /// (negative entries, listings).
    fn warm(&self, root: BorrowedFd<'_>, work: &Work, cold: Done) -> Result<(Done, Duration)> {
        (self.pass)(root, work)?;
        let mut total = Done { count: 0, ..cold };
        let start = Instant::now();
        loop {
            go_on()?;
            let done = (self.pass)(root, work)?;
            if done != cold {
                return Err(Failure::new(
                    "the warm pass saw something else than the cold one",
                ));
            }
            total.count += done.count;
            if start.elapsed() >= WARM {
                return Ok((total, start.elapsed()));
            }
        }
    }
}

/// A rate of things done.
pub fn rate(metric: usize, done: Done, time: Duration) -> Sample {
    Sample {
        metric,
        value: done.count as f64 / time.as_secs_f64(),
        check: done.check,
    }
}
