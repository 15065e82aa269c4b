//! Being asked to stop by SIGINT, SIGTERM or SIGHUP, for programs that must clean up first.

use crate::vfs::Result;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::atomic::{AtomicUsize, Ordering};

static ASKED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note(_: libc::c_int) {
    ASKED.fetch_add(1, Ordering::Relaxed);
}

/// From now on the three signals only take a note. Calls that wait return EINTR, so that a
/// loop which looks at [`requested`] notices soon. Programs started later have the default again.
pub fn install() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler does one atomic addition, which is async-signal-safe.
        #[allow(unsafe_code)]
        unsafe {
            sigaction(signal, &action)?;
        }
    }
    Ok(())
}

/// True once one of the signals came.
pub fn requested() -> bool {
    ASKED.load(Ordering::Relaxed) > 0
}
