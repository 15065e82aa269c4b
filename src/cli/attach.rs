//! `vellum attach`.

use super::running::failed;
use super::store::StoreArgs;
use crate::run::{self, Attach, DetachKeys, Failure, Left};
use clap::{ArgAction, Args};
use std::process::ExitCode;

/// Be at the input and output of a container that runs
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum attach shell
  vellum attach --no-stdin web
  vellum attach --detach-keys ctrl-x,x shell

What the container wrote before is not shown; 'vellum logs' does that. Ctrl-p Ctrl-q leaves a container that has a terminal, and it
goes on. Without a terminal, Ctrl-C is for the container, unless --sig-proxy=false. The exit code is the container's; 0 if it goes on.")]
pub struct AttachCommand {
    #[command(flatten)]
    store: StoreArgs,

    /// Keys that leave it, with commas between
    #[arg(long, value_name = "KEYS", default_value = DETACH_KEYS)]
    detach_keys: String,

    /// Do not pass standard input on
    #[arg(long)]
    no_stdin: bool,

    /// Pass signals on to the container
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    sig_proxy: bool,

    /// Name of the container
    #[arg(value_name = "NAME")]
    name: String,
}

/// Docker's.
pub const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

impl AttachCommand {
    /// Attaches.
    pub fn run(self) -> ExitCode {
        match self.attach() {
            Ok(Left::Ended(code)) => ExitCode::from(code),
            Ok(Left::Detached) => ExitCode::SUCCESS,
            Err(e) if e.code == run::FAILED => {
                failed("attach", &e);
                ExitCode::FAILURE
            }
            Err(e) => failed("attach", &e),
        }
    }

    fn attach(&self) -> std::result::Result<Left, Failure> {
        let asked = Attach {
            keys: DetachKeys::parse(&self.detach_keys)?,
            input: !self.no_stdin,
            signals: self.sig_proxy,
        };
        // not kept open: who removes something would wait for the container's end
        let container = self.store.open()?.container(&self.name)?;
        super::running::config(&container)?;
        run::attach(&container, asked)
    }
}
