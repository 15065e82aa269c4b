//! What a change costs: the system calls that the server makes for it, counted. A message costs more
//! than all of them together, so one too many is not seen in a test of the time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;

use live::tasks::numbers;
use live::{Stack, may_mount, wait_for};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Files in each of the directories below.
const FILES: usize = 100;

/// Which calls are about files. Requests and answers are calls, too, and none of these.
const ABOUT_FILES: &[&str] = &[
    "open",
    "close",
    "stat",
    "getdents",
    "mknod",
    "mkdir",
    "link",
    "unlink",
    "rename",
    "utime",
    "pwrite",
    "chown",
    "chmod",
    "xattr",
    "truncate",
    "getrandom",
    "handle",
];

/// True if every thread is traced.
fn traced(pid: i32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.flatten().all(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        !status.contains("TracerPid:\t0\n")
    })
}

/// Waits until the server has closed what it was told to forget: it is told in its own time, and a file that
/// is closed late would be counted with what comes next.
fn settled(pid: i32) {
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mut before = open();
    let quiet = || {
        std::thread::sleep(Duration::from_millis(100));
        let now = open();
        std::mem::replace(&mut before, now) == now
    };
    assert!(
        wait_for(Duration::from_secs(10), quiet),
        "files are closed on and on"
    );
}

/// The calls about files that the server makes during `work`, for each of `FILES`.
fn calls(s: &Stack, work: impl FnOnce()) -> f64 {
    let [pid] = s.daemons()[..] else {
        panic!("daemons: {:?}", s.daemons())
    };
    let out = s.dir().join("calls");
    let mut strace = Command::new("timeout")
        .args(["-s", "INT", "20", "strace", "-f", "-qq", "-o"])
        .arg(&out)
        .args(["-p", &pid.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = wait_for(Duration::from_secs(10), || traced(pid));
    work();
    settled(pid);
    live::run(Command::new("kill").args(["-INT", &strace.id().to_string()]));
    strace.wait().unwrap();
    assert!(begun, "strace did not begin");
    let log = fs::read_to_string(&out).unwrap();
    // it looks where callers are, however many requests there are
    let scouts = numbers(pid, "scout");
    let made = log.lines().filter(|line| {
        let mut words = line.split_whitespace();
        let thread = words.next().unwrap_or_default().parse();
        if thread.is_ok_and(|thread| scouts.contains(&thread)) {
            return false;
        }
        let call = words.next().unwrap_or_default();
        let name = call.split('(').next().unwrap_or_default();
        ABOUT_FILES.iter().any(|what| name.contains(what))
    });
    let made = made.count();
    assert!(made > 0, "nothing was counted");
    made as f64 / FILES as f64
}

/// `most` calls for each file, and some more for the directory.
fn at_most(s: &Stack, what: &str, most: f64, work: impl FnOnce()) {
    let made = calls(s, work);
    assert!(
        made <= most + 1.0,
        "{what}: {made} system calls for each file, {most} are enough"
    );
}

/// A table that grows while threads use it holds up whoever opens a file, each time it is full.
#[test]
fn there_is_room_for_open_files_from_the_start() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    s.mount(&[]);
    for pid in s.daemons() {
        let number = |file: &str, line: &str, column| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
            let line = text.lines().find(|l| l.starts_with(line)).unwrap();
            let number = line.split_whitespace().nth(column).unwrap();
            number.parse::<u64>().unwrap_or(u64::MAX)
        };
        let limit = number("limits", "Max open files", 3);
        let room = number("status", "FDSize:", 1);
        assert!(room >= limit.min(4096), "room for {room} of {limit}");
    }
    s.umount();
}

fn each(dir: &Path, mut what: impl FnMut(&Path)) {
    for i in 0..FILES {
        what(&dir.join(format!("file-{i}")));
    }
}

#[test]
fn changes_take_few_system_calls() {
    if !may_mount() {
        return;
    }
    if Command::new("strace").arg("-V").output().is_err() {
        live::skip("no strace; 'scripts/deps.sh test' installs it");
        return;
    }
    let s = Stack::new(1);
    for i in 0..FILES {
        s.lower(0, &format!("low/file-{i}"), "low");
        s.lower(0, &format!("tree/file-{i}"), "low");
    }
    s.mount(&[]);
    let (new, dirs, low) = (s.mnt.join("new"), s.mnt.join("dirs"), s.mnt.join("low"));
    fs::create_dir(&new).unwrap();
    fs::create_dir(&dirs).unwrap();
    // look-up, make and its attributes, write and its time, the directory's attributes
    at_most(&s, "create", 6.0, || {
        each(&new, |path| {
            let mut options = OpenOptions::new();
            let made = options.write(true).create_new(true).mode(0o644).open(path);
            made.unwrap().write_all(&[b'v'; 4096]).unwrap();
        });
    });
    // look-up of the new name; look at both, and for a whiteout, rename; the file's time and attributes, the
    // directory's: eight in all
    at_most(&s, "rename", 7.5, || {
        each(&new, |path| {
            fs::rename(path, path.with_extension("renamed")).unwrap();
        });
    });
    // look, remove; the file's and the directory's attributes; the file is closed
    at_most(&s, "unlink of what was made", 5.0, || {
        each(&new, |path| {
            fs::remove_file(path.with_extension("renamed")).unwrap();
        });
    });
    // look-up, make, attributes; the directory's
    at_most(&s, "mkdir", 4.0, || {
        each(&dirs, |path| fs::create_dir(path).unwrap());
    });
    // look, open, remove, close; the directory's attributes
    at_most(&s, "rmdir", 5.0, || {
        each(&dirs, |path| fs::remove_dir(path).unwrap());
    });
    // look-up on both sides, once more to remove it, the whiteout; the directory's attributes
    at_most(&s, "unlink of a lower file", 6.0, || {
        each(&low, |path| fs::remove_file(path).unwrap());
    });
    // the same, and the listings, and the whiteouts again
    at_most(&s, "rm -rf of a lower directory", 9.0, || {
        live::run(Command::new("rm").arg("-rf").arg(s.mnt.join("tree")));
    });
    s.umount();
}
