//! Mounts made by the real binary.

use super::kernel::Mounted;
use super::stack::Stack;
use std::path::Path;
use std::process::{Command, Output};

/// How data travels in a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Io {
    Cached,
    Passthrough,
}

impl Io {
    fn word(self) -> &'static str {
        match self {
            Io::Cached => "cached",
            Io::Passthrough => "passthrough",
        }
    }
}

/// Runs the binary.
pub fn vellum(args: &[&std::ffi::OsStr]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vellum"))
        .args(args)
        .output()
        .unwrap()
}

/// The command that mounts a stack.
pub fn command(stack: &Stack, io: Io, more: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_vellum"));
    c.args(["mount", "--io", io.word()]);
    for lower in &stack.lowers {
        c.arg("--lower").arg(lower);
    }
    c.arg("--upper").arg(stack.upper());
    c.arg("--work").arg(stack.work());
    c.args(more).arg(stack.mnt());
    c
}

/// Mounts a stack; it is ready when this returns.
pub fn mount(stack: &Stack, io: Io) -> Mounted {
    mount_with(stack, io, &[])
}

/// The same, with more arguments.
pub fn mount_with(stack: &Stack, io: Io, more: &[&str]) -> Mounted {
    finish(command(stack, io, more), stack)
}

/// Mounts an image of a store, with the upper of the stack.
pub fn mount_image(stack: &Stack, store: &str, image: &str, io: Io) -> Mounted {
    let mut c = Command::new(env!("CARGO_BIN_EXE_vellum"));
    c.args(["mount", "--root", store, "--io", io.word()]);
    c.arg("--upper").arg(stack.upper());
    c.arg("--work").arg(stack.work());
    c.arg(image).arg(stack.mnt());
    finish(c, stack)
}

/// Runs the binary, which has to succeed.
pub fn run(args: &[&str]) {
    let args: Vec<&std::ffi::OsStr> = args.iter().map(std::convert::AsRef::as_ref).collect();
    must(&vellum(&args), args[0]);
}

fn must(said: &Output, what: &std::ffi::OsStr) {
    assert!(
        said.status.success(),
        "vellum {}: {}\n{}",
        what.display(),
        said.status,
        String::from_utf8_lossy(&said.stderr)
    );
}

fn finish(mut command: Command, stack: &Stack) -> Mounted {
    must(&command.output().unwrap(), "mount".as_ref());
    assert!(
        is_mountpoint(&stack.mnt()),
        "not mounted, and said that it is"
    );
    Mounted::at(&stack.mnt())
}

/// True if something is mounted there.
pub fn is_mountpoint(path: &Path) -> bool {
    let dev = |p: &Path| rustix::fs::stat(p).map(|st| st.st_dev);
    match (dev(path), dev(path.parent().unwrap())) {
        (Ok(a), Ok(b)) => a != b,
        _ => true, // a dead mount cannot be looked at
    }
}
