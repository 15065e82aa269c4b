//! The root of a container with its volumes, and what of the host is mounted there, for those who look at it from
//! outside, whether the container runs or not.
//!
//! The mounts are made in a mount namespace of a thread, so that nobody else sees them, and go with it.

use super::folder::Folder;
use super::user::open_in;
use super::volume::Volume;
use crate::image::container::Container;
use crate::image::volume::Volume as Stored;
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::OFlags;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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
    /// The root of a container that is mounted at `at`. `None` for a container in which nothing is mounted; who may
    /// not mount gets that too, unless he wants a path in something that is.
    pub fn of(
        store: &Path,
        container: &Container,
        at: &Path,
        path: &[u8],
    ) -> Result<Option<Whole>> {
        let guests = guests(store, container)?;
        if guests.is_empty() {
            return Ok(None);
        }
        let (at, path) = (at.to_owned(), path.to_owned());
        let wanted = guests.iter().any(|g| is_in(&path, &g.target));
        let (ready, is_ready) = channel();
        let (end, ended) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("mounts".into())
            .spawn(move || {
                ready.send(furnish(&at, &guests, &path)).ok();
                ended.recv().ok(); // the other side is gone
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
            thread.join().ok();
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

/// Mounts all in a namespace of this thread: the root. What is gone from the host fails only if `path` is in it.
fn furnish(at: &Path, guests: &[Guest], path: &[u8]) -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNS).context(|| "a mount namespace")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .context(|| "mounts of its own")?;
    let root = File::open(at).context(|| at.display().to_string())?;
    for guest in guests {
        let place = || open_in(root.as_fd(), &guest.target, OFlags::PATH);
        // while a container does not run, the directory may not be there
        let Some(on) = absent_ok(place()).context(|| guest.target.clone())? else {
            continue;
        };
        if !guest.source.exists() && !is_in(path, &guest.target) {
            continue;
        }
        let at = || format!("{} at {}", guest.source.display(), guest.target);
        let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(
            Some(&guest.source),
            &name_of(&on),
            None::<&str>,
            bind,
            None::<&str>,
        )
        .context(at)?;
        if guest.read_only {
            let bind = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
            let mounted = place().context(at)?;
            mount(
                None::<&str>,
                &name_of(&mounted),
                None::<&str>,
                bind,
                None::<&str>,
            )
            .context(at)?;
        }
    }
    Ok(root)
}

fn name_of(fd: &OwnedFd) -> PathBuf {
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
