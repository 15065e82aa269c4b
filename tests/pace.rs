//! Where the threads run that answer requests, and when they make way for others.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;

use live::tasks::{LONG, SCHED_IDLE, look_up, may_use_io_uring, numbers, policy, status, threads};
use live::{Stack, may_mount, skip, wait_for};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Each by itself: where others are busy, threads do not make way.
static ONE: Mutex<()> = Mutex::new(());

const OFF: &str = "io_uring=off";

/// The program that serves the mount, once it does. Nothing if threads may not make way here.
fn serving(stack: &Stack, options: &str) -> Option<i32> {
    stack.mount(&["-o", options]);
    let [pid] = stack.daemons()[..] else {
        panic!("daemons: {:?}", stack.daemons())
    };
    assert!(wait_for(LONG, || !threads(pid, "signals").is_empty()));
    if !is_watched(pid) {
        skip("threads may not make way here: one processor, or no CAP_SYS_NICE");
        return None;
    }
    Some(pid)
}

/// Whether there is the thread that lets others make way; it comes after all others.
fn is_watched(pid: i32) -> bool {
    wait_for(Duration::from_secs(3), || !threads(pid, "pace").is_empty())
}

/// The processors that a thread may run on.
fn processors(thread: i32) -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(thread)).unwrap();
    let all = 0..CpuSet::count();
    all.filter(|cpu| set.is_set(*cpu).unwrap()).collect()
}

/// Keeps this thread on a processor.
fn stay(cpu: usize) {
    let mut one = CpuSet::new();
    one.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &one).unwrap();
}

#[test]
fn readers_go_to_the_processor_of_the_caller() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    let Some(pid) = serving(&stack, OFF) else {
        return;
    };
    let readers = threads(pid, "reader-");
    let anywhere = status(&readers[0], "Cpus_allowed_list");
    let places = || -> Vec<(String, i32)> {
        let place = |reader| (status(reader, "Cpus_allowed_list"), policy(reader));
        readers.iter().map(|reader| place(reader)).collect()
    };
    let stop = AtomicBool::new(false);
    let (tell, told) = channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            let cpu = *processors(0).last().unwrap();
            stay(cpu);
            tell.send(cpu.to_string()).unwrap();
            look_up(&stack.mnt, "a", &stop);
        });
        let there = (told.recv().unwrap(), SCHED_IDLE);
        // one is enough for one caller; the others are as before after a while
        let seen = wait_for(LONG, || places().contains(&there));
        stop.store(true, Ordering::Relaxed);
        assert!(seen, "{:?} instead of {there:?}", places());
    });
    let back = || places().iter().all(|place| *place == (anywhere.clone(), 0));
    assert!(wait_for(LONG, back), "they stay: {:?}", places());
    stack.umount();
    assert!(wait_for(LONG, || stack.daemons().is_empty()), "it goes on");
}

/// They run often, and before whoever is like any other.
fn those_that_watch_leave_the_processor_of_the_caller(options: &str, names: &[&str]) {
    let stack = Stack::new(1);
    let Some(pid) = serving(&stack, options) else {
        return;
    };
    if processors(0).len() == 1 {
        stack.umount();
        return skip("there is one processor");
    }
    for cpu in processors(0) {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                stay(cpu);
                look_up(&stack.mnt, &format!("a{cpu}-"), &stop);
            });
            let left = wait_for(LONG, || {
                let watching: Vec<i32> = names.iter().flat_map(|name| numbers(pid, name)).collect();
                let away = |thread: &i32| !processors(*thread).contains(&cpu);
                watching.len() == names.len() && watching.iter().all(away)
            });
            stop.store(true, Ordering::Relaxed);
            assert!(left, "{names:?} may be on processor {cpu}");
        });
    }
    stack.umount();
}

#[test]
fn those_that_watch_leave_the_processor_of_the_caller_by_io_uring() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if may_use_io_uring() {
        those_that_watch_leave_the_processor_of_the_caller("io_uring=on", &["pace"]);
    }
}

#[test]
fn those_that_watch_leave_the_processor_of_the_caller_by_the_device() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if may_mount() {
        those_that_watch_leave_the_processor_of_the_caller(OFF, &["pace", "scout"]);
    }
}

