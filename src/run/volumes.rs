//! The volumes of containers: made when a container is, filled at its first start, in use as long as it is
//! there.
//!
//! What the image has where a volume is mounted comes into an empty volume in three steps, each whole or
//! not there: a copy that nobody sees, its name, and its entries moved to their places. A crash leaves
//! nothing, or what the next start goes on with.

use super::config::Config;
use super::folder::{Folder, remove_tree};
use super::user::open_in;
use super::volume::Volume;
use crate::image::container::Container;
use crate::image::store::Store;
use crate::image::volume::{AllVolumes, Record, Volume as Stored};
use crate::sys::{Loc, xattr};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result, SetTime};
use nix::errno::Errno;
use oci_spec::image::ImageConfiguration;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A copy that is whole, and on its way to its place.
const WHOLE: &str = "_fill";
/// A copy that is being made.
const PART: &str = "_fill.new";
/// In a container's folder: its volumes were filled.
const FILLED: &str = "filled";

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// What is mounted in another container, and nobody says anything else of: `NAME[:ro|rw]`. Memory is each
/// container's own.
pub fn of_container(store: &Store, config: &Config, text: &str) -> Result<Vec<Volume>> {
    let (name, ro) = match text.rsplit_once(':') {
        Some((name, "ro")) => (name, true),
        Some((name, "rw")) => (name, false),
        Some((_, mode)) => {
            let why = format!("--volumes-from {text:?}: {mode:?} is neither 'ro' nor 'rw'");
            return Err(Error::because(Errno::EINVAL, why));
        }
        None => (text, false),
    };
    let other = store.container(name).context(|| "--volumes-from")?;
    let other = Folder::of(&other).config()?.unwrap_or_default();
    let said = |v: &Volume| {
        config
            .volumes
            .iter()
            .any(|own| same(own.target(), v.target()))
    };
    let mut volumes = Vec::new();
    for mut volume in other.volumes.into_iter().filter(|v| !said(v)) {
        match &mut volume {
            Volume::Bind { read_only, .. } => *read_only |= ro,
            Volume::Kept {
                read_only, copy, ..
            } => {
                *read_only |= ro;
                // that one has begun with what its own image has
                *copy = false;
            }
            Volume::Tmpfs { .. } => continue,
        }
        volumes.push(volume);
    }
    Ok(volumes)
}

/// The volumes that the image wants, and nobody says anything else of.
pub fn of_image(config: &Config, image: &ImageConfiguration) -> Result<Vec<Volume>> {
    let wanted = image.config().as_ref().and_then(|c| c.volumes().clone());
    let mut targets = wanted.unwrap_or_default();
    targets.retain(|t| t.starts_with('/') && !same(t, "/"));
    targets.retain(|t| !config.volumes.iter().any(|v| same(v.target(), t)));
    targets.sort();
    targets.dedup_by(|a, b| same(a, b));
    targets.into_iter().map(Volume::anonymous).collect()
}

/// Name and namelessness of the volumes of a container.
fn names(config: &Config) -> impl Iterator<Item = (&str, bool)> {
    config.volumes.iter().filter_map(|volume| match volume {
        Volume::Kept {
            name, anonymous, ..
        } => Some((name.as_str(), *anonymous)),
        Volume::Bind { .. } | Volume::Tmpfs { .. } => None,
    })
}

/// Keeps what is asked of a new container; from then on it uses its volumes, of which those that are missing are
/// made.
pub fn establish(store: &Store, container: &Container, config: &Config) -> Result<()> {
    let folder = Folder::of(container);
    if names(config).next().is_none() {
        return folder.set_config(config);
    }
    let all = store.lock_volumes()?;
    for (name, anonymous) in names(config) {
        let lasts = !(anonymous && config.remove);
        store.make_volume(&all, name, &Record::now(anonymous, BTreeMap::new()), lasts)?;
    }
    folder.set_config(config)
}

/// By name, the containers that use a volume.
pub fn users(store: &Store) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for container in store.containers()? {
        let config = Folder::of(&container).config();
        let config = config.context(|| format!("volumes of container {:?}", container.name))?;
        for (volume, _) in config.iter().flat_map(names) {
            let by = users.entry(volume.to_owned()).or_default();
            by.insert(container.name.clone());
        }
    }
    Ok(users)
}

