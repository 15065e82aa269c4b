//! Taking an upper into use: checks before anything is touched, the lock, the sweep, and what the
//! file system beneath can do.

use super::probe::probe;
use super::{Upper, UpperConfig};
use crate::sys::{Loc, dir, loc, xattr};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::whiteout::Prefix;
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a mount waits for the one before it on the same upper to end: its process may still
/// be on its way out when `umount` has returned.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

impl Upper {
    /// Takes the upper into use.
    pub fn open(config: &UpperConfig) -> Result<Upper> {
        let root = open_dir(&config.upper, "upper directory")?;
        let lock = open_dir(&config.work, "work directory")?;
        check_pair(config, &root, &lock)?;
        let until = Instant::now() + LOCK_PATIENCE;
        take_lock(&lock, ("work", &config.work), until)?;
        take_lock(&root, ("upper", &config.upper), until)?;
        let work = work_dir(&lock, config)?;
        sweep(work.as_fd()).context(|| format!("sweep of {}/work", config.work.display()))?;
        let dev = Loc::Fd(root.as_fd()).stat()?.st_dev;
        let can = probe(work.as_fd(), config)?;
        if config.volatile {
            leave_volatile_mark(&work)?;
        }
        let names = may_hold_names(&root, can.prefix)?;
        Ok(Upper {
            root: Arc::new(root),
            work,
            _lock: lock,
            names,
            prefix: can.prefix,
            form: can.form,
            rename_whiteout: can.rename_whiteout,
            dev,
            made_by: can.made_by,
            random: Mutex::default(),
            config: config.clone(),
            stop: super::Stop::default(),
        })
    }

    pub(super) fn work(&self) -> BorrowedFd<'_> {
        self.work.as_fd()
    }
}

fn open_dir(path: &Path, what: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
        .context(|| format!("{what} {}", path.display()))
}

/// True if names in the upper may be marks (`.wh.NAME`): where there is nothing else to make marks
/// of, and in an upper that another program wrote, as fuse-overlayfs does where it may not make
/// devices. An upper that is ours from the start says so: there, a name is a name.
fn may_hold_names(root: &OwnedFd, prefix: Option<Prefix>) -> Result<bool> {
    const OURS: &str = "vellum.upper";
    let Some(prefix) = prefix else {
        return Ok(true);
    };
    let at = Loc::Fd(root.as_fd());
    if xattr::get(at, &prefix.name(OURS))?.is_some() {
        return Ok(false);
    }
    let mut empty = true;
    dir::for_each(root.as_fd(), |_| {
        empty = false;
        Ok(())
    })?;
    if empty {
        xattr::set(at, &prefix.name(OURS), b"y", 0).context(|| "mark of an upper")?;
    }
    Ok(!empty)
}

fn check_pair(config: &UpperConfig, root: &OwnedFd, work: &OwnedFd) -> Result<()> {
    let refuse = |errno, why: &str| {
        Err(Error::because(
            errno,
            format!(
                "upper directory {} and work directory {}: {why}",
                config.upper.display(),
                config.work.display()
            ),
        ))
    };
    let (a, b) = (Loc::Fd(root.as_fd()).stat()?, Loc::Fd(work.as_fd()).stat()?);
    if a.st_dev != b.st_dev {
        return refuse(Errno::EXDEV, "must be on one file system");
    }
    if loc::is_inside(work.as_fd(), &a)? || loc::is_inside(root.as_fd(), &b)? {
        return refuse(Errno::EINVAL, "must not lie one inside the other");
    }
    Ok(())
}

/// Locks a directory for as long as `dir` is open.
fn take_lock(dir: &OwnedFd, (what, path): (&str, &Path), until: Instant) -> Result<()> {
    loop {
        match rustix::fs::flock(dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(Error::because(
                    Errno::EBUSY,
                    format!(
                        "{what} directory {} is in use by another mount (or by an earlier one \
                         that another mount namespace still has)",
                        path.display()
                    ),
                ));
            }
            Err(e) => {
                let what = format!("lock on {what} directory {}", path.display());
                return Err(Error::from(e).context(what));
            }
        }
    }
}

/// `WORK/work`, as overlayfs names it: each sweeps what the other left.
fn work_dir(lock: &OwnedFd, config: &UpperConfig) -> Result<OwnedFd> {
    match rustix::fs::mkdirat(lock, c"work", Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(e) => {
            return Err(Error::from(e).context(format!("work directory {}", config.work.display())));
        }
    }
    let work = loc::open_dir(lock, b"work")?;
    if absent_ok(loc::open_dir(&work, b"incompat"))?
        .map(|d| absent_ok(loc::open_dir(&d, b"volatile")))
        .transpose()?
        .flatten()
        .is_some()
    {
        return Err(Error::because(
            Errno::EINVAL,
            format!(
                "upper directory {} was used by a volatile mount, which syncs nothing: it may \
                 have lost writes. If it did not crash meanwhile, remove {}/work/incompat/volatile",
                config.upper.display(),
                config.work.display()
            ),
        ));
    }
    Ok(work)
}

fn leave_volatile_mark(work: &OwnedFd) -> Result<()> {
    for name in [c"incompat", c"incompat/volatile"] {
        rustix::fs::mkdirat(work, name, Mode::RWXU).context(|| "mark of a volatile mount")?;
    }
    Ok(())
}

/// Removes what an earlier mount left in the work directory, but for what it meant to finish.
pub(super) fn sweep(work: BorrowedFd<'_>) -> Result<()> {
    remove_where(work, |name| !name.starts_with(super::intent::PREFIX))
}

/// Removes everything in a directory.
pub(super) fn empty(dir: BorrowedFd<'_>) -> Result<()> {
    remove_where(dir, |_| true)
}

fn remove_where(dir: BorrowedFd<'_>, which: impl Fn(&[u8]) -> bool) -> Result<()> {
    let mut names: Vec<(Vec<u8>, Option<Kind>)> = Vec::new();
    dir::for_each(dir, |e| {
        if which(e.name) {
            names.push((e.name.to_vec(), e.kind));
        }
        Ok(())
    })?;
    for (name, kind) in names {
        remove_tree(dir, &name, kind)?;
    }
    Ok(())
}

/// Removes a file, or a directory with all that is in it.
pub(super) fn remove_tree(dir: BorrowedFd<'_>, name: &[u8], kind: Option<Kind>) -> Result<()> {
    if kind != Some(Kind::Dir) {
        match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) => return Ok(()),
        Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let child = loc::open_dir(dir, name)?;
    empty(child.as_fd())?;
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}
