//! The processes that serve a FUSE mount: found, measured, waited for, ended.

use crate::bench::failure::Result;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The processes whose command line has `mnt` in it. The mountpoint's name is ours alone, so
/// they are those that serve it.
pub fn serving(mnt: &Path) -> Result<Vec<i32>> {
    let mnt = mnt.as_os_str().as_bytes();
    let own = std::process::id();
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        // a process may end between the listing and here
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let names_it = line.split(|b| *b == 0).any(|word| word == mnt);
        if names_it && u32::try_from(pid) != Ok(own) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The processes in words: name, number, state.
pub fn names(pids: &[i32]) -> String {
    let name = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let end = stat.rfind(')').map_or(0, |i| i + 3);
        stat.get(..end).unwrap_or_default().to_owned()
    };
    let names: Vec<String> = pids.iter().map(name).collect();
    names.join(", ")
}

/// Resident memory of a process in bytes: `VmRSS`.
pub fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Processor time that all threads of a process have used, in nanoseconds.
pub fn cpu_time(pid: i32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let used = |t: std::io::Result<fs::DirEntry>| -> Option<u64> {
        let text = fs::read_to_string(t.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(used).sum()
}

/// Waits until the processes have used no processor time for a while: what they do after a
/// reply belongs to no measurement that comes later.
pub fn settle(pids: &[i32]) {
    let used = || pids.iter().map(|p| cpu_time(*p)).sum::<u64>();
    let start = Instant::now();
    let mut last = used();
    while start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
        let now = used();
        if now.saturating_sub(last) < 100_000 {
            return;
        }
        last = now;
    }
}

/// Waits until the processes are gone; true if they are.
pub fn wait_gone(pids: &[i32], limit: Duration) -> bool {
    let start = Instant::now();
    loop {
        if !pids.iter().any(|p| alive(*p)) {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// True unless the process is gone or only waits to be reaped.
fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Ends the processes that still have `mnt` on their command line: asks, then forces.
pub fn end_all(mnt: &Path, pids: &[i32]) {
    for signal in [Signal::TERM, Signal::KILL] {
        let still = serving(mnt).unwrap_or_default();
        let still: Vec<i32> = pids.iter().copied().filter(|p| still.contains(p)).collect();
        for pid in still.iter().filter_map(|p| Pid::from_raw(*p)) {
            note(
                "signal a mount program",
                rustix::process::kill_process(pid, signal),
            );
        }
        if wait_gone(&still, Duration::from_secs(3)) {
            return;
        }
    }
}

/// Ends a program that we started.
pub fn end(child: &mut Child) {
    note("end a mount program", child.kill());
    note("reap a mount program", child.wait());
}

/// Unmounts at once whatever is at `mnt`.
pub fn detach(mnt: &Path) {
    // nothing there is the usual case
    if rustix::mount::unmount(mnt, UnmountFlags::DETACH).is_err() {
        note("fusermount3", fusermount(mnt, true));
    }
}

/// Unmounts a FUSE mount without privilege.
pub fn fusermount(mnt: &Path, lazy: bool) -> std::io::Result<bool> {
    let mut command = Command::new("fusermount3");
    command.arg(if lazy { "-uz" } else { "-u" }).arg(mnt);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Ok(command.status()?.success())
}

/// A step of cleaning up that is tried and may fail; what failed is in the log.
pub fn note<T, E: std::fmt::Display>(what: &str, done: std::result::Result<T, E>) {
    if let Err(e) = done {
        log::debug!("{what}: {e}");
    }
}
