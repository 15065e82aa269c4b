//! The same work by several threads, and by several processes, at once.

use super::pass::{self, Done};
use super::read::plain_and_warm;
use super::{Depths, Metric, Op, Sample, Unit};
use crate::bench::bed::{Access, Bed, Live};
use crate::bench::failure::{Failure, Result};
use crate::bench::latency::Watch;
use crate::bench::worker::{Job, Worker, write_names};
use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// So many threads, then so many processes.
pub struct Fan {
    n: usize,
    metrics: [Metric; 3],
}

impl Fan {
    /// Of `n` each.
    pub fn new(n: usize) -> Fan {
        let metric = |name: &str, about: String| Metric {
            name: Cow::Owned(format!("{name}-{n}")),
            unit: Unit::PerSecond,
            about: Cow::Owned(about),
        };
        Fan {
            n,
            metrics: [
                metric(
                    "threads-lookup",
                    format!("lstat of every name by {n} threads that share them, nothing cached"),
                ),
                metric(
                    "threads-read",
                    format!("open, read, close of every file by each of {n} threads, warm"),
                ),
                metric(
                    "processes-read",
                    format!("open, read, close of every file by each of {n} processes, warm"),
                ),
            ],
        }
    }
}

impl Op for Fan {
    fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    fn access(&self) -> Access {
        Access::Read
    }

    fn depths(&self) -> Depths {
        Depths::Ends
    }

    fn skips(&self, bed: &Bed<'_>) -> Option<&'static str> {
        plain_and_warm(bed)
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Read)?;
        bed.chill(&live, &bed.work.names)?;
        let root = live.root.as_fd();
        let shares: Vec<&[CString]> = split(&bed.work.names, self.n);
        let (done, time) = threads(&shares, |names| pass::stat(root, names, &mut Watch::off()))?;
        let cold = Sample::rate(0, done, time);
        let read = |root: BorrowedFd<'_>, names: &[CString]| {
            pass::read_files(root, names, &mut Watch::off())
        };
        read(root, &bed.work.files)?;
        let all: Vec<&[CString]> = vec![&bed.work.files; self.n];
        let (done, time) = threads(&all, |names| read(root, names))?;
        let warm = Sample::rate(1, done, time);
        Ok(vec![cold, warm, self.processes(bed, &live)?])
    }
}

impl Fan {
    fn processes(&self, bed: &Bed<'_>, live: &Live) -> Result<Sample> {
        let names = live.dir().join("names");
        write_names(&bed.work.files, &names)?;
        let job = Job::Read {
            root: live.mounted.path().to_owned(),
            names,
        };
        let mut workers = Vec::new();
        for _ in 0..self.n {
            workers.push(Worker::start(bed.vellum, &job)?);
        }
        let start = Instant::now();
        for worker in &mut workers {
            worker.go()?;
        }
        let mut total = Done::default();
        for worker in workers {
            for answer in worker.answer()? {
                total = total.and(answer.done);
            }
        }
        Ok(Sample::rate(2, total, start.elapsed()))
    }
}

/// About equal parts.
fn split(names: &[CString], n: usize) -> Vec<&[CString]> {
    names.chunks(names.len().div_ceil(n).max(1)).collect()
}

/// Runs one thread for each part; all begin at once.
fn threads(
    parts: &[&[CString]],
    work: impl Fn(&[CString]) -> Result<Done> + Sync,
) -> Result<(Done, Duration)> {
    let ready = Barrier::new(parts.len() + 1);
    std::thread::scope(|scope| {
        let (ready, work) = (&ready, &work);
        let mut running = Vec::new();
        for part in parts.iter().copied() {
            running.push(scope.spawn(move || {
                ready.wait();
                work(part)
            }));
        }
        ready.wait();
        let start = Instant::now();
        let mut total = Done::default();
        let mut failed = None;
        for thread in running {
            match thread.join() {
                Ok(Ok(done)) => total = total.and(done),
                Ok(Err(e)) => failed = Some(e),
                Err(_) => failed = Some(Failure::new("a thread panicked")),
            }
        }
        match failed {
            Some(e) => Err(e),
            None => Ok((total, start.elapsed())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_all_names_and_threads_add_up() {
        let names: Vec<CString> = (0..10)
            .map(|i| CString::new(i.to_string()).unwrap())
            .collect();
        let parts = split(&names, 3);
        assert_eq!(parts.concat(), names);
        assert_eq!(split(&names[..2], 3).len(), 2);
        let (done, _) = threads(&parts, |part| {
            Ok(Done {
                count: part.len(),
                check: 1,
            })
        })
        .unwrap();
        assert_eq!((done.count, done.check), (10, 3));
        assert!(threads(&parts, |_| Err(Failure::new("x"))).is_err());
    }
}
