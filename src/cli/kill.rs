//! `vellum kill`.

use super::running::each;
use super::store::{StoreArgs, finish};
use crate::run;
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;

/// Send a signal to containers
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum kill web
  vellum kill -s HUP web")]
pub struct Kill {
    #[command(flatten)]
    store: StoreArgs,

    /// The signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,

    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Kill {
    /// Sends it to all; a failure does not stop at the first.
    pub fn run(self) -> ExitCode {
        finish("kill", self.kill())
    }

    fn kill(&self) -> Result<ExitCode> {
        let signal = run::parse_signal(&self.signal)?;
        let store = self.store.open()?;
        let all = self.names.iter().map(|name| store.container(name));
        Ok(each("kill", all, |container| run::kill(&container, signal)))
    }
}
