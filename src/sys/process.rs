//! Processes: becoming a daemon, and what one process hands to another.
#![allow(
    unsafe_code,
    reason = "fork, what happens before exec, and close_range have no safe wrapper"
)]

use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::FdFlag;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{ForkResult, Pid};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::{CString, OsStr, OsString};
use std::io::IoSliceMut;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The two sides of a fork.
#[derive(Debug)]
pub enum Fork {
    /// In the old process: the new one.
    Parent(Pid),
    /// In the new process.
    Child,
}

/// Forks. Refused when the process has more than one thread: locks that another thread holds
/// would stay locked for ever in the child.
pub fn fork() -> Result<Fork> {
    let threads = threads()?;
    if threads != 1 {
        return Err(Error::because(
            Errno::EINVAL,
            format!("fork of a process with {threads} threads"),
        ));
    }
    // SAFETY: the process has one thread, this one, so the child has all that the parent has.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Fork::Parent(child)),
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// How many threads there are. One that has ended and was waited for is listed for a moment more.
fn threads() -> Result<usize> {
    const MOMENT: Duration = Duration::from_millis(500);
    let began = Instant::now();
    loop {
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        if threads == 1 || began.elapsed() > MOMENT {
            return Ok(threads);
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Closes every fd from 3 on but those to `keep`: what was inherited and is not ours to hold open. To be
/// called right after a fork, before the process opened anything of its own.
pub fn close_inherited(keep: &[BorrowedFd<'_>]) -> Result<()> {
    let number = |fd: &BorrowedFd<'_>| libc::c_uint::try_from(fd.as_raw_fd());
    let numbers: std::result::Result<Vec<_>, _> = keep.iter().map(number).collect();
    let mut keep = numbers.map_err(|_| Errno::EBADF)?;
    keep.sort_unstable();
    let close = |first: libc::c_uint, last: libc::c_uint| -> Result<()> {
        if first > last {
            return Ok(());
        }
        // SAFETY: a new process owns nothing yet but what is kept and stdio, and these are left out.
        let done = unsafe { libc::close_range(first, last, 0) };
        if done == 0 {
            Ok(())
        } else {
            Err(Errno::last().into())
        }
    };
    let mut next = 3;
    for fd in keep {
        close(next, fd.saturating_sub(1))?;
        next = fd.saturating_add(1);
    }
    close(next, libc::c_uint::MAX)
}

/// Lets go of what the caller has: working directory and stdio.
pub fn leave_caller() -> Result<()> {
    std::env::set_current_dir("/").context(|| "/")?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .context(|| "/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

/// Receives an fd over a socket.
pub fn receive_fd(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    // the sender says something with it, a name perhaps, which matters to nobody here
    let mut said = [0u8; 4096];
    let mut iov = [IoSliceMut::new(&mut said)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut iov,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(fd) = fds.first()
        {
            return Ok(own_fd(*fd));
        }
    }
    Err(Error::because(Errno::EIO, "no fd was sent"))
}

/// Takes an fd that was received over a socket, or inherited.
fn own_fd(fd: RawFd) -> OwnedFd {
    // SAFETY: recvmsg made it for this process alone, or the process had it when it began; nobody
    // else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Lets an fd of this process pass to the program that it executes next.
pub fn pass_on(fd: RawFd) -> Result<()> {
    set_fd_flags(fd, FdFlag::empty())
}

/// Takes that back. Best effort: what is lost is that a child has one more file open.
pub fn withhold(fd: RawFd) {
    if let Err(e) = set_fd_flags(fd, FdFlag::FD_CLOEXEC) {
        log::debug!("file descriptor {fd} stays open in children: {e}");
    }
}

fn set_fd_flags(fd: RawFd, flags: FdFlag) -> Result<()> {
    // SAFETY: a call with two numbers; `Errno::result` turns -1 into the error.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFD, flags.bits()) };
    Errno::result(set)?;
    Ok(())
}

/// Takes an fd that this process passed to itself when it executed its program. It must be asked for
/// once, before any file is opened.
pub fn inherited(fd: RawFd) -> Result<OwnedFd> {
    if fd <= 2 {
        return Err(Error::because(
            Errno::EBADF,
            format!("file descriptor {fd}"),
        ));
    }
    // an fd that is not there is told here
    set_fd_flags(fd, FdFlag::FD_CLOEXEC).context(|| format!("file descriptor {fd}"))?;
    Ok(own_fd(fd))
}

/// Starts a program with these standard streams, and with no signal blocked, whatever this process has
/// blocked for itself. Unlike a fork it copies nothing of this process.
pub fn spawn(
    program: &Path,
    args: &[impl AsRef<OsStr>],
    streams: [BorrowedFd<'_>; 3],
) -> Result<Pid> {
    let string = |text: &OsStr| {
        let zero = |_| Error::because(Errno::EINVAL, format!("a zero byte in {text:?}"));
        CString::new(text.as_bytes()).map_err(zero)
    };
    let first = std::iter::once(program.as_os_str());
    let args = first.chain(args.iter().map(AsRef::as_ref)).map(string);
    let args: Vec<CString> = args.collect::<Result<_>>()?;
    let variable = |(name, value): (OsString, OsString)| {
        let mut both = name;
        both.push("=");
        both.push(value);
        string(&both)
    };
    let env: Vec<CString> = std::env::vars_os().map(variable).collect::<Result<_>>()?;
    let mut files = PosixSpawnFileActions::init()?;
    for (fd, place) in streams.iter().zip(0..) {
        files.add_dup2(fd.as_raw_fd(), place)?;
    }
    let mut attr = PosixSpawnAttr::init()?;
    attr.set_sigmask(&SigSet::empty())?;
    // this process ignores it
    attr.set_sigdefault(&SigSet::from(Signal::SIGPIPE))?;
    attr.set_flags(
        PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF,
    )?;
    Ok(posix_spawn(program, &files, &attr, &args, &env)?)
}

/// Has a program begin with no signal blocked, whatever this process has blocked for itself.
pub fn unblock_signals(command: &mut Command) -> &mut Command {
    let unblock = || {
        let none = SigSet::empty();
        none.thread_set_mask().map_err(std::io::Error::from)
    };
    // SAFETY: between fork and exec it makes one system call, on memory of its own.
    unsafe { command.pre_exec(unblock) }
}

/// Sends a signal by its number, which may be a real-time one.
pub fn send_signal(pid: i32, signal: i32) -> Result<()> {
    if pid <= 0 {
        return Err(Error::because(Errno::EINVAL, format!("process {pid}")));
    }
    // SAFETY: kill(2) takes two numbers and touches no memory of this process.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(Errno::last().into()),
    }
}

/// Gives memory back that was needed once, before a long life with little. Best effort.
pub fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and touches what the allocator has free, under the allocator's locks.
    unsafe {
        libc::malloc_trim(0);
    }
    trim_stack();
}

/// Gives back what the first thread's stack took below the place where it is now. Nothing in another
/// thread, whose stack may end anywhere.
#[inline(never)]
fn trim_stack() {
    if nix::unistd::gettid() != nix::unistd::getpid() {
        return;
    }
    /// Further down than this nothing of ours was.
    const DEEP: usize = 512 << 10;
    /// What is below the stack pointer and still in use: a red zone, a call.
    const NEAR: usize = 4 << 10;
    const PAGE: usize = 4 << 10;
    let here = 0u8;
    let end = ((&raw const here).addr().saturating_sub(NEAR)) & !(PAGE - 1);
    let Some(start) = end.checked_sub(DEEP) else {
        return;
    };
    let start = std::ptr::without_provenance_mut(start);
    // SAFETY: what lies below the stack pointer belongs to calls that have returned. The stack's
    // end may be nearer: below it the kernel keeps a megabyte free of mappings, and says ENOMEM.
    unsafe {
        libc::madvise(start, DEEP, libc::MADV_DONTNEED);
    }
}

/// Has threads share what the allocator keeps, a few to one. Each for itself keeps pages that it
/// hardly uses. To be called before there are threads.
pub fn share_arenas() {
    #[cfg(target_env = "gnu")]
    {
        let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let most = libc::c_int::try_from(cpus / 2).unwrap_or(1).max(1);
        // SAFETY: it takes two numbers.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, most);
        }
    }
}

/// A share of the files that this process may have open: `percent` of the limit, `most` at most.
pub fn fd_budget(percent: u64, most: usize) -> NonZeroUsize {
    const LEAST: u64 = 8;
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let share = limit.min(1 << 40) * percent / 100;
    let share = usize::try_from(share.max(LEAST)).unwrap_or(most).min(most);
    NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN)
}

/// Raises the limit of open files as far as it goes. Best effort: what is lost is speed, when
/// files are opened again and again.
pub fn raise_file_limit() {
    const WANTED: u64 = 1 << 20;
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| {
        // only the privileged may pass the hard limit
        setrlimit(Resource::RLIMIT_NOFILE, WANTED.max(hard), WANTED.max(hard))
            .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, hard, hard))
    });
    if let Err(e) = raised {
        log::warn!("limit of open files not raised: {e}");
    }
}

/// Makes room for many open files at once. Otherwise the table of them doubles as it fills, and in a
/// process of several threads the kernel waits each time until no processor can be looking at the
/// old one: 5 to 15 ms in which whoever opens a file waits. So this is for before the first thread.
/// Best effort, as above.
pub fn widen_file_table() {
    const ROOM: u64 = 4096; // 32 KiB
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let last = RawFd::try_from(limit.min(ROOM).saturating_sub(1)).unwrap_or(0);
    let (flags, mode) = (OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let widened = rustix::fs::openat(CWD, c"/", flags, mode)
        .and_then(|fd| rustix::io::fcntl_dupfd_cloexec(&fd, last));
    if let Err(e) = widened {
        log::debug!("room for open files is made as it is needed: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[test]
    fn a_program_begins_with_no_signal_blocked_and_its_own_streams() {
        let mut blocked = SigSet::empty();
        blocked.add(Signal::SIGUSR1);
        blocked.thread_block().unwrap();
        let null = File::open("/dev/null").unwrap();
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let script = "sed -n 's/^Sig[BI][lg][kn]:.//p' /proc/self/status; exit 3";
        let streams = [null.as_fd(), writer.as_fd(), writer.as_fd()];
        let child = spawn(Path::new("/bin/sh"), &["-c", script], streams).unwrap();
        drop(writer);
        let mut said = String::new();
        File::from(reader).read_to_string(&mut said).unwrap();
        assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 3));
        let lines: Vec<&str> = said.lines().collect();
        let signals = |line: &str| u64::from_str_radix(line, 16).unwrap();
        assert_eq!(signals(lines[0]), 0, "blocked");
        let pipe = 1 << (Signal::SIGPIPE as i32 - 1);
        assert_eq!(signals(lines[1]) & pipe, 0, "ignored");
        assert_eq!(lines.len(), 2);
        let missing = spawn(Path::new("/no/program"), &["x"], [null.as_fd(); 3]);
        assert!(missing.unwrap_err().is(Errno::ENOENT));
    }
}
