//! What can go wrong in a run: a peer fails, or the user stops it.

use std::fmt;
use std::path::Path;

/// What every step of the benchmark returns.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a step did not give a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The step failed; the sentence is what the table and the JSON show.
    Failed(String),
    /// The peer cannot have so many layers, and says so; the sentence says where it stops.
    Limit(String),
    /// A signal asked to stop. Nothing else may be measured, everything is to be cleaned up.
    Interrupted,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(why: impl fmt::Display) -> Failure {
        Failure::Failed(why.to_string())
    }

    /// Says in which step the failure came up.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Failure {
        match self {
            Failure::Failed(why) => Failure::Failed(format!("{what}: {why}")),
            Failure::Limit(why) => Failure::Limit(why),
            Failure::Interrupted => Failure::Interrupted,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(why) | Failure::Limit(why) => f.write_str(why),
            Failure::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Failure {
        Failure::new(e)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(e: rustix::io::Errno) -> Failure {
        Failure::new(std::io::Error::from(e))
    }
}

impl From<nix::errno::Errno> for Failure {
    fn from(e: nix::errno::Errno) -> Failure {
        Failure::new(std::io::Error::from(e))
    }
}

impl From<crate::vfs::Error> for Failure {
    fn from(e: crate::vfs::Error) -> Failure {
        Failure::new(e)
    }
}

/// Adds the step, or the path, to a failure.
pub trait Step<T> {
    /// Names the step.
    fn step(self, what: impl fmt::Display) -> Result<T>;
    /// Names the step and the path it was at.
    fn at(self, what: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<Failure>> Step<T> for std::result::Result<T, E> {
    fn step(self, what: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().context(what))
    }

    fn at(self, what: &str, path: &Path) -> Result<T> {
        self.map_err(|e| e.into().context(format_args!("{what} {}", path.display())))
    }
}

/// Fails when the user asked to stop.
pub fn go_on() -> Result<()> {
    match crate::sys::interrupt::requested() {
        true => Err(Failure::Interrupted),
        false => Ok(()),
    }
}
