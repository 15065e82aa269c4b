//! Pins, and other users: images that stay because something uses them.
//!
//! A pin is a file that names the manifest and that the process has locked. When the process ends,
//! however it does, the lock ends, and the file means nothing any more; a collection removes it.
//! A container uses its image for as long as it is there, mounted or not: its changes are worth
//! nothing without what they were made over.

use super::lock::Lock;
use super::{PINS, Store};
use crate::image::digest::Digest;
use crate::image::oci::{Descriptor, digest_of, render};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fmt;
use std::fs;
use std::path::PathBuf;

/// Keeps an image in the store while it lives, also after the [`Store`] was closed.
#[derive(Debug)]
pub struct Pin {
    path: PathBuf,
    _lock: Lock,
}

impl Drop for Pin {
    fn drop(&mut self) {
        // one that stays is not locked, and so means nothing
        fs::remove_file(&self.path).ok();
    }
}

/// What an image is used by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// A process, as a mount is one.
    Process,
    /// The container of this name.
    Container(String),
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            User::Process => write!(f, "a mount"),
            User::Container(name) => write!(f, "container {name:?}"),
        }
    }
}

impl Store {
    /// What uses an image, with its manifest: containers in order, then processes.
    pub fn users(&self) -> Result<Vec<(User, Descriptor)>> {
        let containers = self.containers()?.into_iter();
        let mut users: Vec<_> = containers
            .map(|c| (User::Container(c.name), c.record.manifest))
            .collect();
        let (live, _) = self.pinned()?;
        users.extend(live.into_iter().map(|manifest| (User::Process, manifest)));
        Ok(users)
    }

    /// Refuses if something uses the image with this manifest.
    pub fn check_unused(&self, manifest: Digest) -> Result<()> {
        let mut users = self.users()?.into_iter();
        let why = match users.find(|(_, used)| digest_of(used) == Ok(manifest)) {
            None => return Ok(()),
            Some((User::Container(name), _)) => {
                format!("container {name:?} uses the image; 'vellum rm {name}' removes it")
            }
            Some((User::Process, _)) => "the image is mounted".to_owned(),
        };
        Err(Error::because(Errno::EBUSY, why))
    }

    /// Keeps what the image of this manifest needs, its layers, objects and index, for as long as the pin lives.
    pub fn pin(&self, manifest: &Descriptor) -> Result<Pin> {
        let file = self.temp()?;
        fs::write(file.path(), render(manifest)?).context(|| "pin")?;
        // nobody removes pins meanwhile: this store is open
        let path = self
            .path(PINS)
            .join(file.path().file_name().unwrap_or_default());
        // not synced: a crash ends the process, and with it the pin, whatever is left of the file
        fs::rename(file.path(), &path).context(|| path.display().to_string())?;
        Ok(Pin {
            _lock: Lock::exclusive(&path)?,
            path,
        })
    }

    /// What pins keep; with the pins that mean nothing.
    pub(super) fn pinned(&self) -> Result<(Vec<Descriptor>, Vec<PathBuf>)> {
        let dir = self.path(PINS);
        let (mut live, mut dead) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&dir).context(|| dir.display().to_string())? {
            let path = entry?.path();
            // one that is gone was let go just now
            match absent_ok(Lock::try_exclusive(&path))? {
                Some(None) => {}
                Some(Some(_)) | None => {
                    dead.push(path);
                    continue;
                }
            }
            let Some(text) = absent_ok(fs::read(&path).map_err(Error::from))? else {
                continue;
            };
            live.push(serde_json::from_slice(&text).map_err(|e| {
                Error::because(Errno::EBADMSG, format!("pin {}: {e}", path.display()))
            })?);
        }
        Ok((live, dead))
    }
}
