//! What is asked of a container: the options of `vellum run`, checked, as they are kept for its next
//! start.

use super::limits::{Limits, Ulimit};
use super::record::LogOptions;
use super::volume::Volume;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is asked of a container. Where something is `None`, or empty, the image decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// What the runtime knows it by: 64 random hexadecimal digits.
    pub id: String,
    /// What comes behind the image: the command, or arguments of the entry point.
    pub command: Vec<String>,
    /// In the place of the image's entry point; empty: none.
    pub entrypoint: Option<String>,
    /// `NAME=VALUE`, added to the image's.
    pub env: Vec<String>,
    /// `USER[:GROUP]`, by names or numbers.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// With a terminal.
    pub tty: bool,
    /// With standard input.
    pub interactive: bool,
    /// Lines and columns of the terminal of who starts it.
    #[serde(skip)]
    pub size: Option<(u16, u16)>,
    /// Removed when it ends.
    pub remove: bool,
    /// The root file system cannot be written to.
    pub read_only: bool,
    /// With all that its maker may do.
    pub privileged: bool,
    /// With an init process.
    pub init: bool,
    /// Which network it sees.
    pub network: Network,
    /// What is mounted in it.
    pub volumes: Vec<Volume>,
    /// Capabilities beyond docker's default.
    pub cap_add: Vec<String>,
    /// Capabilities that it does not get.
    pub cap_drop: Vec<String>,
    /// What it may use.
    pub limits: Limits,
    /// What each of its processes may use.
    pub ulimits: Vec<Ulimit>,
    /// Labels, added to the image's.
    pub labels: BTreeMap<String, String>,
    /// The signal that asks it to end.
    pub stop_signal: Option<String>,
    /// The kernel reads and writes files of the root file system itself.
    pub passthrough: bool,
    /// How what it writes is kept.
    pub log: LogOptions,
    /// The runtime that was asked for.
    pub runtime: Option<String>,
}

/// Which network a container sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// One of its own, with a loopback device.
    #[default]
    None,
    /// The host's.
    Host,
}

/// A new ID.
pub fn new_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    let n = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    if n != bytes.len() {
        return Err(Error::because(Errno::EIO, "no random bytes"));
    }
    Ok(bytes.iter().fold(String::new(), |mut id, byte| {
        // writing to a String does not fail
        write!(id, "{byte:02x}").ok();
        id
    }))
}
