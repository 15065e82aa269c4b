//! Instructions of a Dockerfile that change how an image is run: what `--change` takes.
//!
//! An *instruction* is read in two steps, as docker does it. [`parse()`] takes the text apart into words,
//! which still have their quotes and variables. [`Edit::apply`] puts the variables in, which are
//! those of the configuration before the instruction, and changes the configuration.
//!
//! | understood | forms |
//! |---|---|
//! | `CMD`, `ENTRYPOINT` | `["exec", "form"]`, or a line for the shell |
//! | `ENV`, `LABEL` | `NAME=VALUE ...`, or `NAME VALUE` |
//! | `EXPOSE`, `VOLUME` | words; of `VOLUME` also a JSON list |
//! | `USER`, `WORKDIR`, `STOPSIGNAL` | a word |
//! | `ONBUILD`, `HEALTHCHECK` | kept by Docker's configurations alone |

mod edit;
mod health;
mod parse;
mod words;

#[cfg(test)]
mod tests;

pub use edit::{Edit, Keeps};
pub use health::Health;
pub use parse::{parse, parse_all};

use crate::vfs::Error;
use nix::errno::Errno;
use std::fmt;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is to be executed, word by word.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// Names and values, with quotes and variables in them.
pub type Pairs = Vec<(String, String)>;

/// An instruction, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// What is run, or what the entry point is given.
    Cmd(Form),
    /// What is always run.
    Entrypoint(Form),
    /// Variables.
    Env(Pairs),
    /// Ports: `80`, `53/udp`, `8000-8010`.
    Expose(Vec<String>),
    /// Labels.
    Label(Pairs),
    /// An instruction for a build that begins with the image.
    Onbuild(String),
    /// The signal that stops it.
    StopSignal(String),
    /// Who runs it.
    User(String),
    /// Directories that are to be volumes.
    Volume(Vec<String>),
    /// Where it is run.
    Workdir(String),
    /// How to tell whether it is well.
    Healthcheck(Health),
}

fn invalid(why: impl fmt::Display) -> Error {
    Error::because(Errno::EINVAL, why)
}
