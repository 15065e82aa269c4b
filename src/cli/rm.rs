//! `vellum rm`.

use super::running;
use super::store::{StoreArgs, finish};
use crate::image::container::Container;
use crate::run::{self, Folder, Status};
use crate::vfs::Result;
use clap::Args;
use nix::errno::Errno;
use std::process::ExitCode;

/// Remove containers with all that was changed in them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum rm web
  vellum rm -f web       # also if it runs, or is mounted
  vellum rm -v web       # with its volumes, but for those that have a name")]
pub struct Rm {
    #[command(flatten)]
    store: StoreArgs,

    /// Kill it, or unmount it, first
    #[arg(short, long)]
    force: bool,

    /// Remove the volumes without a name, too, that nobody else uses
    #[arg(short, long)]
    volumes: bool,

    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Rm {
    /// Removes all; a failure does not stop at the first.
    pub fn run(self) -> ExitCode {
        finish("rm", self.remove())
    }

    fn remove(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let found: Vec<Result<Container>> = self
            .names
            .iter()
            .map(|name| store.container(name))
            .collect();
        // what ran without root belongs to users of its namespace
        let has_run =
            |c: &Container| matches!(Folder::of(c).status(), Ok(s) if s != Status::Mounted);
        if found.iter().flatten().any(has_run) {
            run::enter_user_namespace()?;
        }
        let found = self.names.iter().zip(found);
        let found = found.filter_map(|(name, found)| match found {
            Err(e) if self.force && e.is(Errno::EBADMSG) => {
                Some(Err(match store.remove_damaged_container(name) {
                    Ok(()) => {
                        super::print(&format!("{name}\n"));
                        return None;
                    }
                    Err(stays) => stays,
                }))
            }
            found => Some(found),
        });
        Ok(running::each("rm", found, |container| {
            run::remove(&store, &container, self.force, self.volumes)
        }))
    }
}
