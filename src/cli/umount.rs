//! `vellum umount`.

use super::report;
use crate::fuse;
use clap::{Args, ValueHint};
use std::path::PathBuf;
use std::process::ExitCode;

/// Unmount what was mounted
#[derive(Args, Debug)]
pub struct Umount {
    /// Unmount at once, even if files are in use; those stay usable until closed
    #[arg(short, long)]
    lazy: bool,

    /// Directories to unmount
    #[arg(value_name = "MOUNTPOINT", required = true, value_hint = ValueHint::DirPath)]
    mountpoints: Vec<PathBuf>,
}

impl Umount {
    /// Unmounts all; a failure does not stop at the first.
    pub fn run(self) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for mountpoint in &self.mountpoints {
            if let Err(e) = fuse::unmount(mountpoint, self.lazy) {
                code = report::failed("vellum", "umount", mountpoint, &e);
            }
        }
        code
    }
}
