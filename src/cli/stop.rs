//! `vellum stop`.

use super::running::{config, each};
use super::store::{StoreArgs, finish};
use crate::image::container::Container;
use crate::image::store::Store;
use crate::run::{self};
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;
use std::time::Duration;

/// Ask containers to end, and kill those that do not
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum stop web
  vellum stop -t 60 db")]
pub struct Stop {
    #[command(flatten)]
    store: StoreArgs,

    /// Seconds until a container is killed; -1: never
    #[arg(
        short,
        long,
        visible_alias = "timeout",
        value_name = "SECONDS",
        default_value_t = 10,
        allow_negative_numbers = true
    )]
    time: i64,

    /// The signal to ask with, in the place of the container's
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,

    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Stop {
    /// Stops all; a failure does not stop at the first.
    pub fn run(self) -> ExitCode {
        finish("stop", self.stop())
    }

    fn stop(&self) -> Result<ExitCode> {
        // not kept open: who removes something would wait for the container's end
        let store = self.store.open()?;
        let all: Vec<_> = self
            .names
            .iter()
            .map(|name| self.find(&store, name))
            .collect();
        drop(store);
        let patience = u64::try_from(self.time).ok().map(Duration::from_secs);
        Ok(each("stop", all, |(container, signal)| {
            run::stop(&container, signal, patience)
        }))
    }

    fn find(&self, store: &Store, name: &str) -> Result<(Container, i32)> {
        let container = store.container(name)?;
        let asked = config(&container)?.stop_signal;
        let image = store.image(&container.record.manifest)?;
        let of_image = image
            .config
            .config()
            .as_ref()
            .and_then(|c| c.stop_signal().clone());
        let signal = self.signal.clone().or(asked).or(of_image);
        let signal = run::parse_signal(signal.as_deref().unwrap_or("TERM"))?;
        Ok((container, signal))
    }
}
