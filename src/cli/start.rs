//! `vellum start`.

use super::attach::DETACH_KEYS;
use super::running::{attached, config, enter, failed};
use super::store::{StoreArgs, complain};
use crate::image::prepare::complete;
use crate::image::store::Store;
use crate::run::{self, DetachKeys, Failure, Job};
use crate::vfs::{Error, Result};
use clap::Args;
use nix::errno::Errno;
use std::path::Path;
use std::process::ExitCode;

/// Run containers again, with what was changed in them
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum start web
  vellum start -a -i shell")]
pub struct Start {
    #[command(flatten)]
    store: StoreArgs,

    /// Show what the container writes, and wait for its end
    #[arg(short, long)]
    attach: bool,

    /// Pass standard input on, if the container was made with -i
    #[arg(short, long, requires = "attach")]
    interactive: bool,

    /// Keys that leave a container with a terminal, which goes on
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS)]
    detach_keys: String,

    /// Names of containers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

impl Start {
    /// Starts all; a failure does not stop at the first.
    pub fn run(self) -> ExitCode {
        super::log::init("vellum: start", false);
        match self.start() {
            Ok(code) => code,
            Err(e) => failed("start", &e),
        }
    }

    fn start(&self) -> std::result::Result<ExitCode, Failure> {
        let _meanwhile = run::prepare();
        let root = enter(&self.store)?;
        if self.attach {
            let [name] = self.names.as_slice() else {
                let why = "-a takes one container";
                return Err(Error::because(Errno::EINVAL, why).into());
            };
            let mut job = job(&root, name)?;
            job.config.interactive &= self.interactive;
            let code = match job.config.tty && job.config.interactive {
                true => attached(&job, DetachKeys::parse(&self.detach_keys)?)?,
                false => run::foreground(&job, true)?,
            };
            return Ok(ExitCode::from(code));
        }
        let mut code = ExitCode::SUCCESS;
        for name in &self.names {
            match job(&root, name)
                .map_err(Failure::from)
                .and_then(|job| run::background(&job))
            {
                Ok(()) => {
                    super::print(&format!("{name}\n"));
                }
                Err(e) => {
                    complain("start", &e.error);
                    code = ExitCode::FAILURE;
                }
            }
        }
        Ok(code)
    }
}

fn job(root: &Path, name: &str) -> Result<Job> {
    let store = Store::open(root)?;
    let container = store.container(name)?;
    let image = store.image(&container.record.manifest)?;
    complete(&store, &image)?;
    let mut config = config(&container)?;
    config.size = run::terminal_size();
    Ok(Job {
        store: root.to_owned(),
        container,
        image,
        config,
        new: false,
    })
}
