//! Mounting images, and what several commands do with containers.

use super::options::Draft;
use super::serve;
use super::store::{StoreArgs, complain, finish};
use crate::fuse::{self, MountOptions};
use crate::image::container::{Container, Keep};
use crate::image::prepare::{Recipe, complete};
use crate::image::store::{Image, Store};
use crate::overlay::{Config, UpperConfig};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::mount::MsFlags;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long a mount of a moment may be busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// Mounts an image: as a container, by name or by a new one, or as the draft says.
pub fn mount(
    store: &StoreArgs,
    image: Option<String>,
    name: Option<String>,
    draft: Draft,
    mountpoint: PathBuf,
) -> ExitCode {
    let prepared = store.open().and_then(|store| {
        let what = What::find(&store, image, name.as_deref(), &draft)?;
        Ok((store, what))
    });
    match prepared {
        Ok((store, what)) => what.mount(&store, draft, mountpoint),
        Err(e) => finish("mount", Err(e)),
    }
}

/// What is to be mounted.
struct What {
    image: Image,
    text: String,
    container: Option<Container>,
    /// The container was made for this mount.
    new: bool,
}

impl What {
    fn find(
        store: &Store,
        image: Option<String>,
        name: Option<&str>,
        draft: &Draft,
    ) -> Result<What> {
        let known = match name.map(|name| store.container(name)) {
            Some(Err(e)) if e.is(Errno::ENOENT) && image.is_some() => None,
            other => other.transpose()?,
        };
        let (found, text) = match (image, &known) {
            (Some(text), _) => (store.resolve(&text)?, text),
            (None, Some(known)) => {
                let found = store.image(&known.record.manifest)?;
                (found, known.record.image.clone())
            }
            (None, None) => return Err(Error::because(Errno::EINVAL, "no image")),
        };
        complete(store, &found)?;
        if let Some(known) = &known
            && known.record.id != found.id
        {
            let why = format!(
                "container {:?} is over another image: {}",
                known.name, known.record.image
            );
            return Err(Error::because(Errno::EINVAL, why));
        }
        let alone = draft.upper.is_some() || draft.mount.flags.contains(MsFlags::MS_RDONLY);
        let new = known.is_none() && !alone;
        let container = match known {
            None if new => Some(store.make_container(name, &found, &text, &Keep::default())?),
            other => other,
        };
        Ok(What {
            image: found,
            text,
            container,
            new,
        })
    }

    fn mount(mut self, store: &Store, mut draft: Draft, mountpoint: PathBuf) -> ExitCode {
        match &self.container {
            Some(container) => {
                draft.upper = Some(container.upper());
                draft.work = Some(container.work());
                draft.mount.fsname = match container.fsname() {
                    Ok(fsname) => fsname,
                    Err(e) => return self.give_up(store, |_| finish("mount", Err(e))),
                };
            }
            None => draft.mount.fsname.clone_from(&self.text),
        }
        let request = match draft.finish(mountpoint) {
            Ok(request) => request,
            Err(why) => return self.give_up(store, |_| super::usage_error("mount", &why)),
        };
        let noted = std::path::absolute(&request.mountpoint)
            .map_err(Error::from)
            .and_then(|at| match &mut self.container {
                Some(container) => container.note_mountpoint(&at),
                None => Ok(()),
            });
        if let Err(e) = noted {
            return self.give_up(store, |_| finish("mount", Err(e)));
        }
        if self.new
            && let Some(container) = &self.container
        {
            super::print(&format!("{}\n", container.name));
        }
        let recipe = recipe(store, &self.image, self.container.is_some());
        match serve::mount_over("vellum", Box::new(move |key| recipe.open(key)), &request) {
            ExitCode::SUCCESS => ExitCode::SUCCESS,
            failed => self.give_up(store, |_| failed),
        }
    }

    /// A container that was made for this mount, and that nothing was changed in, does not stay. In the
    /// foreground a mount may have been lived in before it failed.
    fn give_up(&self, store: &Store, then: impl FnOnce(&What) -> ExitCode) -> ExitCode {
        if self.new
            && let Some(container) = &self.container
            && is_empty(&container.upper())
            && let Err(e) = store.remove_container(container)
        {
            complain(
                "mount",
                &e.context(format!("container {:?} stays", container.name)),
            );
        }
        then(self)
    }
}

