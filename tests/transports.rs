//! Requests that come by io_uring, and by `/dev/fuse`: which of them a mount uses, and that either
//! answers everybody, also when many ask at once and when all processors are busy.
//!
//! Where the kernel's FUSE over io_uring is switched off, tests that need it are skipped;
//! `scripts/test.sh` switches it on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;

use live::tasks::{
    LONG, SCHED_IDLE, io_uring_is_offered, look_up, may_use_io_uring, policy, threads,
};
use live::{Stack, may_mount, skip, text, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::Pid;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn mounted(stack: &Stack, options: &str) -> i32 {
    stack.mount(&["-o", options]);
    let [pid] = stack.daemons()[..] else {
        panic!("daemons: {:?}", stack.daemons())
    };
    pid
}

#[test]
fn io_uring_has_a_thread_for_every_processor() {
    if !may_use_io_uring() {
        return;
    }
    let stack = Stack::new(1);
    let pid = mounted(&stack, "io_uring=on");
    let processors = thread::available_parallelism().unwrap().get();
    assert_eq!(threads(pid, "ring-").len(), processors.min(64));
    // what needs no answer is read by the first thread, which is there anyway
    assert!(wait_for(LONG, || threads(pid, "signals").len() == 1));
    assert!(threads(pid, "reader-").is_empty());
    stack.umount();
    assert!(wait_for(LONG, || stack.daemons().is_empty()));
}

#[test]
fn without_io_uring_there_are_readers_only() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    let pid = mounted(&stack, "io_uring=off");
    assert!(threads(pid, "ring-").is_empty());
    assert!(wait_for(LONG, || !threads(pid, "reader-").is_empty()));
}

