//! `vellum wait`.

use super::running::config;
use super::store::{StoreArgs, complain, finish};
use crate::run::{self, Folder};
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;

/// Wait until containers end, and print their exit codes
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum wait job && echo \"done\"
  code=$(vellum wait job)")]
pub struct Wait {
    #[command(flatten)]
    store: StoreArgs,

    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Wait {
    /// Waits for all; a failure does not stop at the first.
    pub fn run(self) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for name in &self.names {
            match self.wait(name) {
                Ok(ended) => {
                    super::print(&format!("{ended}\n"));
                }
                Err(e) => {
                    complain("wait", &e);
                    code = ExitCode::FAILURE;
                }
            }
        }
        finish("wait", Ok(code))
    }

    fn wait(&self, name: &str) -> Result<u8> {
        let container = self.store.open()?.container(name)?;
        config(&container)?;
        let folder = Folder::of(&container);
        let said = folder.wait()?;
        // who looked after it died without a word
        Ok(said.unwrap_or(run::KILLED))
    }
}