/// False also where that cannot be told.
fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// For an image that was found complete; the store stays open until it is mounted. `kept`: a container keeps the
/// image, which is not removed while its upper is in use.
fn recipe(store: &Store, image: &Image, kept: bool) -> Recipe {
    Recipe::of(store.root(), image).kept(kept).found_complete()
}

/// Calls `then` with the upper and the mount of a container; one that is not mounted is, read-only,
/// for that time.
pub fn with_mount<T>(
    store: &Store,
    container: &Container,
    image: &Image,
    then: impl FnOnce(BorrowedFd<'_>, BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    with(store, container, image, MsFlags::MS_RDONLY, then)
}

/// As [`with_mount`], to change something. What was written is on the upper when it comes back.
pub fn with_writable_mount<T>(
    store: &Store,
    container: &Container,
    image: &Image,
    then: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    with(store, container, image, MsFlags::empty(), |_, mount| {
        let done = then(mount)?;
        let at = || format!("container {:?}", container.name);
        rustix::fs::syncfs(mount).context(at)?;
        Ok(done)
    })
}

fn with<T>(
    store: &Store,
    container: &Container,
    image: &Image,
    flags: MsFlags,
    then: impl FnOnce(BorrowedFd<'_>, BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    let open = |path: &Path| File::open(path).context(|| path.display().to_string());
    if let Some(at) = container.mounted_on()? {
        let mount = open(&at)?;
        // what the kernel has gathered reaches the upper
        rustix::fs::syncfs(&mount).context(|| at.display().to_string())?;
        return then(open(&container.upper())?.as_fd(), mount.as_fd());
    }
    let config = Config {
        upper: Some(UpperConfig::new(container.upper(), container.work())),
        ..Config::default()
    };
    let at = container.mountpoint();
    let moment = Moment {
        config: &config,
        fsname: container.fsname()?,
        flags,
        at: &at,
        kept: true,
    };
    moment
        .with(store, image, |mount| {
            then(open(&container.upper())?.as_fd(), mount)
        })
        .context(|| format!("container {:?}", container.name))
}

/// Calls `then` with a mount of an image, which is there for that time.
pub fn with_image<T>(
    store: &Store,
    image: &Image,
    then: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
) -> Result<T> {
    // not in the store: what a crash leaves there is removed, and a mount could not be
    let at = nix::unistd::mkdtemp(&std::env::temp_dir().join("vellum-XXXXXX"))?;
    let moment = Moment {
        config: &Config::default(),
        fsname: format!("vellum:{}", image.id.short()),
        flags: MsFlags::MS_RDONLY,
        at: &at,
        kept: false,
    };
    let done = moment.with(store, image, then);
    std::fs::remove_dir(&at).context(|| at.display().to_string())?;
    done
}

/// A mount for a moment.
struct Moment<'m> {
    config: &'m Config,
    fsname: String,
    flags: MsFlags,
    at: &'m Path,
    kept: bool,
}

impl Moment<'_> {
    fn with<T>(
        self,
        store: &Store,
        image: &Image,
        then: impl FnOnce(BorrowedFd<'_>) -> Result<T>,
    ) -> Result<T> {
        complete(store, image)?;
        let options = MountOptions {
            flags: self.flags,
            fsname: self.fsname,
            ..MountOptions::default()
        };
        let recipe = recipe(store, image, self.kept);
        let make = Box::new(move |key| recipe.open(key));
        fuse::run_over(make, self.config, &options, self.at, false)
            .context(|| "mounting it for a moment")?;
        let done = File::open(self.at)
            .context(|| self.at.display().to_string())
            .and_then(|mount| then(mount.as_fd()));
        unmount(self.at)?;
        done
    }
}

/// Ends a mount of a moment. Somebody may be looking at it: its own daemon at the beginning, a program that watches
/// mounts.
fn unmount(at: &Path) -> Result<()> {
    let began = Instant::now();
    loop {
        match fuse::unmount(at, false) {
            Err(e) if e.is(Errno::EBUSY) && began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
}
