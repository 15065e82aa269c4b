//! Control groups: how this machine has them, where a container's are, and their end.
//!
//! The runtime makes them and puts the container in. It would also remove them, by one more start
//! of itself; that is done here, since it costs a container that lives for milliseconds as much
//! again.

use crate::vfs::Error;
use crate::vfs::Result;
use crate::vfs::error::{Context, absent_ok};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const TOP: &str = "/sys/fs/cgroup";

/// The group that all containers' groups are in.
const PARENT: &str = "vellum";

/// How long the kernel may take to see that a group is empty.
const EMPTY: Duration = Duration::from_secs(3);

/// The group of the container with this ID, for the runtime.
pub fn path(id: &str) -> PathBuf {
    Path::new("/").join(PARENT).join(id)
}

/// This process goes into the group that it is in.
pub fn enter_own() -> Result<()> {
    let own = "/proc/self/cgroup";
    let text = fs::read_to_string(own).context(|| own)?;
    let open = |group: PathBuf| {
        let path = group.join("cgroup.procs");
        let procs = File::options().write(true).open(&path).ok()?;
        Some((procs, path))
    };
    let none = || Error::because(Errno::EACCES, "no group of this process can be written to");
    let (mut procs, path) = own_groups(&text).find_map(open).ok_or_else(none)?;
    // the writer itself
    procs.write_all(b"0").context(|| path.display().to_string())
}

/// The directories of the groups in a `/proc/PID/cgroup`.
fn own_groups(text: &str) -> impl Iterator<Item = PathBuf> {
    text.lines().filter_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let hierarchy = match controllers.strip_prefix("name=").unwrap_or(controllers) {
            "" if is_unified() => "",
            "" => "unified",
            other => other,
        };
        // one that is not below this machine's, or namespace's, top
        let seen = !path.split('/').any(|part| part == "..");
        let group = Path::new(TOP).join(hierarchy);
        seen.then(|| group.join(path.trim_start_matches('/')))
    })
}

/// True if all controllers are in one hierarchy (cgroup v2).
pub fn is_unified() -> bool {
    Path::new(TOP).join("cgroup.controllers").exists()
}

/// True if some controllers are in a hierarchy of version 2, and others in ones of version 1. `crun`
/// does not work with that.
pub fn is_mixed() -> bool {
    let path = Path::new(TOP).join("unified/cgroup.controllers");
    fs::read_to_string(path).is_ok_and(|controllers| !controllers.trim().is_empty())
}

/// The directories of a container's groups.
fn groups(id: &str) -> Vec<PathBuf> {
    let below = Path::new(PARENT).join(id);
    let top = Path::new(TOP);
    let mut found = vec![top.join(&below)];
    // a controller's directory may be a link to that of several
    let hierarchies = fs::read_dir(top).into_iter().flatten().flatten();
    found.extend(hierarchies.map(|h| h.path().join(&below)));
    found.retain(|group| group.is_dir());
    found
}

/// Removes a container's groups, with those in them. Nothing of it may run any more, or it is killed.
pub fn remove(id: &str) -> Result<()> {
    let began = Instant::now();
    // one that stays is no reason to leave others
    let done: Vec<Result<()>> = groups(id).iter().map(|g| remove_one(g, began)).collect();
    done.into_iter().collect()
}

fn remove_one(group: &Path, began: Instant) -> Result<()> {
    loop {
        match remove_tree(group) {
            Err(e) if e.is(Errno::EBUSY) && began.elapsed() < EMPTY => kill_all(group),
            // a runtime takes any directory there for a hierarchy, and makes files in it
            Err(e) if e.is(Errno::ENOTEMPTY) && !is_cgroup(group) => {
                return super::folder::remove_tree(group);
            }
            done => return done,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// False for a directory that only lies where control groups are.
fn is_cgroup(dir: &Path) -> bool {
    const CGROUP: i64 = 0x0027_e0eb;
    const CGROUP2: i64 = 0x6367_7270;
    rustix::fs::statfs(dir).is_ok_and(|s| [CGROUP, CGROUP2].contains(&s.f_type))
}

fn remove_tree(group: &Path) -> Result<()> {
    let what = || group.display().to_string();
    match fs::remove_dir(group).map_err(Error::from) {
        Err(e) if e.is(Errno::EBUSY) || e.is(Errno::ENOTEMPTY) => {}
        other => return absent_ok(other).map(drop).context(what),
    }
    let Some(entries) = absent_ok(fs::read_dir(group).map_err(Error::from)).context(what)? else {
        return Ok(());
    };
    for entry in entries.flatten().filter(|e| e.path().is_dir()) {
        remove_tree(&entry.path())?;
    }
    let removed = fs::remove_dir(group).map_err(Error::from);
    absent_ok(removed).map(drop).context(what)
}

/// Best effort: what cannot be killed keeps the group, which is then told.
fn kill_all(group: &Path) {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in text
        .lines()
        .filter_map(|l| l.parse().ok())
        .filter(|p| *p > 1)
    {
        if let Err(e) = kill(Pid::from_raw(pid), Signal::SIGKILL) {
            log::debug!("process {pid} of {}: {e}", group.display());
        }
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            kill_all(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_a_process_are_where_the_machine_has_them() {
        let text = "9:name=systemd:/a/b\n8:cpu,cpuacct:/\n7:pids:/../c\n";
        let got: Vec<_> = own_groups(text).collect();
        let top = Path::new(TOP);
        assert_eq!(got, [top.join("systemd/a/b"), top.join("cpu,cpuacct")]);
    }

    #[test]
    fn entering_the_own_group_changes_nothing() {
        let groups = || fs::read_to_string("/proc/self/cgroup").unwrap();
        let before = groups();
        let procs = File::options().write(true).clone();
        let may = own_groups(&before).any(|group| procs.open(group.join("cgroup.procs")).is_ok());
        assert_eq!(enter_own().is_ok(), may);
        assert_eq!(groups(), before);
    }
}