/// The thread that answers may have to wait for a layer. As long as there are others, they answer others.
#[test]
fn a_reader_that_waits_does_not_keep_others_from_reading() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !may_mount() {
        return;
    }
    let (beneath, stack) = (Stack::new(1), Stack::new(1));
    beneath.mount(&["-o", OFF]);
    let [pid_beneath] = beneath.daemons()[..] else {
        panic!("daemons: {:?}", beneath.daemons())
    };
    fs::create_dir(stack.lowers[0].join("fast")).unwrap();
    fs::create_dir(beneath.lowers[0].join("slow")).unwrap();
    let opaque = ["-n", "trusted.overlay.opaque", "-v", "y"];
    let mut setfattr = Command::new("setfattr");
    let set = setfattr.args(opaque).arg(stack.lowers[0].join("fast"));
    assert!(set.status().unwrap().success());
    let mut mount = Command::new(live::VELLUM);
    mount.args(["mount", "-o", OFF]);
    for lower in [&stack.lowers[0], &beneath.mnt] {
        mount.arg("--lower").arg(lower);
    }
    mount.arg(&stack.mnt);
    assert!(mount.status().unwrap().success());
    let [pid] = stack.daemons()[..] else {
        panic!("daemons: {:?}", stack.daemons())
    };
    let (fast, slow) = (stack.mnt.join("fast"), stack.mnt.join("slow"));
    assert!(fast.is_dir() && slow.is_dir());
    let readers = threads(pid, "reader-");
    let beneath = Pid::from_raw(pid_beneath);
    for round in 0..5 {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            // one caller, whose requests one thread reads after a while, and that waits then
            scope.spawn(|| {
                look_up(&fast, &format!("a{round}-"), &stop);
                fs::symlink_metadata(slow.join(format!("{round}"))).unwrap_err();
            });
            thread::sleep(Duration::from_millis(100));
            kill(beneath, Signal::SIGSTOP).unwrap();
            stop.store(true, Ordering::Relaxed);
            let (tell, told) = channel();
            scope.spawn({
                let fast = &fast;
                move || {
                    for i in 0..100 {
                        let name = fast.join(format!("b{round}-{i}"));
                        tell.send(fs::symlink_metadata(name).is_err()).ok();
                    }
                }
            });
            let answered = (0..100).all(|_| told.recv_timeout(LONG) == Ok(true));
            kill(beneath, Signal::SIGCONT).unwrap();
            assert!(answered, "round {round}");
        });
    }
    assert!(readers.len() > 1, "with one reader, nobody else could");
    stack.umount();
}

/// Much of what `/proc` says of a process waits while that executes a program, which waits for what is read of
/// the program.
#[test]
fn programs_are_executed_while_readers_follow() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    // large, so that it is not read at once
    for i in 0..100 {
        let copy = stack.lowers[0].join(format!("program{i}"));
        fs::copy("/bin/bash", copy).unwrap();
    }
    let Some(_) = serving(&stack, OFF) else {
        return;
    };
    // names that are not there, so that there are many requests
    let line = "for f in \"$1\"/program*; do for i in 1 2 3 4 5 6 7 8; do [ ! -e $f.$i ] || exit 1; done; \
                $f -c : || exit 1; done";
    let mut sh = Command::new("timeout");
    sh.args(["-s", "KILL", "60", "sh", "-c", line, "sh"]);
    assert!(sh.arg(&stack.mnt).status().unwrap().success());
    stack.umount();
}

/// What gives back memory does it now and then, and not after each request.
#[test]
fn requests_wake_nobody_but_who_reads_them() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !may_mount() {
        return;
    }
    let stack = Stack::new(1);
    stack.mount(&["-o", OFF]);
    let [pid] = stack.daemons()[..] else {
        panic!("daemons: {:?}", stack.daemons())
    };
    for i in 0..3000 {
        fs::symlink_metadata(stack.mnt.join(format!("{i}"))).unwrap_err();
    }
    let first = format!("/proc/{pid}/task/{pid}");
    let woken = status(first.as_ref(), "voluntary_ctxt_switches");
    assert!(woken.parse::<u32>().unwrap() < 300, "{woken} times");
}

/// A thread that yields gets no processor while others want it, and nobody else could answer.
fn where_others_want_the_processors_they_do_not_yield(options: &str, name: &str) {
    let stack = Stack::new(1);
    // in the foreground: in a session of its own, it would compete with others as a session
    let mut command = stack.command(&["--foreground", "-o", options]);
    let mut daemon = command.spawn().unwrap();
    let pid = i32::try_from(daemon.id()).unwrap();
    assert!(wait_for(LONG, || !threads(pid, "signals").is_empty()));
    if !is_watched(pid) {
        stack.umount();
        daemon.wait().unwrap();
        return skip("threads may not stop yielding here: CAP_SYS_NICE");
    }
    let answering = threads(pid, name);
    let stop = AtomicBool::new(false);
    let (yielding, seen) = thread::scope(|scope| {
        for i in 0..2 {
            let (mnt, stop) = (&stack.mnt, &stop);
            scope.spawn(move || look_up(mnt, &format!("c{i}-"), stop));
        }
        thread::sleep(Duration::from_millis(100)); // they yield by now
        for _ in 0..2 * thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        thread::sleep(Duration::from_millis(500)); // it is tried again for shorter each time
        let seen: Vec<bool> = (0..100)
            .flat_map(|_| {
                thread::sleep(Duration::from_millis(20));
                answering.iter().map(|thread| policy(thread) == SCHED_IDLE)
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        (seen.iter().filter(|yields| **yields).count(), seen.len())
    });
    stack.umount();
    daemon.wait().unwrap();
    // always, if nobody took it back; it is tried again now and then
    assert!(yielding * 4 < seen * 3, "{yielding} of {seen} times");
}

#[test]
fn where_others_want_the_processors_rings_do_not_yield() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if may_use_io_uring() {
        where_others_want_the_processors_they_do_not_yield("io_uring=on", "ring-");
    }
}

#[test]
fn where_others_want_the_processors_readers_do_not_yield() {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if may_mount() {
        where_others_want_the_processors_they_do_not_yield(OFF, "reader-");
    }
}