/// Removes a volume, unless a container uses it. `unread`: also one whose record cannot be read.
pub fn remove(store: &Store, name: &str, unread: bool) -> Result<()> {
    let all = store.lock_volumes()?;
    let volume = match unread {
        true => store.volume_unread(name),
        false => store.volume(name).map_err(|e| {
            if !e.is(Errno::EBADMSG) {
                return e;
            }
            let why = format!("{}; 'vellum volume rm -f {name}' removes it", e.reason());
            Error::because(Errno::EBADMSG, why)
        }),
    }?;
    let users = users(store)?;
    if let Some(first) = users.get(name).and_then(BTreeSet::first) {
        let why = format!(
            "volume {name:?} is in use by container {first:?}; 'vellum rm {first}' removes that"
        );
        return Err(Error::because(Errno::EBUSY, why));
    }
    store.remove_volume(&all, &volume)
}

/// Removes the volumes without a name of a container that is gone, but not those that another one uses.
pub fn remove_anonymous(store: &Store, config: &Config) -> Result<()> {
    let mut own = names(config).filter(|(_, anonymous)| *anonymous).peekable();
    if own.peek().is_none() {
        return Ok(());
    }
    let all = store.lock_volumes()?;
    let users = users(store)?;
    for (name, _) in own.filter(|(name, _)| !users.contains_key(*name)) {
        if let Some(volume) = absent_ok(store.volume(name))? {
            store.remove_volume(&all, &volume)?;
        }
    }
    Ok(())
}

/// Volumes that no container uses and that `meant` holds for.
pub fn unused(store: &Store, meant: &dyn Fn(&Stored) -> bool) -> Result<(AllVolumes, Vec<Stored>)> {
    let all = store.lock_volumes()?;
    let users = users(store)?;
    let mut found = store.volumes()?;
    found.retain(|v| !users.contains_key(&v.name) && meant(v));
    Ok((all, found))
}

/// Fills the volumes of a container that are empty with what its root has there, once.
pub fn fill(store: &Path, folder: &Folder, config: &Config, root: BorrowedFd<'_>) -> Result<()> {
    let filled = folder.path(FILLED);
    if names(config).next().is_none() || filled.exists() {
        return Ok(());
    }
    for volume in &config.volumes {
        if let Volume::Kept {
            name,
            anonymous,
            target,
            copy: true,
            ..
        } = volume
        {
            let lasts = !(*anonymous && config.remove);
            fill_one(&Stored::of(store, name)?, target, root, lasts)
                .context(|| format!("volume {name:?} for {target}"))?;
        }
    }
    File::create(&filled).context(|| filled.display().to_string())?;
    Ok(())
}

fn fill_one(volume: &Stored, target: &str, root: BorrowedFd<'_>, lasts: bool) -> Result<()> {
    let _alone = volume.lock()?;
    let (whole, part) = (volume.dir().join(WHOLE), volume.dir().join(PART));
    remove_tree(&part)?;
    if !whole.exists() {
        let mut there = fs::read_dir(volume.data())?;
        if there.next().is_some() {
            return Ok(());
        }
        let Some(from) = absent_ok(open_in(root, target, OFlags::RDONLY | OFlags::NONBLOCK))?
        else {
            return Ok(());
        };
        let from = File::from(from);
        if !from.metadata()?.is_dir() {
            let why = "the image has a file there, and no directory";
            return Err(Error::because(Errno::ENOTDIR, why));
        }
        fs::create_dir(&part)?;
        let copied = copy(&from, &part).and_then(|()| match lasts {
            true => Ok(rustix::fs::syncfs(File::open(&part)?)?),
            false => Ok(()),
        });
        if let Err(e) = copied {
            // the room that it takes may be what is missing
            remove_tree(&part).map_err(|stays| e.clone().context(stays))?;
            return Err(e);
        }
        fs::rename(&part, &whole)?;
        sync(volume.dir(), lasts)?;
    }
    settle(&whole, &volume.data(), lasts)?;
    remove_tree(&whole)?;
    sync(volume.dir(), lasts)
}

fn sync(dir: &Path, lasts: bool) -> Result<()> {
    match lasts {
        true => Ok(File::open(dir)?.sync_all()?),
        false => Ok(()),
    }
}

/// Copies all of a directory, with the directory's own attributes.
fn copy(from: &File, to: &Path) -> Result<()> {
    let from = format!("/proc/{}/fd/{}", std::process::id(), from.as_raw_fd());
    let output = Command::new("cp")
        .args(["-a", "--reflink=auto", "--", "."])
        .arg(to)
        .current_dir(from)
        .stdin(Stdio::null())
        .output()
        .context(|| "cp")?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            let why = format!("copying what the image has: {}", said.trim());
            Err(Error::because(Errno::EIO, why))
        }
    }
}

