//! The threads of a process, and work for those that answer requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longer than anything takes, on a machine that does other things as well.
pub const LONG: Duration = Duration::from_secs(20);

/// The policy of a thread that yields.
pub const SCHED_IDLE: i32 = 5;

/// The threads of a process whose name begins so.
pub fn threads(pid: i32, name: &str) -> Vec<PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .map(|task| task.unwrap().path())
        .filter(|task| {
            fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with(name))
        })
        .collect()
}

/// What the system calls these threads.
pub fn numbers(pid: i32, name: &str) -> Vec<i32> {
    let number = |task: &PathBuf| task.file_name().unwrap().to_str().unwrap().parse().unwrap();
    threads(pid, name).iter().map(number).collect()
}

/// Whether a mount can be by io_uring here.
pub fn io_uring_is_offered() -> bool {
    const SWITCH: &str = "/sys/module/fuse/parameters/enable_uring";
    fs::read_to_string(SWITCH).is_ok_and(|s| s.trim() == "Y")
}

/// The same; if not, the test is skipped, and says so.
pub fn may_use_io_uring() -> bool {
    super::may_mount() && {
        let offered = io_uring_is_offered();
        if !offered {
            super::skip("this kernel's FUSE over io_uring is not there or not switched on");
        }
        offered
    }
}

/// The 41st field of `stat`: the scheduling policy.
pub fn policy(task: &Path) -> i32 {
    let stat = fs::read_to_string(task.join("stat")).unwrap();
    let after_name = stat.rsplit(") ").next().unwrap();
    after_name.split(' ').nth(38).unwrap().parse().unwrap()
}

/// A value of `status`.
pub fn status(task: &Path, name: &str) -> String {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let value = |line: &str| {
        Some(
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .trim()
                .to_owned(),
        )
    };
    status.lines().find_map(value).unwrap()
}

/// Looks up names that are not there, each a message, until told to stop.
pub fn look_up(mnt: &Path, name: &str, stop: &AtomicBool) {
    for i in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        assert!(fs::symlink_metadata(mnt.join(format!("{name}{i}"))).is_err());
    }
}
