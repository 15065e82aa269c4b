//! Where a command writes an archive: a file by `-o`, or standard output.

use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// Has `write` write to the file, which is there only if it is whole, or to standard output if that is
/// no terminal.
pub fn write(path: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    match path {
        Some(path) => to_file(path, write),
        None if std::io::stdout().is_terminal() => Err(Error::because(
            Errno::EINVAL,
            "standard output is a terminal; use -o FILE",
        )),
        None => flushed(std::io::stdout(), write),
    }
}

fn to_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let what = || path.display().to_string();
    // a device or a pipe is written to as it is
    if path.exists() && !path.is_file() {
        let file = File::options().write(true).open(path).context(what)?;
        return flushed(file, write);
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.part", std::process::id()));
    let partial = PathBuf::from(partial);
    let done = File::create(&partial)
        .context(what)
        .and_then(|file| flushed(file, write))
        .and_then(|()| std::fs::rename(&partial, path).context(what));
    if done.is_err() {
        std::fs::remove_file(&partial).ok();
    }
    done
}

fn flushed(to: impl Write, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let mut to = BufWriter::with_capacity(1 << 17, to);
    write(&mut to)?;
    Ok(to.flush()?)
}
