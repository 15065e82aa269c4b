//! A file that the kernel reads and writes by itself.

use crate::sys::fuse_dev::{backing_close, backing_open};
use crate::vfs::Result;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A backing file that the kernel knows. Dropping it ends that, for opens to come.
#[derive(Debug)]
pub(super) struct BackingFile {
    device: Arc<OwnedFd>,
    id: i32,
}

impl BackingFile {
    /// Tells the kernel of `file`.
    pub(super) fn register(device: &Arc<OwnedFd>, file: &File) -> Result<BackingFile> {
        Ok(BackingFile {
            device: device.clone(),
            id: backing_open(device, file)?,
        })
    }

    /// The number by which an answer names it.
    pub(super) fn id(&self) -> i32 {
        self.id
    }
}

impl Drop for BackingFile {
    fn drop(&mut self) {
        if let Err(e) = backing_close(&self.device, self.id) {
            log::debug!("backing file {} stays registered: {e}", self.id);
        }
    }
}
