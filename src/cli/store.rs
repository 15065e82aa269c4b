//! The option `--root`, which all commands on images have, and how they tell of a failure.

use crate::image::store::{Exclusive, Store};
use crate::vfs::{Error, Result};
use clap::{Args, ValueHint};
use nix::errno::Errno;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where the images are.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Image store [default: /var/lib/vellum for root, else ~/.local/share/vellum]
    #[arg(long, env = "VELLUM_ROOT", hide_env_values = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    root: Option<PathBuf>,
}

impl StoreArgs {
    /// Where it is, by a path that means the same wherever this process goes.
    pub fn path(&self) -> Result<PathBuf> {
        match &self.root {
            Some(root) => Ok(std::path::absolute(root)?),
            None => Store::default_root(),
        }
    }

    /// Opens the store, which is made if it is missing.
    pub fn create(&self) -> Result<Store> {
        Store::create(&self.path()?)
    }

    /// Opens a store that is there.
    pub fn open(&self) -> Result<Store> {
        Store::open(&self.path()?).map_err(no_store)
    }

    /// Opens a store that is there, alone; nothing if somebody uses it and `wait` is false.
    pub fn exclusive(&self, wait: bool) -> Result<Option<Exclusive>> {
        let path = self.path()?;
        match wait {
            true => Exclusive::open(&path).map(Some),
            false => Exclusive::try_open(&path),
        }
    }
}

/// Says what to do about a store that is missing.
pub fn no_store(e: Error) -> Error {
    match e.is(Errno::ENOENT) {
        true => Error::because(
            Errno::ENOENT,
            format!("{}; 'vellum load' makes one", e.reason()),
        ),
        false => e,
    }
}

/// Exit code of a command, and its failure told: `vellum: images: REASON: ERROR (ERRNO)`.
pub fn finish(command: &str, done: Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|e| {
        complain(command, &e);
        ExitCode::FAILURE
    })
}

/// Tells of a failure that does not end the command.
pub fn complain(command: &str, e: &Error) {
    eprintln!("{}", line(command, e));
}

/// With the system's words for the error, unless it is one of those that are only given with a
/// reason, which says it better.
fn line(command: &str, e: &Error) -> String {
    let errno = e.errno();
    let text = match errno {
        Errno::EBADMSG | Errno::EFBIG | Errno::EINVAL | Errno::ENOTUNIQ | Errno::EOPNOTSUPP
            if !e.reason().is_empty() =>
        {
            format!("vellum: {command}: {} ({errno:?})", e.reason())
        }
        _ => format!("vellum: {command}: {e} ({errno:?})"),
    };
    // an archive may have names in it that would steer a terminal
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_is_not_said_yet() {
        let e = Error::because(Errno::EBADMSG, "blob x: has 2 bytes, not 3");
        assert_eq!(
            line("load", &e),
            "vellum: load: blob x: has 2 bytes, not 3 (EBADMSG)"
        );
        let e = Error::because(Errno::EBADMSG, "\x1b[2Jx\n");
        assert_eq!(
            line("load", &e),
            "vellum: load: \u{fffd}[2Jx\u{fffd} (EBADMSG)"
        );
        let e = Error::because(Errno::EACCES, "blob x");
        assert_eq!(
            line("load", &e),
            "vellum: load: blob x: Permission denied (EACCES)"
        );
    }
}