/// Moves what is in a directory into another one, whose attributes become the same. What somebody made there
/// meanwhile stays.
fn settle(whole: &Path, data: &Path, lasts: bool) -> Result<()> {
    for entry in fs::read_dir(whole)? {
        let entry = entry?;
        let (from, to) = (entry.path(), data.join(entry.file_name()));
        match renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            // a file system that cannot say so
            Err(rustix::io::Errno::INVAL) if fs::symlink_metadata(&to).is_err() => {
                fs::rename(&from, &to)?;
            }
            Err(rustix::io::Errno::INVAL) => {}
            Err(e) => return Err(Error::from(e).context(to.display())),
        }
    }
    let (from, to) = (File::open(whole)?, File::open(data)?);
    let (from_at, at) = (Loc::Fd(from.as_fd()), Loc::Fd(to.as_fd()));
    let meta = from.metadata()?;
    at.chown(Some(meta.uid()), Some(meta.gid()))?;
    at.chmod(meta.mode() & 0o7777)?;
    for name in xattr::names(&xattr::list(from_at)?) {
        let Some(value) = xattr::get(from_at, name)? else {
            continue;
        };
        // what the copy could keep, this can too; labels are the host's
        if !name.starts_with(b"security.") {
            xattr::set(at, name, &value, 0)?;
        }
    }
    let time = SetTime::At(crate::vfs::Time {
        sec: meta.mtime(),
        nsec: u32::try_from(meta.mtime_nsec()).unwrap_or_default(),
    });
    at.utimens(None, Some(time))?;
    sync(data, lasts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A store with the volume `v1`, and a root that has something at `/data`.
    fn bed() -> (tempfile::TempDir, Store, Stored) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store")).unwrap();
        let all = store.lock_volumes().unwrap();
        let record = Record::now(false, BTreeMap::new());
        store.make_volume(&all, "v1", &record, true).unwrap();
        let data = dir.path().join("root/data");
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::write(data.join("file"), "image").unwrap();
        fs::write(data.join("sub/deep"), "deep").unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o2750)).unwrap();
        let volume = store.volume("v1").unwrap();
        drop(all);
        (dir, store, volume)
    }

    fn fill_it(dir: &tempfile::TempDir, volume: &Stored) -> Result<()> {
        let root = File::open(dir.path().join("root")).unwrap();
        fill_one(volume, "/data", root.as_fd(), true)
    }

    fn read(volume: &Stored, name: &str) -> String {
        fs::read_to_string(volume.data().join(name)).unwrap_or_default()
    }

    #[test]
    fn an_empty_volume_is_filled_once() {
        let (dir, _store, volume) = bed();
        fill_it(&dir, &volume).unwrap();
        assert_eq!(read(&volume, "sub/deep"), "deep");
        let mode = fs::metadata(volume.data()).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o2750);
        assert_eq!(fs::read_dir(volume.dir()).unwrap().count(), 2);
        fs::remove_file(volume.data().join("file")).unwrap();
        fill_it(&dir, &volume).unwrap();
        assert!(!volume.data().join("file").exists());
    }

    #[test]
    fn a_crash_while_it_is_filled_leaves_nothing_half() {
        let (dir, _store, volume) = bed();
        // in the copy: what there is of it is not taken for anything
        fs::create_dir(volume.dir().join(PART)).unwrap();
        fs::write(volume.dir().join(PART).join("file"), "ima").unwrap();
        fill_it(&dir, &volume).unwrap();
        assert_eq!(read(&volume, "file"), "image");
        // on the way to its place: what is there stays, what is not comes
        let whole = volume.dir().join(WHOLE);
        fs::create_dir(&whole).unwrap();
        fs::write(whole.join("late"), "late").unwrap();
        fs::write(whole.join("file"), "other").unwrap();
        fs::write(volume.data().join("own"), "of a container").unwrap();
        fill_it(&dir, &volume).unwrap();
        let all = ["file", "late", "own"].map(|name| read(&volume, name));
        assert_eq!(all, ["image", "late", "of a container"]);
        assert!(!whole.exists());
    }

    #[test]
    fn a_file_in_the_place_of_a_directory_is_refused() {
        let (dir, _store, volume) = bed();
        fs::remove_dir_all(dir.path().join("root/data")).unwrap();
        fs::write(dir.path().join("root/data"), "").unwrap();
        assert!(fill_it(&dir, &volume).unwrap_err().is(Errno::ENOTDIR));
        fs::remove_file(dir.path().join("root/data")).unwrap();
        fill_it(&dir, &volume).unwrap();
        assert_eq!(fs::read_dir(volume.data()).unwrap().count(), 0);
    }
}
