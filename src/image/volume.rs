//! Volumes: directories that containers share and that outlive them, kept under names.
//!
//! A *volume* is a folder in the store's `volumes/`: the directory that containers see, and a record.
//! It is used by every container that names it, whether that runs or not. Who gives a container
//! volumes, or removes one, holds the lock on all of them for that moment.

use super::container::is_name;
use super::store::{self, Lock, Store};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where volumes are, in a store.
const VOLUMES: &str = "vellum/volumes";
const RECORD: &str = "volume.json";
const DATA: &str = "_data";
/// Longest name of a directory.
const NAME_MAX: usize = 255;

/// What is known of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it was made, RFC 3339.
    pub created: String,
    /// Nobody gave it a name: it goes with its container, and when it is not used any more.
    #[serde(default)]
    pub anonymous: bool,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Record {
    /// That of a volume that is made now.
    pub fn now(anonymous: bool, labels: BTreeMap<String, String>) -> Record {
        Record {
            created: super::now(),
            anonymous,
            labels,
        }
    }
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// What is known of it.
    pub record: Record,
    dir: PathBuf,
}

/// The lock on the volumes of a store: none comes, goes or finds a user meanwhile.
#[derive(Debug)]
pub struct AllVolumes {
    _lock: Lock,
}

impl Volume {
    /// One of the store at `root`.
    pub fn of(root: &Path, name: &str) -> Result<Volume> {
        check_volume_name(name)?;
        let dir = root.join(VOLUMES).join(name);
        let what = || format!("volume {name:?}");
        let read = absent_ok(fs::read(dir.join(RECORD)).map_err(Error::from)).context(what)?;
        // an empty record is what a crash leaves of one that was not to last
        let Some(text) = read.filter(|text| !text.is_empty()) else {
            return Err(missing(name));
        };
        let record = serde_json::from_slice(&text)
            .map_err(|e| Error::because(Errno::EBADMSG, format!("volume {name:?}: {e}")))?;
        Ok(Volume {
            name: name.to_owned(),
            record,
            dir,
        })
    }

    /// The directory that containers see.
    pub fn data(&self) -> PathBuf {
        self.dir.join(DATA)
    }

    /// Its folder, in which a container's start has a place of its own.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Waits until nobody else fills it.
    pub fn lock(&self) -> Result<Lock> {
        Lock::exclusive(&self.dir)
    }

    /// What it occupies on disk, in bytes.
    pub fn disk_use(&self) -> Result<u64> {
        store::disk_use(&self.dir)
    }
}

fn missing(name: &str) -> Error {
    Error::because(Errno::ENOENT, format!("no such volume: {name}"))
}

/// True for what a crash leaves of a volume that was not to last.
fn is_left_over(dir: &Path) -> bool {
    fs::metadata(dir.join(RECORD)).is_ok_and(|meta| meta.len() == 0)
}

/// Docker's rule for names of volumes.
pub fn check_volume_name(name: &str) -> Result<()> {
    if is_name(name) && (2..=NAME_MAX).contains(&name.len()) {
        return Ok(());
    }
    let why = format!(
        "{name:?} is no name for a volume: two or more letters, digits, '_', '.' and '-'; a directory of the host \
         begins with / or ."
    );
    Err(Error::because(Errno::EINVAL, why))
}

impl Store {
    /// The directory for volumes.
    pub fn volumes_dir(&self) -> PathBuf {
        self.root().join(VOLUMES)
    }

