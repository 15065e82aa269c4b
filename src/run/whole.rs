//! The root of a container with its volumes, and what of the host is mounted there, for those who look at it from
//! outside, whether the container runs or not.
//!
//! The mounts are made in a mount namespace of a thread, so that nobody else sees them, and go with it.

use super::folder::Folder;
use super::user::open_in;
use super::volume::Volume;
use crate::image::container::Container;
use crate::image::volume::Volume as Stored;
use crate::sys::Loc;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::OFlags;
use std::fs::{File, read_link};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A root that what belongs there is mounted in, until this is dropped.
#[derive(Debug)]
pub struct Whole {
    root: File,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is mounted in a root.
struct Guest {
    source: PathBuf,
    target: String,
    read_only: bool,
}

impl Whole {
    /// The root of a container, which is mounted. `None` for a container in which nothing is mounted; who may
    /// not mount gets that too, unless he wants a path in something that is.
    pub fn of(
        store: &Path,
        container: &Container,
        mounted: BorrowedFd<'_>,
        path: &[u8],
    ) -> Result<Option<Whole>> {
        let guests = guests(store, container)?;
        if guests.is_empty() {
            return Ok(None);
        }
        // what is mounted can only be reached by its path in another namespace
        let at = read_link(name_of(mounted)).context(|| "where the root is mounted")?;
        let (root, path) = (Loc::Fd(mounted).stat()?, path.to_owned());
        let root = (root.st_dev, root.st_ino);
        let wanted = guests.iter().any(|g| is_in(&path, &g.target));
        let (ready, is_ready) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("mounts".into())
            .spawn(move || {
                // an error of either: the other side is gone
                ready.send(furnish((&at, root), &guests, &path)).ok();
                ended.recv().ok();
            })?;
        let gone = || Error::because(Errno::EIO, "the thread that mounts ended");
        let root = match is_ready.recv().map_err(|_| gone())? {
            Ok(root) => root,
            Err(e) if e.is(Errno::EPERM) && !wanted => return Ok(None),
            Err(e) => {
                let of = || format!("what is mounted in container {:?}", container.name);
                return Err(e).context(of);
            }
        };
        Ok(Some(Whole {
            root,
            end: Some(end),
            thread: Some(thread),
        }))
    }
}

impl AsFd for Whole {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.end.take();
        // what it mounted must be gone before the root can be unmounted
        if let Some(thread) = self.thread.take() {
            thread.join().ok(); // it can only have panicked, which was said
        }
    }
}

/// What is mounted in a container, but for memory, of which nothing is left to see.
fn guests(store: &Path, container: &Container) -> Result<Vec<Guest>> {
    let config = Folder::of(container).config()?.unwrap_or_default();
    let mut guests = Vec::new();
    for volume in config.volumes {
        let target = volume.target().to_owned();
        let (source, read_only) = match volume {
            Volume::Bind {
                source, read_only, ..
            } => (source, read_only),
            Volume::Kept {
                name, read_only, ..
            } => (Stored::of(store, &name)?.data(), read_only),
            Volume::Tmpfs { .. } => continue,
        };
        guests.push(Guest {
            source,
            target,
            read_only,
        });
    }
    // one may be within another
    guests.sort_by_key(|g| names(g.target.as_bytes()).count());
    Ok(guests)
}

/// True for what is a directory or in it, going by the names.
fn is_in(path: &[u8], dir: &str) -> bool {
    let mut path = names(path);
    names(dir.as_bytes()).all(|name| path.next() == Some(name))
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

/// Mounts all in a namespace of this thread: the root, which is what `at` has to be. What is gone from the host, or
/// has no place yet, fails only if `path` is in it.
fn furnish((at, known): (&Path, (u64, u64)), guests: &[Guest], path: &[u8]) -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNS).context(|| "a mount namespace")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .context(|| "mounts of its own")?;
    let root = File::open(at).context(|| at.display().to_string())?;
    let st = Loc::Fd(root.as_fd()).stat()?;
    if (st.st_dev, st.st_ino) != known {
        let why = format!(
            "{}: something else was mounted there meanwhile",
            at.display()
        );
        return Err(Error::because(Errno::ESTALE, why));
    }
    for guest in guests {
        let place = || open_in(root.as_fd(), &guest.target, OFlags::PATH);
        let at = || format!("{} at {}", guest.source.display(), guest.target);
        let wanted = is_in(path, &guest.target);
        let on = match place() {
            // its place is made when the container starts
            Err(e) if e.is(Errno::ENOENT) && !wanted => continue,
            on => on.context(at)?,
        };
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        let (from, to) = (Some(&guest.source), name_of(on.as_fd()));
        match mount(from, &to, None::<&str>, bind, None::<&str>) {
            Err(Errno::ENOENT) if !wanted => continue,
            mounted => mounted.context(at)?,
        }
        if guest.read_only {
            let bind = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            let mounted = place().context(at)?;
            mount(
                None::<&str>,
                &name_of(mounted.as_fd()),
                None::<&str>,
                bind,
                None::<&str>,
            )
            .context(at)?;
        }
    }
    Ok(root)
}

fn name_of(fd: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_in_a_directory() {
        for path in [&b"/data"[..], b"data/", b"//data/./x/y", b"/data/.."] {
            assert!(is_in(path, "/data"), "{path:?}");
        }
        for path in [&b"/"[..], b"/database", b"/x/data", b""] {
            assert!(!is_in(path, "/data/"), "{path:?}");
        }
    }
}
