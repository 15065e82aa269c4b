//! Operations that change names, owners and the like, each on a fresh mount with an empty upper.

use super::pass::{self, Done};
use super::{Metric, Op, Sample};
use crate::bench::bed::{Access, Bed, Live};
use crate::bench::failure::{Failure, Result, Step, go_on};
use crate::bench::fixture::run;
use crate::bench::latency::Watch;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Files made by `create`.
const CREATED: usize = 1000;
/// In so many new directories.
const CREATED_DIRS: usize = 10;
/// Bytes in each.
const CREATED_SIZE: usize = 4096;
/// Directories made by `mkdir` at most, one in each that is there.
const MADE_DIRS: usize = 500;
/// Whom `chown -R` gives the files to: nobody's number.
const OWNER: u32 = 54_321;

/// An operation on a writable mount, that says what it did and how long it took.
pub struct Change {
    metric: [Metric; 1],
    needs_root: bool,
    run: fn(&Bed<'_>, &Live, &mut Watch) -> Result<(Done, Duration)>,
}

/// All of them.
pub fn all() -> Vec<Change> {
    let change = |name, about, run| Change {
        metric: [Metric::rate(name, about)],
        needs_root: false,
        run,
    };
    vec![
        change(
            "untar",
            "tar -x of a part of the tree into a new directory; entries",
            untar,
        ),
        change(
            "create",
            "create, write 4 KiB, close in new directories",
            create,
        ),
        change("mkdir", "a new directory in each that is there", mkdir),
        change("rename", "rename of files all over the layers", rename),
        change("unlink", "unlink of files all over the layers", unlink),
        change(
            "rm-rf",
            "rm -rf of a directory that many layers have; entries",
            rm_rf,
        ),
        Change {
            needs_root: true,
            ..change(
                "chown-r",
                "chown -R of such a directory: attributes are copied up; entries",
                chown,
            )
        },
    ]
}

impl Op for Change {
    fn metrics(&self) -> &[Metric] {
        &self.metric
    }

    fn access(&self) -> Access {
        Access::Write
    }