/// Memory that a process has for itself, in KiB.
fn own_memory(pid: i32) -> u64 {
    let all = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    // not "Private_Dirty": of a program that was just linked, its own pages are that, until they are on disk
    let line = all.lines().find(|l| l.starts_with("Anonymous:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

/// A large message takes memory while there are such, and no longer.
fn memory_of_large_messages_is_given_back(options: &str) {
    let stack = Stack::new(1);
    stack.lower(0, "large", vec![b'l'; 8 << 20]);
    let pid = mounted(&stack, options);
    fs::metadata(stack.mnt.join("large")).unwrap();
    assert!(wait_for(LONG, || !threads(pid, "signals").is_empty()));
    let before = own_memory(pid);
    assert_eq!(fs::read(stack.mnt.join("large")).unwrap().len(), 8 << 20);
    // a message takes 1024; threads that are begun meanwhile take some, too
    let most = before + 512;
    assert!(
        wait_for(LONG, || own_memory(pid) < most),
        "{before} KiB before, {} after",
        own_memory(pid)
    );
    // and the memory can be used again
    fs::write(stack.mnt.join("new"), vec![b'n'; 3 << 20]).unwrap();
    let new = fs::read(stack.mnt.join("new")).unwrap();
    assert!(new == vec![b'n'; 3 << 20]);
}

#[test]
fn memory_of_large_messages_is_given_back_by_io_uring() {
    if may_use_io_uring() {
        memory_of_large_messages_is_given_back("io_uring=on");
    }
}

#[test]
fn memory_of_large_messages_is_given_back_without_it() {
    if may_mount() {
        memory_of_large_messages_is_given_back("io_uring=off");
    }
}

#[test]
fn what_the_kernel_offers_is_used() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    let pid = mounted(&stack, "io_uring=auto");
    assert_eq!(!threads(pid, "ring-").is_empty(), io_uring_is_offered());
}

#[test]
fn io_uring_where_there_is_none_is_refused() {
    if !may_mount() {
        return;
    }
    if io_uring_is_offered() {
        return skip("this kernel's FUSE over io_uring is switched on");
    }
    let stack = Stack::new(1);
    let out = stack.command(&["-o", "io_uring=on"]).output().unwrap();
    assert!(!out.status.success());
    assert!(text(&out).contains("io_uring=on: this kernel's FUSE does not offer it"));
    assert_eq!(stack.mounts(), 0);
}

/// More than there are places for messages, of quick and of slow kinds, all at once.
fn many_at_once(options: &str) {
    const CALLERS: usize = 64;
    let stack = Stack::new(1);
    for i in 0..CALLERS {
        stack.lower(0, &format!("d{i}/lower"), vec![b'l'; 100_000]);
    }
    mounted(&stack, options);
    thread::scope(|scope| {
        for i in 0..CALLERS {
            let dir = stack.mnt.join(format!("d{i}"));
            scope.spawn(move || {
                for n in 0..8 {
                    let path = dir.join(format!("new{n}"));
                    let mut file = fs::File::create(&path).unwrap();
                    file.write_all(&vec![n; 50_000]).unwrap();
                    file.sync_all().unwrap();
                    assert!(fs::metadata(dir.join("not there")).is_err());
                    fs::rename(&path, dir.join(format!("moved{n}"))).unwrap();
                }
                let lower = fs::OpenOptions::new()
                    .read(true)
                    .append(true)
                    .open(dir.join("lower"));
                let mut lower = lower.unwrap();
                lower.write_all(b"more").unwrap(); // copies it up
                lower.seek(SeekFrom::Start(0)).unwrap();
                let mut all = Vec::new();
                lower.read_to_end(&mut all).unwrap();
                assert_eq!(all.len(), 100_004);
                assert!(all.ends_with(b"llmore"));
            });
        }
    });
    for i in 0..CALLERS {
        let dir = stack.upper.join(format!("d{i}"));
        for n in 0..8 {
            let data = fs::read(dir.join(format!("moved{n}"))).unwrap();
            assert_eq!(data, vec![n; 50_000]);
        }
        assert_eq!(fs::read(dir.join("lower")).unwrap().len(), 100_004);
    }
}

#[test]
fn many_at_once_by_io_uring() {
    if may_use_io_uring() {
        many_at_once("io_uring=on");
    }
}

#[test]
fn many_at_once_by_the_device() {
    if may_mount() {
        many_at_once("io_uring=off");
    }
}

/// Reads and writes as large as a message can be, larger, and at odd places.
fn large_and_odd(options: &str) {
    let stack = Stack::new(1);
    let pattern: Vec<u8> = (0..9_000_001u32).map(|i| (i % 251) as u8).collect();
    stack.lower(0, "lower", &pattern);
    mounted(&stack, options);
    let lower = fs::File::open(stack.mnt.join("lower")).unwrap();
    let upper = fs::File::create(stack.mnt.join("upper")).unwrap();
    for (at, len) in [
        (0, 1),
        (4095, 2),
        (1 << 20, 1 << 20),
        (3, 7_000_000),
        (9_000_000, 100),
    ] {
        let mut got = vec![0; len];
        let n = lower.read_at(&mut got, at).unwrap();
        let end = pattern.len().min(at as usize + len);
        assert_eq!(&got[..n], &pattern[at as usize..end], "{len} bytes at {at}");
        upper.write_all_at(&got[..n], at).unwrap();
    }
    upper.sync_all().unwrap();
    let below = fs::read(stack.upper.join("upper")).unwrap();
    assert_eq!(below.len(), pattern.len());
    assert_eq!(below[3..7_000_003], pattern[3..7_000_003]);
}

#[test]
fn large_and_odd_by_io_uring() {
    if may_use_io_uring() {
        large_and_odd("io_uring=on");
    }
}

#[test]
fn large_and_odd_by_the_device() {
    if may_mount() {
        large_and_odd("io_uring=off");
        large_and_odd("io_uring=off,max_write=4096");
    }
}

/// A disk may have to be waited for, which another thread does. What is in memory is read at once, also where
/// the file system does not say that it is.
#[test]
fn what_is_in_memory_is_read_by_who_is_asked() {
    let memory = Path::new("/dev/shm");
    if !may_mount() {
        return;
    }
    if statfs(memory).unwrap().filesystem_type() != TMPFS_MAGIC {
        return skip("/dev/shm is not in memory here");
    }
    let stack = Stack::within(memory, 1);
    stack.lower(0, "lower", "below");
    fs::write(stack.upper.join("upper"), "above").unwrap();
    for options in ["io_uring=off", "io_uring=auto"] {
        let pid = mounted(&stack, options);
        assert_eq!(fs::read(stack.mnt.join("lower")).unwrap(), b"below");
        assert_eq!(fs::read(stack.mnt.join("upper")).unwrap(), b"above");
        let others = threads(pid, "slow");
        assert!(others.is_empty(), "{options}: read by {others:?}");
        stack.umount();
        assert!(wait_for(LONG, || stack.daemons().is_empty()), "{options}");
    }
}

#[test]
fn threads_yield_while_many_requests_come() {
    if !may_use_io_uring() {
        return;
    }
    let stack = Stack::new(1);
    let pid = mounted(&stack, "io_uring=on");
    if threads(pid, "pace").is_empty() {
        return skip("threads may not stop yielding here: CAP_SYS_NICE");
    }
    let rings = threads(pid, "ring-");
    let yielding = || rings.iter().any(|ring| policy(ring) == SCHED_IDLE);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| look_up(&stack.mnt, "a", &stop));
        let seen = wait_for(LONG, yielding);
        stop.store(true, Ordering::Relaxed);
        assert!(seen, "not while requests come");
    });
    assert!(wait_for(LONG, || !yielding()), "for ever");
}

/// What is known is asked of nobody: with the program that serves the mount stopped, files that
/// were read before can be looked at, opened, read and closed, as often as one likes.
#[test]
fn what_was_read_before_is_answered_without_a_message() {
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    stack.lower(0, "dir/file", "content");
    let mut command = Command::new(live::VELLUM);
    command
        .args(["mount", "--lower"])
        .args([&stack.lowers[0], &stack.mnt]);
    assert!(command.status().unwrap().success());
    let [pid] = stack.daemons()[..] else {
        panic!("daemons: {:?}", stack.daemons())
    };
    // each by itself: what hangs is ended
    let look = || {
        let script = "for i in 1 2 3; do for c in \"stat -c %s-%b-%Y\" cat ls; do \
                      timeout -s KILL 10 $c \"$1\"; done; done";
        let file = stack.mnt.join("dir/file");
        let mut sh = Command::new("sh");
        sh.args(["-ec", script, "sh"]).arg(file).output().unwrap()
    };
    let before = look();
    assert!(before.status.success(), "{}", text(&before));
    let pid = Pid::from_raw(pid);
    kill(pid, Signal::SIGSTOP).unwrap();
    let meanwhile = look();
    kill(pid, Signal::SIGCONT).unwrap();
    assert!(meanwhile.status.success(), "{}", text(&meanwhile));
    assert_eq!(before.stdout, meanwhile.stdout);
    stack.umount();
}
