//! What the commands on running containers share.

use super::store::{StoreArgs, complain};
use crate::image::container::Container;
use crate::image::oci::PlatformSpec;
use crate::run::{self, Attach, Config, DetachKeys, Failure, Folder, Job, Left};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::path::PathBuf;
use std::process::ExitCode;

/// Tells of a failure; its exit code.
pub fn failed(command: &str, failure: &Failure) -> ExitCode {
    match failure.code {
        _ if failure.told => {}
        // what the runtime said of the command says it all
        run::NOT_FOUND | run::NOT_EXECUTABLE => {
            eprintln!("vellum: {command}: {}", failure.error.reason());
        }
        _ => complain(command, &failure.error),
    }
    ExitCode::from(failure.code)
}

/// Where the store is; from then on this process is root, in a user namespace if it has to be.
pub fn enter(store: &StoreArgs) -> Result<PathBuf> {
    let root = store.path()?;
    run::enter_user_namespace()?;
    Ok(root)
}

/// Runs a container with this process at its terminal: its exit code, or 0 if one left and it goes on.
pub fn attached(job: &Job, keys: DetachKeys) -> std::result::Result<u8, Failure> {
    let asked = Attach {
        keys,
        input: true,
        signals: true,
    };
    match run::attached(job, asked)? {
        Left::Ended(code) => Ok(code),
        Left::Detached => Ok(0),
    }
}

/// What is asked of a container that can run.
pub fn config(container: &Container) -> Result<Config> {
    Folder::of(container).config()?.ok_or_else(|| {
        let why = format!(
            "container {:?} was made by 'vellum mount', and has no command",
            container.name
        );
        Error::because(Errno::EINVAL, why)
    })
}

/// What is done to several containers: those that were found, by name.
pub trait Named {
    /// The container's name.
    fn name(&self) -> &str;
}

impl Named for Container {
    fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Named for (Container, T) {
    fn name(&self) -> &str {
        &self.0.name
    }
}

/// Does something to each: all that fails is told, and the exit code says so.
pub fn each<T: Named>(
    command: &str,
    found: impl IntoIterator<Item = Result<T>>,
    mut then: impl FnMut(T) -> Result<()>,
) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for one in found {
        let done = one.and_then(|one| {
            let name = one.name().to_owned();
            then(one).map(|()| name)
        });
        match done {
            Ok(name) => {
                super::print(&format!("{name}\n"));
            }
            Err(e) => {
                complain(command, &e);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Warns of an image that this machine may not run.
pub fn warn_platform(image: &PlatformSpec) {
    let machine = PlatformSpec::default();
    if !machine.runs(image) {
        log::warn!("the image is for {image}, and this machine is {machine}");
    }
}
