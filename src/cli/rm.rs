//! `vellum rm`.

use super::store::{StoreArgs, complain, finish};
use crate::fuse;
use crate::image::store::Store;
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;

/// Remove containers with all that was changed in them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum rm web
  vellum rm -f web       # also if it is mounted")]
pub struct Rm {
    #[command(flatten)]
    store: StoreArgs,

    /// Unmount it first
    #[arg(short, long)]
    force: bool,

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
        let mut code = ExitCode::SUCCESS;
        for name in &self.names {
            match self.one(&store, name) {
                Ok(()) => {
                    super::print(&format!("{name}\n"));
                }
                Err(e) => {
                    complain("rm", &e);
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }

    fn one(&self, store: &Store, name: &str) -> Result<()> {
        let container = store.container(name)?;
        if self.force {
            while let Some(at) = container.mounted_on()? {
                fuse::unmount(&at, true)?;
            }
        }
        store.remove_container(&container)
    }
}
