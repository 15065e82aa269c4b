//! Real mounts for tests, made by the real program: layers in a temporary directory, the mount on
//! them, and its end, whatever the test does.
//!
//! A test that mounts begins with [`may_mount`]. It needs root and `/dev/fuse`; where they are
//! missing the test fails, unless `VELLUM_SKIP_MOUNT_TESTS` holds the reason to skip it. A skip
//! is printed past the harness's capture, so that `scripts/test.sh` can count it.
#![allow(dead_code, reason = "each test crate uses a part of it")]

pub mod tasks;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The program under test.
pub const VELLUM: &str = env!("CARGO_BIN_EXE_vellum");

/// True if the test is to run; see the module.
pub fn may_mount() -> bool {
    if let Some(reason) = std::env::var_os("VELLUM_SKIP_MOUNT_TESTS").filter(|r| !r.is_empty()) {
        skip(&reason.to_string_lossy());
        return false;
    }
    let root =
        fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let device = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse");
    assert!(
        root && device.is_ok(),
        "real mounts need root and /dev/fuse (root: {root}, /dev/fuse: {device:?}); \
         VELLUM_SKIP_MOUNT_TESTS=\"the reason\" skips these tests"
    );
    true
}

/// Says that the running test is skipped, where the harness does not swallow it.
pub fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("?");
    // one write, on a line of its own: the harness writes to the same stream
    let line = format!("\nskipped: {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Layers in a temporary directory, and a place to mount them on.
pub struct Stack {
    dir: TempDir,
    pub lowers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub work: PathBuf,
    pub mnt: PathBuf,
}

impl Stack {
    /// `layers` empty lowers (topmost first: `lower0`), an upper, its work directory, a mountpoint.
    pub fn new(layers: usize) -> Stack {
        Stack::within(&std::env::temp_dir(), layers)
    }

    /// The same, in a directory of the caller's choice.
    pub fn within(place: &Path, layers: usize) -> Stack {
        let dir = tempfile::Builder::new()
            .prefix("vellum")
            .tempdir_in(place)
            .unwrap();
        let at = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let lowers = (0..layers).map(|i| at(&format!("lower{i}"))).collect();
        let (upper, work, mnt) = (at("upper"), at("work"), at("mnt"));
        Stack {
            dir,
            lowers,
            upper,
            work,
            mnt,
        }
    }

    /// The directory that holds them all.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file into a lower, with the directories that lead to it.
    pub fn lower(&self, layer: usize, path: &str, data: impl AsRef<[u8]>) {
        let path = self.lowers[layer].join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, data).unwrap();
    }

    /// `vellum mount`, with all layers; more arguments can be added.
    pub fn command(&self, extra: &[&str]) -> Command {
        let mut command = Command::new(VELLUM);
        command.arg("mount");
        for lower in &self.lowers {
            command.arg("--lower").arg(lower);
        }
        command
            .arg("--upper")
            .arg(&self.upper)
            .arg("--work")
            .arg(&self.work);
        command.args(extra).arg(&self.mnt);
        command.stdin(Stdio::null());
        command
    }

    /// Mounts, and demands that it worked.
    pub fn mount(&self, extra: &[&str]) {
        let out = self.command(extra).output().unwrap();
        assert!(out.status.success(), "mount: {}", text(&out));
    }

    /// Unmounts by umount(8).
    pub fn umount(&self) {
        run(Command::new("umount").arg(&self.mnt));
    }

    /// How many mounts there are on the mountpoint.
    pub fn mounts(&self) -> usize {
        mounts_on(&self.mnt)
    }

    /// The processes that serve mounts on the mountpoint.
    pub fn daemons(&self) -> Vec<i32> {
        daemons_of(&self.mnt)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // a test that failed may have mounted elsewhere in the directory too
        while let Some(mounted) = mounts_below(self.dir.path()) {
            let gone = Command::new("umount").arg("-l").arg(mounted).status();
            if !gone.is_ok_and(|s| s.success()) {
                break; // the test's own failure says more than a panic here
            }
        }
        for pid in self.daemons() {
            if !wait_for(Duration::from_secs(5), || !alive(pid)) {
                drop(Command::new("kill").args(["-9", &pid.to_string()]).status());
            }
        }
    }
}

/// Copies the program under test. By another process: had this one written it, a process that another
/// test starts meanwhile could have it open for writing, and then nobody may run it (ETXTBSY).
pub fn copy_program(to: &Path) {
    run(Command::new("cp").arg(VELLUM).arg(to));
}

/// Runs a command and demands that it works; its output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", text(&out));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Runs a line of shell and demands that it works; its output.
#[track_caller]
pub fn sh(line: &str, args: &[&OsStr]) -> String {
    run(Command::new("sh")
        .args(["-euc", line, "sh"])
        .args(args)
        .stdin(Stdio::null()))
}

/// All that a command said.
pub fn text(out: &Output) -> String {
    let (a, b) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    format!("{}\n{a}{b}", out.status)
}

/// Waits until `done`; false if it took longer than `limit`.
pub fn wait_for(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Entries of this mount namespace whose mountpoint is `path`. Asks the mount itself nothing.
pub fn mounts_on(path: &Path) -> usize {
    let table = fs::read("/proc/self/mountinfo").unwrap();
    table
        .split(|b| *b == b'\n')
        .filter(|line| line.split(|b| *b == b' ').nth(4) == Some(path.as_os_str().as_bytes()))
        .count()
}

/// The last of the mounts below `dir`.
fn mounts_below(dir: &Path) -> Option<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table
        .split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b' ').nth(4))
        .map(|path| PathBuf::from(OsStr::from_bytes(path)))
        .rfind(|path| path.starts_with(dir))
}

/// Living processes of the program under test that name `mnt` on their command line.
pub fn daemons_of(mnt: &Path) -> Vec<i32> {
    let mut out = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
            continue;
        };
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|b| *b == 0);
        let program = words.next().unwrap_or_default();
        if program.windows(6).any(|w| w == b"vellum")
            && words.any(|w| w == mnt.as_os_str().as_bytes())
            && alive(pid)
        {
            out.push(pid);
        }
    }
    out
}

/// True if the process is there and no zombie that its parent has not looked at yet.
pub fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .and_then(|s| s.chars().next())
        .is_some_and(|s| !"ZX".contains(s))
}

/// The layers of a Debian root that `scripts/debian-root.sh` makes once, topmost first.
pub fn debian_layers(parts: &[&str]) -> Vec<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/debian-root.sh");
    let said = run(Command::new(script).args(parts).stdin(Stdio::null()));
    let mut out: Vec<PathBuf> = said.lines().map(PathBuf::from).collect();
    assert_eq!(out.len(), parts.len(), "{said}");
    out.reverse();
    out
}

/// Sends a signal by name.
pub fn kill(signal: &str, pid: i32) {
    run(Command::new("kill").args([signal, &pid.to_string()]));
}

/// A text of a whole tree: what tar sees, with owners, times, extended attributes and data.
pub fn digest(dir: &Path) -> String {
    sh(
        "tar --sort=name --numeric-owner --xattrs --xattrs-include='*' --acls --format=pax \
             --pax-option=delete=atime,delete=ctime,exthdr.name=%d/PaxHeaders/%f -C \"$1\" -cf - . 2>/dev/null | sha256sum",
        &[dir.as_os_str()],
    )
}
