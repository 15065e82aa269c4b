//! `vellum umount`.

use super::report;
use super::store::StoreArgs;
use crate::fuse;
use crate::image::store::Store;
use crate::run::{Folder, Status};
use crate::vfs::error::absent_ok;
use crate::vfs::{Error, Result};
use clap::{Args, ValueHint};
use nix::errno::Errno;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Unmount what was mounted
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum umount /mnt
  vellum umount web      # the container, wherever it is mounted

What is there as a file or directory is a mountpoint; another word is the name of a container.")]
pub struct Umount {
    #[command(flatten)]
    store: StoreArgs,

    /// Unmount at once, even if files are in use; those stay usable until closed
    #[arg(short, long)]
    lazy: bool,

    /// Directories to unmount, or names of containers
    #[arg(value_name = "MOUNTPOINT|NAME", required = true, value_hint = ValueHint::DirPath)]
    mountpoints: Vec<PathBuf>,
}

impl Umount {
    /// Unmounts all; a failure does not stop at the first.
    pub fn run(self) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for mountpoint in &self.mountpoints {
            if let Err(e) = self.one(mountpoint) {
                code = report::failed("vellum", "umount", mountpoint, &e);
            }
        }
        code
    }

    fn one(&self, given: &Path) -> Result<()> {
        let at = self.container(given)?;
        fuse::unmount(at.as_deref().unwrap_or(given), self.lazy)
    }

    /// Where the container of that name is mounted; nothing if it is a path, or no container.
    fn container(&self, given: &Path) -> Result<Option<PathBuf>> {
        // a mount that nobody serves any more is there, and cannot be looked at
        let there = std::fs::symlink_metadata(given);
        let name = match (there, given.to_str()) {
            (Err(e), Some(name)) if e.kind() == ErrorKind::NotFound => name,
            _ => return Ok(None),
        };
        if !Store::is_container_name(name) {
            return Ok(None);
        }
        // without a store there is no container: then the path is missing
        let Some(store) = absent_ok(self.store.open())? else {
            return Ok(None);
        };
        let Some(container) = absent_ok(store.container(name))? else {
            return Ok(None);
        };
        if let Status::Running(_) = Folder::of(&container).status()? {
            let why = "the container is running; 'vellum stop' ends it";
            return Err(Error::because(Errno::EBUSY, why));
        }
        match container.mounted_on()? {
            Some(at) => Ok(Some(at)),
            None => Err(Error::because(
                Errno::EINVAL,
                "the container is not mounted",
            )),
        }
    }
}
