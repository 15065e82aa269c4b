//! Operations that look: each once cold, right after a fresh mount, then warm.

use super::pass::{self, Done};
use super::{Metric, Op, Sample};
use crate::bench::bed::{Access, Bed, Cold};
use crate::bench::failure::{Failure, Result, go_on};
use crate::bench::latency::Watch;
use crate::bench::peers::How;
use crate::bench::work::Work;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// A warm pass is repeated until this much time is over: a short one says nothing.
const WARM: Duration = Duration::from_millis(100);

/// Untimed passes before: the kernel moves pages to its list of active ones when they are used for the second or
/// third time, and those of a plain file system were used before.
const BEFORE: usize = 3;

/// An operation that is a pass over the tree.
pub struct Look {
    metrics: [Metric; 2],
    /// What is to be cold.
    names: fn(&Work) -> &[CString],
    pass: fn(BorrowedFd<'_>, &Work, &mut Watch) -> Result<Done>,
}

/// All of them.
pub fn all() -> Vec<Look> {
    let look = |cold: [&'static str; 2], warm: [&'static str; 2], names, pass| Look {
        metrics: [
            Metric::rate(cold[0], cold[1]),
            Metric::rate(warm[0], warm[1]),
        ],
        names,
        pass,
    };
    vec![
        look(
            ["lookup-cold", "lstat of every name, nothing cached"],
            ["stat-warm", "lstat of every name, once more"],
            |w| &w.names,
            |root, w, watch| pass::stat(root, &w.names, watch),
        ),
        look(
            [
                "negative-cold",
                "lstat of names that do not exist, nothing cached",
            ],
            [
                "negative-warm",
                "lstat of names that do not exist, once more",
            ],
            |w| &w.names,
            |root, w, watch| pass::absent(root, &w.absent, watch),
        ),
        look(
            [
                "readdir-cold",
                "every directory opened and listed, nothing cached; entries",
            ],
            ["readdir-warm", "every directory listed once more; entries"],
            |w| &w.dirs,
            |root, w, watch| pass::list(root, &w.dirs, watch),
        ),
        look(
            [
                "find-cold",
                "find -ls: entries listed and lstated, nothing cached",
            ],
            ["find-warm", "find -ls once more"],
            |w| &w.names,
            |root, _, _| pass::find(root),
        ),
        look(
            ["open-cold", "open and close of every file, nothing cached"],
            ["open-warm", "open and close of every file once more"],
            |w| &w.files,
            |root, w, watch| pass::open_close(root, &w.files, watch),
        ),
        look(
            [
                "read-cold",
                "open, read whole, close every file; names cold, pages beneath cached",
            ],
            ["read-warm", "open, read whole, close every file once more"],
            |w| &w.files,
            |root, w, watch| pass::read_files(root, &w.files, watch),
        ),
        // in a tree with programs and libraries, most of the time above goes into copying those
        look(
            [
                "read-small-cold",
                "the same of files of at most 128 KiB; names cold, pages beneath cached",
            ],
            [
                "read-small-warm",
                "open, read whole, close files of at most 128 KiB once more",
            ],
            |w| &w.small,
            |root, w, watch| pass::read_files(root, &w.small, watch),
        ),
    ]
}

impl Op for Look {
    fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    fn access(&self) -> Access {
        Access::Read
    }

    fn skips(&self, bed: &Bed<'_>) -> Option<&'static str> {
        plain_and_warm(bed).or_else(|| {
            (self.names)(bed.work)
                .is_empty()
                .then_some("the tree has no such file")
        })
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Read)?;
        bed.chill(&live, (self.names)(bed.work))?;
        let root = live.root.as_fd();
        let mut watch = Watch::on(bed.work.names.len());
        let start = Instant::now();
        let cold = (self.pass)(root, bed.work, &mut watch)?;
        let cold = Sample::rate(0, cold, start.elapsed()).with(watch.latency());
        live.mounted.settle();
        let warm = self.warm(root, bed.work)?;
        if warm.check != cold.check {
            return Err(Failure::new(
                "the warm pass saw something else than the cold one",
            ));
        }
        Ok(vec![cold, warm])
    }
}

/// Why the cold rows cannot be had of a plain directory.
pub fn plain_and_warm(bed: &Bed<'_>) -> Option<&'static str> {
    (bed.peer.how == How::Plain && bed.cold == Cold::Remount)
        .then_some("only root can make a plain directory's names cold")
}

impl Look {
    /// Repeats the pass; some go before, untimed, for what the cold one did not leave behind
    /// (negative entries, listings), and one after, in which single calls are timed.
    fn warm(&self, root: BorrowedFd<'_>, work: &Work) -> Result<Sample> {
        let off = &mut Watch::off();
        let mut first = (self.pass)(root, work, off)?;
        for _ in 1..BEFORE {
            go_on()?;
            first = (self.pass)(root, work, off)?;
        }
        let mut total = Done {
            count: 0,
            check: first.check,
        };
        let start = Instant::now();
        while start.elapsed() < WARM {
            go_on()?;
            let done = (self.pass)(root, work, off)?;
            if done != first {
                return Err(Failure::new("two warm passes saw different things"));
            }
            total.count += done.count;
        }
        let time = start.elapsed();
        let mut watch = Watch::on(work.names.len());
        (self.pass)(root, work, &mut watch)?;
        Ok(Sample::rate(1, total, time).with(watch.latency()))
    }
}
