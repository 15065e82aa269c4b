//! Reading a large file that lies in the lowest layer: in order and at random, by read(2) and through
//! memory; with its pages on disk only (cold), cached beneath (first touch), and read before (warm).

use super::pass::{self, PAGE, fold};
use super::{Depths, Metric, Op, Sample, Unit};
use crate::bench::bed::{Access, Bed, Live};
use crate::bench::cold;
use crate::bench::failure::{Failure, Result, Step, go_on};
use crate::bench::fixture::LARGE;
use crate::bench::latency::Watch;
use crate::bench::worker::{Answer, Job, Random, Worker};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Instant;

/// What `cp` and `cat` read at once.
const READ: usize = 128 << 10;
/// Pages that are read at random.
const PAGES: usize = 4096;

/// How it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct How {
    name: &'static str,
    about: &'static str,
    random: bool,
    mapped: bool,
}

const HOWS: [How; 4] = [
    How {
        name: "large-read",
        about: "a large file in blocks of 128 KiB",
        random: false,
        mapped: false,
    },
    How {
        name: "large-mmap",
        about: "a large file mapped, its pages touched in order",
        random: false,
        mapped: true,
    },
    How {
        name: "large-rand",
        about: "4 KiB at random places of a large file; reads",
        random: true,
        mapped: false,
    },
    How {
        name: "large-rand-mmap",
        about: "a large file mapped, pages touched at random; pages",
        random: true,
        mapped: true,
    },
];

/// Its pages not in memory.
pub struct Evicted {
    how: How,
    metrics: [Metric; 1],
}

/// First touch, then warm.
pub struct Cached {
    how: How,
    metrics: [Metric; 2],
}

/// All of them.
pub fn all() -> Vec<Either> {
    let mut all = Vec::new();
    for how in HOWS {
        let metric = |state: &str, about: &str| Metric {
            name: Cow::Owned(format!("{}-{state}", how.name)),
            unit: match how.random {
                true => Unit::PerSecond,
                false => Unit::BytesPerSecond,
            },
            about: Cow::Owned(format!("{}; {about}", how.about)),
        };
        all.push(Either::Evicted(Evicted {
            how,
            metrics: [metric("cold", "its pages are not in memory")],
        }));
        all.push(Either::Cached(Cached {
            how,
            metrics: [
                metric("first", "its pages are cached beneath"),
                metric("warm", "once more"),
            ],
        }));
    }
    all
}

/// One of the two.
pub enum Either {
    /// Its pages not in memory.
    Evicted(Evicted),
    /// In memory.
    Cached(Cached),
}

/// The stack with the large file's layer in the place of the lowest.
pub fn layers(bed: &Bed<'_>) -> Result<Vec<PathBuf>> {
    let mut layers = bed.layers().to_vec();
    layers.pop();
    layers.push(bed.fixtures.large()?.to_owned());
    Ok(layers)
}

impl Op for Either {
    fn metrics(&self) -> &[Metric] {
        match self {
            Either::Evicted(e) => &e.metrics,
            Either::Cached(c) => &c.metrics,
        }
    }

    fn access(&self) -> Access {
        Access::Read
    }

    fn depths(&self) -> Depths {
        Depths::Ends
    }

    fn skips(&self, bed: &Bed<'_>) -> Option<&'static str> {
        let keeps = matches!(self, Either::Evicted(_)) && !bed.fixtures.evictable();
        keeps.then_some(
            "the file system beneath keeps pages in memory, or the kernel cannot tell (Linux 6.5)",
        )
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let layer = bed.fixtures.large()?;
        let live = bed.mount_layers(&layers(bed)?, layer, Access::Read)?;
        // the lookup is not what is measured
        pass::stat(live.root.as_fd(), &[LARGE.to_owned()], &mut Watch::off())?;
        let files = bed.beneath(layer, LARGE)?;
        let (how, passes) = match self {
            Either::Evicted(e) => {
                for file in &files {
                    if !cold::evict(file)? {
                        let name = file.display();
                        return Err(Failure::new(format!("{name}: pages stay in memory")));
                    }
                }
                (e.how, 1)
            }
            Either::Cached(c) => {
                for file in &files {
                    cold::load_pages(file)?;
                }
                (c.how, 2)
            }
        };
        let answers = how.passes(bed, &live, passes)?;
        if answers.len() != passes {
            return Err(Failure::new("a pass without an answer"));
        }
        let sample = |(i, a): (usize, Answer)| {
            Sample::new(i, a.done.count as f64 / a.seconds, a.done.check).with(a.latency)
        };
        Ok(answers.into_iter().enumerate().map(sample).collect())
    }
}

impl How {
    fn passes(&self, bed: &Bed<'_>, live: &Live, passes: usize) -> Result<Vec<Answer>> {
        let random = self.random.then_some(Random {
            pages: PAGES,
            seed: bed.fixtures.seed(),
        });
        if self.mapped {
            let file = live
                .mounted
                .path()
                .join(OsStr::from_bytes(LARGE.to_bytes()));
            let job = Job::Map {
                file,
                random,
                passes,
            };
            let mut worker = Worker::start(bed.vellum, &job)?;
            worker.go()?;
            return worker.answer();
        }
        let size = bed.fixtures.large_size();
        (0..passes).map(|_| read(live, random, size)).collect()
    }
}

fn read(live: &Live, random: Option<Random>, size: u64) -> Result<Answer> {
    let mut done = pass::Done::default();
    let start = Instant::now();
    let fd = pass::open(live.root.as_fd(), LARGE)?;
    let Some(random) = random else {
        done.check = pass::read_all(&fd, &mut vec![0; READ])?;
        done.count = usize::try_from(size).map_err(Failure::new)?;
        drop(fd);
        return Ok(Answer {
            done,
            seconds: start.elapsed().as_secs_f64(),
            latency: None,
        });
    };
    let places = random.places(size);
    let mut watch = Watch::on(places.len());
    let mut page = [0u8; PAGE];
    let start = Instant::now();
    for at in places {
        go_on()?;
        let n = watch
            .time(|| rustix::io::pread(&fd, &mut page, at))
            .step("pread")?;
        done.check = fold(done.check, &page[..n]);
        done.count += 1;
    }
    Ok(Answer {
        done,
        seconds: start.elapsed().as_secs_f64(),
        latency: watch.latency(),
    })
}
