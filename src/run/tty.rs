//! Terminals: the container's, which the runtime makes and hands over, and the user's own.

use crate::sys::process::receive_fd;
use crate::vfs::Result;
use crate::vfs::error::Context;
use rustix::termios::{
    OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use std::io::stdin;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Where the runtime sends the container's terminal.
#[derive(Debug)]
pub struct ConsoleSocket {
    dir: PathBuf,
    listener: UnixListener,
}

impl ConsoleSocket {
    /// A socket in a directory of its own: the path of one in the container's folder might be too
    /// long for a socket.
    pub fn new() -> Result<ConsoleSocket> {
        let dir = nix::unistd::mkdtemp(&std::env::temp_dir().join("vellum-tty-XXXXXX"))
            .context(|| "directory for the terminal's socket")?;
        let listener = UnixListener::bind(dir.join("tty"));
        let said = || format!("socket {}", dir.join("tty").display());
        match listener
            .and_then(|l| l.set_nonblocking(true).map(|()| l))
            .context(said)
        {
            Ok(listener) => Ok(ConsoleSocket { dir, listener }),
            Err(e) => {
                std::fs::remove_dir_all(&dir).ok();
                Err(e)
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.dir.join("tty")
    }

    /// The terminal that the runtime has sent.
    pub fn receive(self) -> Result<OwnedFd> {
        let said = || "the runtime sent no terminal";
        let (socket, _) = self.listener.accept().context(said)?;
        socket.set_nonblocking(false).context(said)?;
        receive_fd(socket.as_fd()).context(said)
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        // in the directory for temporary files, which is swept
        std::fs::remove_dir_all(Path::new(&self.dir)).ok();
    }
}

/// The size of the terminal that this process has as its standard input.
pub fn own_size() -> Option<Winsize> {
    tcgetwinsize(stdin()).ok()
}

/// The same: lines and columns.
pub fn size() -> Option<(u16, u16)> {
    own_size().map(|size| (size.ws_row, size.ws_col))
}

/// Gives a terminal so many lines and columns.
pub fn set_size(terminal: BorrowedFd<'_>, (lines, columns): (u16, u16)) -> Result<()> {
    let size = Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

/// Gives a terminal the size of this process's.
pub fn follow_size(terminal: BorrowedFd<'_>) -> Result<()> {
    match own_size() {
        Some(size) => Ok(tcsetwinsize(terminal, size)?),
        None => Ok(()),
    }
}

/// The terminal of this process passes every byte on, until this is dropped.
#[derive(Debug)]
pub struct Raw(Termios);

impl Raw {
    /// Nothing if standard input is no terminal.
    pub fn enter() -> Result<Option<Raw>> {
        let Ok(before) = tcgetattr(stdin()) else {
            return Ok(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).context(|| "terminal")?;
        Ok(Some(Raw(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // a terminal that is gone needs nothing
        tcsetattr(stdin(), OptionalActions::Now, &self.0).ok();
    }
}
