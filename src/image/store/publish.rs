//! How something comes to be: made in `tmp`, synced, renamed.
//!
//! What is in `tmp` has a name of random digits, and belongs to a guard that removes it unless it
//! was published.

use super::{Store, TMP};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(super) use super::stop::{step, stopped};

/// One step is about to be taken that stays. Tests stop there.
#[cfg(not(test))]
pub(super) fn step(_: &'static str) -> Result<()> {
    Ok(())
}

/// True in a test that stopped as if the process had been killed.
#[cfg(not(test))]
fn stopped() -> bool {
    false
}

/// A file that nobody sees yet.
#[derive(Debug)]
pub struct Temp {
    path: PathBuf,
    file: File,
}

impl Temp {
    fn new(tmp: &Path) -> Result<Temp> {
        loop {
            let path = tmp.join(random_name()?);
            let made = File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path);
            match made {
                Ok(file) => return Ok(Temp { path, file }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::from(e).context(path.display())),
            }
        }
    }

    /// Where it is for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// To write into it, and read from it.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Syncs it, and puts it in its place for good; what is there is replaced.
    pub(super) fn publish(self, place: &Path) -> Result<()> {
        let what = || place.display().to_string();
        self.file.sync_all().context(what)?;
        step("publish a file")?;
        fs::rename(&self.path, place).context(what)?;
        sync_parent(place)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if stopped() {
            return;
        }
        // after a rename there is nothing; what stays for another reason is swept later
        fs::remove_file(&self.path).ok();
    }
}

/// A directory that nobody sees yet.
#[derive(Debug)]
pub struct Staging(PathBuf);

impl Staging {
    /// Where it is for now.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Puts it in its place, unless there is one already. It has been synced.
    pub(super) fn publish(self, place: &Path) -> Result<()> {
        step("publish a folder")?;
        match fs::rename(&self.0, place).map_err(Error::from) {
            Err(e) if e.is(Errno::EEXIST) || e.is(Errno::ENOTEMPTY) => Ok(()),
            Err(e) => Err(e.context(place.display())),
            Ok(()) => sync_parent(place),
        }
    }

    /// The same, in place of the one that is there, which goes. It has been synced.
    pub(super) fn replace(self, place: &Path) -> Result<()> {
        let what = || place.display().to_string();
        step("replace a folder")?;
        // both are there all the time, where the file system can do that
        let exchanged = renameat_with(CWD, &self.0, CWD, place, RenameFlags::EXCHANGE);
        match exchanged.map_err(Error::from) {
            Ok(()) => return sync_parent(place),
            Err(e) if e.is(Errno::ENOENT) => {}
            Err(e) if e.is(Errno::EINVAL) => remove(place).context(what)?,
            Err(e) => return Err(e.context(what())),
        }
        self.publish(place)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if stopped() {
            return;
        }
        fs::remove_dir_all(&self.0).ok();
    }
}

impl Store {
    /// Where files that never get a name are made.
    pub fn scratch(&self) -> PathBuf {
        self.path(TMP)
    }

    /// A new file on the file system of the store.
    pub fn temp(&self) -> Result<Temp> {
        Temp::new(&self.path(TMP))
    }

    /// A new, empty directory on the file system of the store.
    pub fn staging(&self) -> Result<Staging> {
        loop {
            let path = self.path(TMP).join(random_name()?);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Staging(path)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::from(e).context(path.display())),
            }
        }
    }
}

fn random_name() -> Result<String> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Writes a whole file, by way of `tmp`.
pub fn replace(tmp: &Path, place: &Path, bytes: &[u8]) -> Result<()> {
    let mut temp = Temp::new(tmp)?;
    temp.file
        .write_all(bytes)
        .context(|| place.display().to_string())?;
    temp.publish(place)
}

/// Syncs the directory that holds it.
pub fn sync_parent(place: &Path) -> Result<()> {
    place.parent().map_or(Ok(()), sync_dir)
}

/// Syncs a directory: its names, not what they name.
pub fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .context(|| format!("sync {}", dir.display()))
}

/// Syncs a directory of files.
pub fn sync_tree(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            File::open(&path)
                .and_then(|f| f.sync_all())
                .context(|| format!("sync {}", path.display()))?;
        }
    }
    sync_dir(dir)
}

/// Removes what processes that died left. Nobody else may be at work.
pub fn sweep(tmp: &Path) -> Result<()> {
    for entry in fs::read_dir(tmp).context(|| tmp.display().to_string())? {
        let path = entry?.path();
        remove(&path).context(|| format!("sweep {}", path.display()))?;
    }
    Ok(())
}

/// Removes a file or a directory; that it is gone already is fine.
pub fn remove(path: &Path) -> Result<()> {
    let Some(meta) = absent_ok(fs::symlink_metadata(path).map_err(Error::from))? else {
        return Ok(());
    };
    step("remove")?;
    let removed = match meta.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    absent_ok(removed.map_err(Error::from)).map(drop)
}
