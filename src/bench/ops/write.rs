//! Operations that change the tree, each on a fresh mount with an empty upper.

use super::pass::{self, Done};
use super::read::rate;
use super::{Metric, Op, Sample, Unit};
use crate::bench::bed::{Access, Bed, Cold, Live};
use crate::bench::failure::{Failure, Result, Step, go_on};
use crate::bench::fixture::run;
use crate::bench::peers::Peer;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Files made by `create`.
const CREATED: usize = 1000;
/// In so many new directories.
const CREATED_DIRS: usize = 10;
/// Bytes in each.
const CREATED_SIZE: usize = 4096;

/// An operation on a writable mount, that says what it did and how long it took.
pub struct Change {
    metric: [Metric; 1],
    run: fn(&Bed<'_>, &Live) -> Result<(Done, Duration)>,
}

const fn metric(name: &'static str, about: &'static str) -> [Metric; 1] {
    [Metric {
        name,
        unit: Unit::PerSecond,
        about,
    }]
}

/// All of them.
pub static OPS: [Change; 4] = [
    Change {
        metric: metric(
            "untar",
            "tar -x of a part of the tree into a new directory; entries",
        ),
        run: untar,
    },
    Change {
        metric: metric("create", "create, write 4 KiB, close in new directories"),
        run: create,
    },
    Change {
        metric: metric("unlink", "unlink of files all over the layers"),
        run: unlink,
    },
    Change {
        metric: metric(
            "rm-rf",
            "rm -rf of a directory that many layers have; entries",
        ),
        run: rm_rf,
    },
];

impl Op for Change {
    fn metrics(&self) -> &[Metric] {
        &self.metric
    }

    fn skips(&self, _: &Peer, _: Cold) -> Option<&'static str> {
        None
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Write)?;
        let (done, time) = (self.run)(bed, &live)?;
        Ok(vec![rate(0, done, time)])
    }
}

fn untar(bed: &Bed<'_>, live: &Live) -> Result<(Done, Duration)> {
    let archive = bed.fixtures.archive()?;
    let into = live.mounted.path().join("bench-untar");
    std::fs::create_dir(&into).at("mkdir", &into)?;
    let mut command = Command::new("tar");
    command.arg("-xf").arg(archive).arg("-C").arg(&into);
    let start = Instant::now();
    run(&mut command)?;
    let time = start.elapsed();
    let check = check_new(live, c"bench-untar")?;
    let count = bed.fixtures.archived();
    Ok((Done { count, check }, time))
}

/// Folds what is in a new directory.
fn check_new(live: &Live, name: &CStr) -> Result<u64> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir =
        rustix::fs::openat(&live.root, name, flags, Mode::empty()).step("open what is new")?;
    Ok(pass::find(dir.as_fd())?.check)
}

fn create(_: &Bed<'_>, live: &Live) -> Result<(Done, Duration)> {
    let names: Vec<CString> = (0..CREATED)
        .map(|i| CString::new(format!("bench-new/{}/file-{i}", i % CREATED_DIRS)))
        .collect::<std::result::Result<_, _>>()
        .map_err(Failure::new)?;
    let mode = Mode::from_raw_mode(0o755);
    let data = [b'v'; CREATED_SIZE];
    let start = Instant::now();
    rustix::fs::mkdirat(&live.root, c"bench-new", mode).step("mkdir")?;
    for i in 0..CREATED_DIRS {
        rustix::fs::mkdirat(&live.root, format!("bench-new/{i}"), mode).step("mkdir")?;
    }
    for name in &names {
        go_on()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let fd = rustix::fs::openat(&live.root, name.as_c_str(), flags, mode)
            .step(format_args!("create {name:?}"))?;
        let n = rustix::io::write(&fd, &data).step(format_args!("write {name:?}"))?;
        if n != data.len() {
            return Err(Failure::new(format!("a short write to {name:?}")));
        }
    }
    let time = start.elapsed();
    let check = check_new(live, c"bench-new")?;
    Ok((
        Done {
            count: CREATED,
            check,
        },
        time,
    ))
}

fn unlink(bed: &Bed<'_>, live: &Live) -> Result<(Done, Duration)> {
    let names = &bed.work.unlink;
    let start = Instant::now();
    for name in names {
        go_on()?;
        rustix::fs::unlinkat(&live.root, name.as_c_str(), AtFlags::empty())
            .step(format_args!("unlink {name:?}"))?;
    }
    let time = start.elapsed();
    let check = pass::absent(live.root.as_fd(), names)?.check;
    Ok((
        Done {
            count: names.len(),
            check,
        },
        time,
    ))
}

fn rm_rf(bed: &Bed<'_>, live: &Live) -> Result<(Done, Duration)> {
    let Some((name, count)) = &bed.work.remove else {
        return Err(Failure::new("the tree has no directory to remove"));
    };
    let path = live.mounted.path().join(OsStr::from_bytes(name.to_bytes()));
    let mut command = Command::new("rm");
    command.arg("-rf").arg(&path);
    let start = Instant::now();
    run(&mut command)?;
    let time = start.elapsed();
    match rustix::fs::statat(&live.root, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Ok(_) => return Err(Failure::new("rm -rf left the directory")),
        Err(e) => return Err(e).step("lstat what was removed"),
    }
    let check = pass::find(live.root.as_fd())?.check;
    Ok((
        Done {
            count: *count,
            check,
        },
        time,
    ))
}
