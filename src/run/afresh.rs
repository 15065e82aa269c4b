//! The monitor of a container in the background, begun afresh.
//!
//! To start a container takes some hundred kilobytes: options, manifest, configuration, the filter
//! of system calls. What is freed of that stays with the process, in pieces between what is still
//! used, and to look after the container takes next to nothing. So once it runs, the process
//! executes this program again, which begins with empty memory. It stays the same process: with its
//! children, its lock on the folder, its streams, and the signals that came meanwhile, which are
//! blocked.

use super::end::Charge;
use super::failure::Failure;
use super::folder::{Folder, Held, State};
use super::leftovers::Proc;
use super::monitor::watch;
use super::pump::{Ends, Watched, hold_signals};
use super::record::LogOptions;
use crate::image::container::Container;
use crate::sys::process::{inherited, pass_on, withhold};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The first argument of a process that goes on so.
pub const AFRESH: &str = "--look-after";

/// The name that the process has in lists: not that of the link by which it was executed.
const NAME: &std::ffi::CStr = c"vellum";

/// What the process has, for itself.
#[derive(Debug, Serialize, Deserialize)]
struct Luggage {
    store: PathBuf,
    folder: PathBuf,
    lock: RawFd,
    input: Option<RawFd>,
    output: Option<RawFd>,
    error: Option<RawFd>,
    terminal: Option<RawFd>,
    listener: Option<RawFd>,
    guest: Option<RawFd>,
    made: Vec<String>,
    #[serde(default)]
    log: LogOptions,
}

/// Begins afresh. Comes back only if that cannot be, with nothing changed.
pub(super) fn begin(charge: &Charge<'_>, ends: &Ends) -> Error {
    let fds = [
        &ends.input,
        &ends.output,
        &ends.error,
        &ends.terminal,
        &ends.listener,
        &ends.guest,
    ];
    let fds = fds.map(|fd| fd.as_ref().map(AsRawFd::as_raw_fd));
    let [input, output, error, terminal, listener, guest] = fds;
    let luggage = Luggage {
        store: charge.store.to_owned(),
        folder: charge.container.dir().to_owned(),
        lock: charge.held.as_raw_fd(),
        input,
        output,
        error,
        terminal,
        listener,
        guest,
        made: charge.made.clone(),
        log: charge.config.log,
    };
    let open: Vec<RawFd> = [Some(luggage.lock)]
        .into_iter()
        .chain(fds)
        .flatten()
        .collect();
    let begun = arguments(&charge.container.name, &luggage).and_then(|arguments| {
        open.iter().try_for_each(|fd| pass_on(*fd))?;
        let never = nix::unistd::execv(c"/proc/self/exe", &arguments);
        never.context(|| "/proc/self/exe")
    });
    open.iter().for_each(|fd| withhold(*fd));
    match begun {
        Ok(never) => match never {},
        Err(e) => e,
    }
}

fn arguments(name: &str, luggage: &Luggage) -> Result<Vec<CString>> {
    let luggage =
        serde_json::to_string(luggage).map_err(|e| Error::because(Errno::EINVAL, e.to_string()))?;
    let all = ["vellum", AFRESH, name, &luggage];
    let strings: std::result::Result<_, _> = all.map(CString::new).into_iter().collect();
    strings.map_err(|_| Error::because(Errno::EINVAL, "a zero byte in a name"))
}

/// Goes on, with what follows [`AFRESH`]: the container's exit code.
pub fn go_on(arguments: &[impl AsRef<OsStr>]) -> std::result::Result<u8, Failure> {
    let [_name, luggage] = arguments else {
        let why = format!("{AFRESH} is what a process says to itself");
        return Err(Error::because(Errno::EINVAL, why).into());
    };
    let luggage: Luggage = serde_json::from_slice(luggage.as_ref().as_bytes())
        .map_err(|e| Error::because(Errno::EINVAL, e.to_string()))?;
    nix::sys::prctl::set_name(NAME).map_err(Error::from)?;
    let folder = Folder::at(&luggage.folder);
    // this process holds it, so it gets it; anybody else who says such words does not
    let held = Held::again(inherited(luggage.lock)?)?;
    let mut state = folder.state()?;
    let ended = look_after(&folder, &luggage, &mut state);
    let container = Container::at(&luggage.folder)?;
    let config = folder.config()?.unwrap_or_default();
    let charge = Charge {
        store: &luggage.store,
        container: &container,
        config: &config,
        folder,
        held,
        state,
        made: luggage.made,
    };
    charge.finish(ended)
}

fn look_after(
    folder: &Folder,
    luggage: &Luggage,
    state: &mut State,
) -> std::result::Result<u8, Failure> {
    let end = |fd: Option<RawFd>| -> Result<Option<OwnedFd>> { fd.map(inherited).transpose() };
    let ends = Ends {
        input: end(luggage.input)?,
        output: end(luggage.output)?,
        error: end(luggage.error)?,
        terminal: end(luggage.terminal)?,
        listener: end(luggage.listener)?,
        guest: end(luggage.guest)?,
    };
    let pid = |process: Option<Proc>| {
        let unknown = || Error::because(Errno::ESRCH, "state.json names no process");
        process.map(|p| Pid::from_raw(p.pid)).ok_or_else(unknown)
    };
    let watched = Watched {
        first: pid(state.first)?,
        server: pid(state.server)?,
    };
    let signals = hold_signals()?;
    watch(
        folder,
        state,
        watched,
        (signals, ends),
        (false, luggage.log),
    )
}