    /// Waits until nobody gives volumes to a container, or removes one.
    pub fn lock_volumes(&self) -> Result<AllVolumes> {
        let dir = self.volumes_dir();
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => store::sync_parent(&dir)?,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::from(e).context(dir.display())),
        }
        let _lock = Lock::exclusive(&dir)?;
        Ok(AllVolumes { _lock })
    }

    /// Makes a volume, unless there is one of that name: true if it was made. What need not outlive a crash is
    /// not synced.
    pub fn make_volume(
        &self,
        _all: &AllVolumes,
        name: &str,
        record: &Record,
        lasts: bool,
    ) -> Result<bool> {
        match Volume::of(self.root(), name) {
            Ok(_) => return Ok(false),
            Err(e) if e.is(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        let place = self.volumes_dir().join(name);
        // what a crash left of one that was not to last; a folder without a record may hold somebody's data
        if is_left_over(&place) {
            store::remove(&place).context(|| format!("volume {name:?}"))?;
        }
        let stage = self.staging()?;
        let data = stage.path().join(DATA);
        let made = fs::DirBuilder::new().mode(0o755).create(&data);
        made.context(|| data.display().to_string())?;
        let text = serde_json::to_vec_pretty(record)
            .map_err(|e| Error::because(Errno::EINVAL, format!("{RECORD}: {e}")))?;
        let file = stage.path().join(RECORD);
        match lasts {
            true => store::replace(stage.path(), &file, &text)?,
            false => fs::write(&file, text).context(|| file.display().to_string())?,
        }
        fs::rename(stage.path(), &place).context(|| place.display().to_string())?;
        if lasts {
            store::sync_parent(&place)?;
        }
        Ok(true)
    }

    /// A volume that is there.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        Volume::of(self.root(), name)
    }

    /// One that is there, whatever its record is: to be removed.
    pub fn volume_unread(&self, name: &str) -> Result<Volume> {
        check_volume_name(name)?;
        let dir = self.volumes_dir().join(name);
        let there = absent_ok(fs::symlink_metadata(&dir).map_err(Error::from));
        if !there
            .context(|| format!("volume {name:?}"))?
            .is_some_and(|meta| meta.is_dir())
        {
            return Err(missing(name));
        }
        Ok(Volume {
            name: name.to_owned(),
            record: Record::default(),
            dir,
        })
    }

    /// All volumes, by name. Of one that cannot be read a warning tells; it says nothing of the others.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let dir = self.volumes_dir();
        let listed = absent_ok(fs::read_dir(&dir).map_err(Error::from));
        let Some(entries) = listed.context(|| dir.display().to_string())? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string().ok();
            names.extend(name.filter(|n| check_volume_name(n).is_ok()));
        }
        names.sort();
        let there = |name: &String| match absent_ok(self.volume(name)) {
            Ok(volume) => volume,
            Err(e) => {
                log::warn!("{e}");
                None
            }
        };
        Ok(names.iter().filter_map(there).collect())
    }

    /// Removes a volume with all that is in it, which nobody uses.
    pub fn remove_volume(&self, _all: &AllVolumes, volume: &Volume) -> Result<()> {
        let gone = self.staging()?;
        let place = gone.path().join("volume");
        let what = || format!("volume {:?}", volume.name);
        fs::rename(&volume.dir, &place).context(what)?;
        store::sync_parent(&volume.dir)?;
        // said here if it cannot go; what a crash leaves of it is swept
        fs::remove_dir_all(&place).context(what)
    }

    /// Removes what a crash left of volumes that were not to last: folders with an empty record. Nobody else may
    /// use the store.
    pub(super) fn sweep_volumes(&self) -> Result<()> {
        let dir = self.volumes_dir();
        let listed = absent_ok(fs::read_dir(&dir).map_err(Error::from));
        for entry in listed
            .context(|| dir.display().to_string())?
            .into_iter()
            .flatten()
        {
            let path = entry?.path();
            if is_left_over(&path) {
                store::remove(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for good in ["ab", "pg-data", "A.b_c", &"x".repeat(255)] {
            check_volume_name(good).unwrap();
        }
        for bad in [
            "",
            "a",
            ".",
            "..",
            "-a",
            "a/b",
            "a b",
            "ä1",
            &"x".repeat(256),
        ] {
            assert!(check_volume_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_volume_comes_once_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path()).unwrap();
        assert_eq!(store.volumes().unwrap(), []);
        let all = store.lock_volumes().unwrap();
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let record = Record::now(false, labels);
        assert!(store.make_volume(&all, "v1", &record, true).unwrap());
        let volume = store.volume("v1").unwrap();
        fs::write(volume.data().join("kept"), "x").unwrap();
        // a second one finds it, and changes nothing
        let other = Record::now(true, BTreeMap::new());
        assert!(!store.make_volume(&all, "v1", &other, false).unwrap());
        assert_eq!(store.volume("v1").unwrap().record, record);
        assert!(volume.data().join("kept").exists());
        // what a crash of the machine leaves of one that was not to last is none, and its name is free
        assert!(store.make_volume(&all, "v2", &other, false).unwrap());
        let left = store.volume("v2").unwrap();
        fs::write(left.dir().join(RECORD), "").unwrap();
        assert!(store.volume("v2").unwrap_err().is(Errno::ENOENT));
        assert_eq!(store.volumes().unwrap(), std::slice::from_ref(&volume));
        store.sweep_volumes().unwrap();
        assert!(!left.dir().exists());
        // what may be somebody's data stays
        let stray = store.volumes_dir().join("v3");
        fs::create_dir_all(stray.join(DATA)).unwrap();
        store.sweep_volumes().unwrap();
        assert!(store.make_volume(&all, "v3", &record, true).is_err());
        assert!(stray.join(DATA).exists());
        // one that cannot be read is no reason to hide the others
        let odd = store.volumes_dir().join("v4");
        fs::create_dir_all(&odd).unwrap();
        fs::write(odd.join(RECORD), "{").unwrap();
        assert!(store.volume("v4").unwrap_err().is(Errno::EBADMSG));
        assert_eq!(store.volumes().unwrap(), std::slice::from_ref(&volume));
        for odd in ["v3", "v4"] {
            let odd = store.volume_unread(odd).unwrap();
            store.remove_volume(&all, &odd).unwrap();
            assert!(!odd.dir().exists());
        }
        assert!(store.volume_unread("v4").unwrap_err().is(Errno::ENOENT));
        store.remove_volume(&all, &volume).unwrap();
        assert_eq!(store.volumes().unwrap(), []);
        assert!(store.volume("v1").unwrap_err().is(Errno::ENOENT));
    }
}
