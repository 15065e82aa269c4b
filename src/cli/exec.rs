//! `vellum exec`.

use super::environment::environment;
use super::running::failed;
use super::store::StoreArgs;
use crate::run::{self, Failure};
use crate::vfs::{Error, Result};
use clap::Args;
use nix::errno::Errno;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Run a command in a container that runs
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum exec web ps
  vellum exec -it web sh
  vellum exec -u www-data -w /srv -e DEBUG=1 web ./check
  vellum exec -d web ./reindex

The exit code is the command's, or as for 'vellum run'; with -d, 0 when the command has begun.")]
pub struct Exec {
    /// Pass standard input on
    #[arg(short, long)]
    interactive: bool,

    /// Give the command a terminal
    #[arg(short, long)]
    tty: bool,

    /// Return when the command has begun; what it writes is not kept
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,

    /// Variable of the environment; without a value it is this command's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// File with a variable a line
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,

    /// User, and group, by names of the image or by numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,

    /// Give it all capabilities
    #[arg(long)]
    privileged: bool,

    #[command(flatten)]
    store: StoreArgs,

    /// Name of the container, and the command
    #[arg(value_names = ["NAME", "COMMAND"], required = true, num_args = 2.., trailing_var_arg = true)]
    rest: Vec<OsString>,
}

impl Exec {
    /// Runs it. Exit codes are docker's.
    pub fn run(self) -> ExitCode {
        super::log::init("vellum: exec", false);
        match self.exec() {
            Ok(code) => ExitCode::from(code),
            Err(e) => failed("exec", &e),
        }
    }

    fn exec(mut self) -> std::result::Result<u8, Failure> {
        let rest = std::mem::take(&mut self.rest);
        let mut words = rest
            .into_iter()
            .map(run::text)
            .collect::<Result<Vec<_>>>()?;
        let name = words.remove(0);
        if self.tty && self.interactive && !std::io::stdin().is_terminal() {
            let why = "-t with -i: standard input is no terminal";
            return Err(Error::because(Errno::ENOTTY, why).into());
        }
        let asked = run::Exec {
            command: words,
            env: environment(&self.env_file, &self.env)?,
            user: self.user,
            workdir: self.workdir,
            tty: self.tty,
            interactive: self.interactive,
            detach: self.detach,
            privileged: self.privileged,
        };
        let container = self.store.open()?.container(&name)?;
        run::exec(&container, &asked)
    }
}