    fn skips(&self, _: &Bed<'_>) -> Option<&'static str> {
        let root = rustix::process::geteuid().is_root();
        (self.needs_root && !root).then_some("it needs root")
    }

    fn run(&self, bed: &Bed<'_>) -> Result<Vec<Sample>> {
        let live = bed.mount(Access::Write)?;
        let mut watch = Watch::on(CREATED);
        let (done, time) = (self.run)(bed, &live, &mut watch)?;
        Ok(vec![Sample::rate(0, done, time).with(watch.latency())])
    }
}

fn untar(bed: &Bed<'_>, live: &Live, _: &mut Watch) -> Result<(Done, Duration)> {
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

fn create(_: &Bed<'_>, live: &Live, watch: &mut Watch) -> Result<(Done, Duration)> {
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
        watch.time(|| make(live, name, &data))?;
    }
    let time = start.elapsed();
    let check = check_new(live, c"bench-new")?;
    let count = CREATED;
    Ok((Done { count, check }, time))
}

fn make(live: &Live, name: &CStr, data: &[u8]) -> Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let fd =
        rustix::fs::openat(&live.root, name, flags, mode).step(format_args!("create {name:?}"))?;
    let n = rustix::io::write(&fd, data).step(format_args!("write {name:?}"))?;
    match n == data.len() {
        true => Ok(()),
        false => Err(Failure::new(format!("a short write to {name:?}"))),
    }
}

fn mkdir(bed: &Bed<'_>, live: &Live, watch: &mut Watch) -> Result<(Done, Duration)> {
    let dirs = &bed.work.dirs[..bed.work.dirs.len().min(MADE_DIRS)];
    let new = |d: &CString| CString::new([d.to_bytes(), b"/bench-dir"].concat());
    let names = dirs
        .iter()
        .map(new)
        .collect::<std::result::Result<Vec<_>, _>>();
    let names = names.map_err(Failure::new)?;
    let mode = Mode::from_raw_mode(0o755);
    let start = Instant::now();
    for name in &names {
        go_on()?;
        watch
            .time(|| rustix::fs::mkdirat(&live.root, name.as_c_str(), mode))
            .step(format_args!("mkdir {name:?}"))?;
    }
    let time = start.elapsed();
    let done = pass::stat(live.root.as_fd(), &names, &mut Watch::off())?;
    Ok((done, time))
}

fn rename(bed: &Bed<'_>, live: &Live, watch: &mut Watch) -> Result<(Done, Duration)> {
    let names = &bed.work.unlink;
    let new = |n: &CString| CString::new([n.to_bytes(), b".new"].concat());
    let after = names
        .iter()
        .map(new)
        .collect::<std::result::Result<Vec<_>, _>>();
    let after = after.map_err(Failure::new)?;
    let root = &live.root;
    let start = Instant::now();
    for (from, to) in names.iter().zip(&after) {
        go_on()?;
        watch
            .time(|| rustix::fs::renameat(root, from.as_c_str(), root, to.as_c_str()))
            .step(format_args!("rename {from:?}"))?;
    }
    let time = start.elapsed();
    let off = &mut Watch::off();
    let gone = pass::absent(root.as_fd(), names, off)?;
    let there = pass::read_files(root.as_fd(), &after, off)?;
    let check = gone.check.wrapping_add(there.check);
    let count = names.len();
    Ok((Done { count, check }, time))
}

fn unlink(bed: &Bed<'_>, live: &Live, watch: &mut Watch) -> Result<(Done, Duration)> {
    let names = &bed.work.unlink;
    let start = Instant::now();
    for name in names {
        go_on()?;
        watch
            .time(|| rustix::fs::unlinkat(&live.root, name.as_c_str(), AtFlags::empty()))
            .step(format_args!("unlink {name:?}"))?;
    }
    let time = start.elapsed();
    let done = pass::absent(live.root.as_fd(), names, &mut Watch::off())?;
    Ok((done, time))
}

/// The directory for `rm -rf` and `chown -R`, and its path in the mount.
fn subtree<'b>(bed: &Bed<'b>, live: &Live) -> Result<(&'b CString, usize, PathBuf)> {
    let Some((name, count)) = &bed.work.remove else {
        return Err(Failure::new("the tree has no directory"));
    };
    let path = live.mounted.path().join(OsStr::from_bytes(name.to_bytes()));
    Ok((name, *count, path))
}

fn rm_rf(bed: &Bed<'_>, live: &Live, _: &mut Watch) -> Result<(Done, Duration)> {
    let (name, count, path) = subtree(bed, live)?;
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
    Ok((Done { count, check }, time))
}

fn chown(bed: &Bed<'_>, live: &Live, _: &mut Watch) -> Result<(Done, Duration)> {
    let (name, count, path) = subtree(bed, live)?;
    let mut command = Command::new("chown");
    command
        .arg("-hR")
        .arg(format!("{OWNER}:{OWNER}"))
        .arg(&path);
    let start = Instant::now();
    run(&mut command)?;
    let time = start.elapsed();
    let inside = |n: &&CString| {
        let rest = n.to_bytes().strip_prefix(name.to_bytes());
        rest.is_some_and(|r| r.is_empty() || r.starts_with(b"/"))
    };
    let names: Vec<CString> = bed.work.names.iter().filter(inside).cloned().collect();
    let root = live.root.as_fd();
    let given = pass::owned(root, &names, OWNER)?;
    if given != names.len() {
        return Err(Failure::new(format!(
            "chown -R ended well, and {given} of {} files have the owner",
            names.len()
        )));
    }
    let check = pass::read_files(root, &files_of(bed, &names), &mut Watch::off())?.check;
    Ok((Done { count, check }, time))
}

fn files_of(bed: &Bed<'_>, names: &[CString]) -> Vec<CString> {
    let files: std::collections::HashSet<&CString> = bed.work.files.iter().collect();
    names
        .iter()
        .filter(|n| files.contains(n))
        .cloned()
        .collect()
}
