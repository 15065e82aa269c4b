//! `vellum completions` and `vellum man`: what a package installs beside the program.

use super::Cli;
use clap::{Args, CommandFactory};
use std::path::PathBuf;
use std::process::ExitCode;

/// Print completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  vellum completions bash > /usr/share/bash-completion/completions/vellum")]
pub struct Completions {
    /// Shell
    shell: clap_complete::Shell,
}

impl Completions {
    /// Prints them.
    pub fn run(self) -> ExitCode {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "vellum", &mut out);
        super::print(&String::from_utf8_lossy(&out))
    }
}

/// Print the manual page
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum man | man -l -
  vellum man mount | man -l -
  vellum man --all /usr/local/share/man/man1")]
pub struct Man {
    /// Command to describe; none: the program itself
    command: Option<String>,

    /// Write the pages of the program and of all its commands into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    all: Option<PathBuf>,
}

impl Man {
    /// Prints it.
    pub fn run(self) -> ExitCode {
        let mut all = Cli::command();
        if let Some(dir) = &self.all {
            return match clap_mangen::generate_to(all, dir) {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => {
                    eprintln!("vellum: man: {}: {e}", dir.display());
                    ExitCode::FAILURE
                }
            };
        }
        all.build();
        let page = match &self.command {
            None => all,
            Some(name) => match all.find_subcommand(name) {
                Some(command) => command.clone(),
                None => return super::usage_error("man", &format!("no command {name}")),
            },
        };
        let mut out = Vec::new();
        match clap_mangen::Man::new(page).render(&mut out) {
            Ok(()) => super::print(&String::from_utf8_lossy(&out)),
            Err(e) => {
                eprintln!("vellum: man: {e}");
                ExitCode::FAILURE
            }
        }
    }
}
