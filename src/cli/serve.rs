//! From a checked request to a mount.

use super::options::Request;
use super::overlayfs::Remount;
use super::{log, report};
use crate::fuse;
use crate::overlay::MakeLower;
use crate::vfs::Result;
use std::process::ExitCode;

/// Mounts. Returns when the mount is ready, or in the foreground when it is gone.
pub fn mount(program: &'static str, request: &Request) -> ExitCode {
    warn(program, &request.warnings);
    log::init(program, request.mount.debug);
    let mounted = fuse::run(
        &request.config,
        &request.mount,
        &request.mountpoint,
        request.foreground,
    );
    ended(program, request, mounted)
}

/// The same, with the tree that `make` makes in the place of lower directories.
pub fn mount_over(program: &'static str, make: MakeLower, request: &Request) -> ExitCode {
    warn(program, &request.warnings);
    log::init(program, request.mount.debug);
    let mounted = fuse::run_over(
        make,
        &request.config,
        &request.mount,
        &request.mountpoint,
        request.foreground,
    );
    ended(program, request, mounted)
}

fn ended(program: &str, request: &Request, mounted: Result<()>) -> ExitCode {
    match mounted {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => report::failed(program, "mount", &request.mountpoint, &e),
    }
}

/// Changes the flags of a mount.
pub fn remount(program: &'static str, remount: &Remount) -> ExitCode {
    warn(program, &remount.warnings);
    if remount.fake {
        return ExitCode::SUCCESS;
    }
    match fuse::remount(&remount.mountpoint, remount.set, remount.clear) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => report::failed(program, "remount", &remount.mountpoint, &e),
    }
}

/// Prints warnings.
pub fn warn(program: &str, warnings: &[String]) {
    for warning in warnings {
        eprintln!("{program}: warning: {warning}");
    }
}
