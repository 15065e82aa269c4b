//! The life of containers: in the background, ended, started again, killed, removed; and what is left
//! when something dies that should not. A real image, by a real runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use live::{alive, kill, wait_for};
use running::{Bed, LIMIT, may_run};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Runs until it is told to end, and says so.
const SERVICE: &str = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 0.05; done";

/// Starts one in the background that is ready.
fn service(bed: &Bed, name: &str) {
    bed.ok(&["run", "-d", "--name", name, "bb:1", "sh", "-c", SERVICE]);
    bed.soon("ready", || bed.ok(&["logs", name]) == "ready\n");
}

fn pid(bed: &Bed, name: &str) -> i32 {
    bed.ps(name).unwrap()["Pid"].as_i64().unwrap() as i32
}

fn state_file(bed: &Bed, name: &str) -> serde_json::Value {
    let path = bed.at("store/vellum/uppers").join(name).join("state.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The process of a container that has this part in it.
fn part(bed: &Bed, name: &str, part: &str) -> i32 {
    state_file(bed, name)[part]["pid"].as_i64().unwrap() as i32
}

/// Most KiB that the two processes of a container may have for themselves. Half of it is what a program of
/// this kind takes before it does anything.
const AT_REST: u64 = 450;

/// What the allocator of a process has from the kernel and uses, in KiB.
fn heap(pid: i32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let after = maps.split("[heap]").nth(1).unwrap();
    let line = after.lines().find(|l| l.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Memory that a process has for itself, in KiB.
fn own_memory(pid: i32) -> u64 {
    let all = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = all.lines().find(|l| l.starts_with("Private_Dirty:"));
    let number = line.unwrap().split_whitespace().nth(1);
    number.unwrap().parse().unwrap()
}

#[test]
fn who_looks_after_a_container_at_rest_takes_little_memory() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    bed.ok(&["run", "-d", "--name", "c", "bb:1", "sleep", "1000"]);
    // what is read takes memory in the process that serves it, until it is quiet
    bed.ok(&["exec", "c", "sh", "-c", "cat /bin/busybox >/dev/null"]);
    let both = ["monitor", "server"].map(|p| part(&bed, "c", p));
    let taken = || both.map(own_memory).iter().sum::<u64>();
    let little = wait_for(LIMIT, || taken() < AT_REST);
    assert!(little, "{:?} KiB", both.map(own_memory));
    bed.ok(&["rm", "-f", "c"]);
    bed.nothing_is_left();
}

#[test]
fn a_container_in_the_background() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    service(&bed, "web");
    let ps = bed.ok(&["ps"]);
    assert!(
        ps.contains("web") && ps.contains("Up ") && ps.contains("bb:1"),
        "{ps}"
    );
    assert_eq!(bed.state("web"), "running");
    bed.soon("a monitor that begins afresh", || {
        heap(part(&bed, "web", "monitor")) < 40
    });
    let (_, err) = bed.code(&["rm", "web"], 1);
    assert!(err.contains("is running"), "{err}");
    let (_, err) = bed.code(&["start", "web"], 1);
    assert!(err.contains("runs already"), "{err}");
    let (_, err) = bed.code(&["run", "--name", "web", "bb:1", "true"], 125);
    assert!(err.contains("already"), "{err}");
    // what is in it can be looked at meanwhile, from outside and from inside
    assert_eq!(
        bed.ok(&["exec", "web", "sh", "-c", "echo x >/new; cat /new"]),
        "x\n"
    );
    assert!(bed.ok(&["diff", "web"]).contains("A /new"));
    let (_, err) = bed.code(&["umount", "web"], 1);
    assert!(err.contains("is running"), "{err}");
    let id = bed.ps("web").unwrap()["ID"].as_str().unwrap().to_owned();
    assert!(!bed.groups(&id).is_empty());
    assert_eq!(bed.ok(&["stop", "web"]), "web\n");
    assert_eq!(bed.ok(&["wait", "web"]), "7\n");
    assert_eq!(bed.ok(&["logs", "web"]), "ready\nasked\n");
    assert_eq!(
        (bed.state("web").as_str(), bed.groups(&id).len()),
        ("exited", 0)
    );
    assert!(bed.ok(&["ps", "-a"]).contains("Exited (7)"));
    assert_eq!(bed.ok(&["ps", "-q"]), "");
    // again, with what was changed
    assert_eq!(bed.ok(&["start", "web"]), "web\n");
    assert_eq!(bed.ok(&["exec", "web", "cat", "/new"]), "x\n");
    bed.ok(&["commit", "web", "bb:2"]);
    assert_eq!(bed.ok(&["rm", "-f", "web"]), "web\n");
    assert_eq!(bed.ok(&["run", "--rm", "bb:2", "cat", "/new"]), "x\n");
    bed.nothing_is_left();
}

#[test]
fn exec_is_a_process_of_the_container() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    bed.ok(&[
        "run", "-d", "--name", "c", "-e", "A=1", "-w", "/tmp", "bb:1", "sleep", "1000",
    ]);
    let exec = |options: &[&str], line: &str| {
        bed.ok(&[&["exec"], options, &["c", "sh", "-euc", line]].concat())
    };
    assert_eq!(
        exec(&[], "pwd; echo $A; id -u; ps | grep -c '[s]leep 1000'"),
        "/tmp\n1\n0\n1\n"
    );
    let more = ["-e", "A=2", "-w", "/data", "-u", "www"];
    assert_eq!(
        exec(&more, "pwd; echo $A $HOME; id -G"),
        "/data\n2 /home/www\n34 40\n"
    );
    let caps = "grep CapEff /proc/self/status | cut -f2";
    assert_eq!(exec(&[], caps), "00000000a80425fb\n");
    assert_ne!(exec(&["--privileged"], caps), "00000000a80425fb\n");
    for (args, code, said) in [
        (vec!["c", "sh", "-c", "exit 9"], 9, ""),
        (vec!["c", "sh", "-c", "kill -9 $$"], 137, ""),
        (vec!["c", "nope"], 127, "not found"),
        (vec!["c", "/etc/passwd"], 126, "permission denied"),
        (
            vec!["-u", "nobody", "c", "id"],
            125,
            "unable to find user nobody",
        ),
        (vec!["none", "id"], 125, "no container \"none\""),
        (vec!["c"], 125, "COMMAND"),
    ] {
        let (_, err) = bed.code(&[&["exec"], args.as_slice()].concat(), code);
        assert!(err.contains(said), "{args:?}: {err}");
    }
    fs::write(bed.at("in"), "given\n").unwrap();
    let mut cat = bed.command(&["exec", "-i", "c", "cat"]);
    let out = cat
        .stdin(fs::File::open(bed.at("in")).unwrap())
        .output()
        .unwrap();
    assert_eq!(out.stdout, b"given\n");
    // a signal reaches the process
    let line = "trap 'echo got; exit 4' TERM; echo up; while :; do sleep 0.05; done";
    let mut command = bed.command(&["exec", "c", "sh", "-c", line]);
    let child = command
        .stdout(fs::File::create(bed.at("out")).unwrap())
        .spawn()
        .unwrap();
    bed.soon("up", || {
        fs::read_to_string(bed.at("out")).unwrap() == "up\n"
    });
    kill("-TERM", child.id() as i32);
    let mut child = child;
    assert_eq!(child.wait().unwrap().code(), Some(4));
    bed.ok(&["kill", "c"]);
    assert_eq!(bed.ok(&["wait", "c"]), "137\n");
    let (_, err) = bed.code(&["exec", "c", "id"], 125);
    assert!(err.contains("is not running"), "{err}");
    bed.ok(&["rm", "c"]);
    bed.nothing_is_left();
}

#[test]
fn signals_stop_and_kill() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    // in the foreground, the command's signals are the container's
    let mut command = bed.command(&["run", "--rm", "--name", "f", "bb:1", "sh", "-c", SERVICE]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    bed.soon("ready", || bed.run(&["logs", "f"]).stdout == b"ready\n");
    kill("-TERM", child.id() as i32);
    assert_eq!(child.wait().unwrap().code(), Some(7));
    // who does not listen is killed in the end
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    bed.ok(&["run", "-d", "--name", "d", "bb:1", "sh", "-c", deaf]);
    bed.soon("ready", || bed.ok(&["logs", "d"]) == "ready\n");
    let began = Instant::now();
    bed.ok(&["stop", "-t", "1", "d"]);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(bed.ok(&["wait", "d"]), "137\n");
    // the image's signal, and that of the command line
    for (options, signal) in [(vec![], "USR1"), (vec!["--stop-signal", "HUP"], "HUP")] {
        let line = format!("trap 'exit 5' {signal}; echo ready; while :; do sleep 0.05; done");
        let args = [
            &["run", "-d", "--name", "s"],
            options.as_slice(),
            &["app:1", &line],
        ]
        .concat();
        bed.ok(&args);
        bed.soon("ready", || bed.ok(&["logs", "s"]) == "ready\n");
        bed.ok(&["stop", "s"]);
        assert_eq!(bed.ok(&["wait", "s"]), "5\n");
        bed.ok(&["rm", "-v", "s"]);
    }
    let (_, err) = bed.code(&["kill", "d"], 1);
    assert!(err.contains("is not running"), "{err}");
    bed.ok(&["stop", "d"]);
    bed.code(&["kill", "-s", "WHAT", "d"], 1);
    bed.ok(&["rm", "d"]);
    bed.nothing_is_left();
}

#[test]
fn a_container_that_ends_at_once_keeps_its_exit_code() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    for _ in 0..15 {
        bed.ok(&["run", "-d", "--name", "q", "bb:1", "sh", "-c", "exit 4"]);
        assert_eq!(bed.ok(&["wait", "q"]), "4\n");
        bed.ok(&["rm", "q"]);
    }
    bed.nothing_is_left();
}

#[test]
fn logs_are_followed_to_the_end() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let line = "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done; echo bad >&2; printf end";
    bed.ok(&["run", "-d", "--name", "l", "bb:1", "sh", "-c", line]);
    let out = bed.run(&["logs", "-f", "l"]);
    assert_eq!(
        (out.stdout.as_slice(), out.stderr.as_slice()),
        (&b"1\n2\n3\n4\n5\nend"[..], &b"bad\n"[..])
    );
    assert_eq!(bed.ok(&["logs", "-n", "2", "l"]), "end");
    assert_eq!(bed.ok(&["logs", "-n", "3", "l"]), "5\nend");
    let stamped = bed.ok(&["logs", "-t", "l"]);
    assert!(
        stamped.starts_with("20") && stamped.lines().next().unwrap().ends_with("Z 1"),
        "{stamped}"
    );
    bed.ok(&["start", "-a", "l"]);
    assert_eq!(bed.ok(&["logs", "l"]).matches("end").count(), 2);
    bed.ok(&["rm", "l"]);
    // one that removes itself, waited for
    bed.ok(&[
        "run",
        "-d",
        "--rm",
        "--name",
        "w",
        "bb:1",
        "sh",
        "-c",
        "sleep 0.5; exit 6",
    ]);
    assert_eq!(bed.ok(&["wait", "w"]), "6\n");
    bed.soon("gone", || bed.state("w") == "gone");
    bed.nothing_is_left();
}

#[test]
fn the_server_of_the_root_dies() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    service(&bed, "web");
    kill("-9", part(&bed, "web", "server"));
    bed.soon("a word of it", || {
        bed.ok(&["ps"]).contains("was killed by SIGKILL")
    });
    let (out, err) = bed.code(&["exec", "web", "cat", "/data/file"], 125);
    assert!(!out.contains("of the image"), "{err}");
    // while the server is dying the question may also be cut off
    let cut_off = ["endpoint is not connected", "connection abort"];
    assert!(cut_off.iter().any(|why| err.contains(why)), "{err}");
    assert!(err.contains("stop it and start it again"), "{err}");
    bed.ok(&["stop", "-t", "2", "web"]);
    assert_eq!(bed.state("web"), "exited");
    // and it can be started again
    bed.ok(&["start", "web"]);
    assert_eq!(
        bed.ok(&["exec", "web", "cat", "/data/file"]),
        "of the image\n"
    );
    kill("-9", part(&bed, "web", "server"));
    bed.ok(&["rm", "-f", "web"]);
    bed.nothing_is_left();
}

#[test]
fn what_was_written_outlives_the_server() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    service(&bed, "web");
    // by who still has it open, and nothing is synced: written is written
    let write = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; exec sleep 1000";
    let write = format!("{{ {write}; }} </dev/null >/data/new 2>/dev/null &");
    bed.ok(&["exec", "web", "sh", "-c", &write]);
    // asked for by name: the kernel also writes what it gathered when somebody closes the file
    let size = || bed.ok(&["exec", "web", "stat", "-c", "%s", "/data/new"]);
    bed.soon("written", || size() == "4390\n");
    kill("-9", part(&bed, "web", "server"));
    bed.ok(&["stop", "-t", "2", "web"]);
    bed.ok(&["start", "web"]);
    assert_eq!(size(), "4390\n");
    bed.ok(&["rm", "-f", "web"]);
    bed.nothing_is_left();
}

#[test]
fn what_dies_is_seen_and_removed() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    // who looks after it dies alone; with the container; with all, as when the machine dies
    for parts in [
        &["monitor"][..],
        &["monitor", "first"],
        &["monitor", "server"],
        &["monitor", "first", "server"],
    ] {
        service(&bed, "web");
        let id = bed.ps("web").unwrap()["ID"].as_str().unwrap().to_owned();
        let first = pid(&bed, "web");
        for one in parts {
            let pid = part(&bed, "web", one);
            kill("-9", pid);
            assert!(wait_for(LIMIT, || !alive(pid)));
        }
        assert_eq!(bed.state("web"), "dead", "{parts:?}");
        assert!(bed.ok(&["ps", "-a"]).contains("Dead"));
        assert_eq!(bed.ok(&["wait", "web"]), "137\n");
        if parts.len() == 2 {
            // it can go on
            bed.ok(&["start", "web"]);
            assert_eq!(bed.state("web"), "running");
            bed.ok(&["stop", "web"]);
        }
        assert_eq!(bed.ok(&["rm", "web"]), "web\n", "{parts:?}");
        assert!(!alive(first) && bed.groups(&id).is_empty(), "{parts:?}");
        bed.nothing_is_left();
    }
    // the runtime is gone, too
    let runtime = bed.at("my-runc");
    fs::copy(running::find("runc").unwrap(), &runtime).unwrap();
    let args = [
        "run",
        "-d",
        "--name",
        "r",
        "--runtime",
        runtime.to_str().unwrap(),
        "bb:1",
        "sleep",
        "1000",
    ];
    bed.ok(&args);
    let (first, monitor) = (pid(&bed, "r"), part(&bed, "r", "monitor"));
    fs::remove_file(runtime).unwrap();
    kill("-9", monitor);
    bed.soon("dead", || bed.state("r") == "dead");
    bed.ok(&["rm", "r"]);
    assert!(!alive(first));
    bed.nothing_is_left();
}

#[test]
fn a_read_only_store_and_a_full_disk_are_told() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let store = bed.path("store");
    live::sh(
        "mount --bind \"$1\" \"$1\"; mount -o remount,ro,bind \"$1\"",
        &[store.as_ref()],
    );
    let (_, err) = bed.code(&["run", "--rm", "bb:1", "true"], 125);
    live::sh("umount \"$1\"", &[store.as_ref()]);
    assert!(err.contains("Read-only file system"), "{err}");
    // a store on a disk that is full: what the container writes fails, it is told, and all goes
    fs::create_dir(bed.at("small")).unwrap();
    live::sh(
        "mount -t tmpfs -o size=12m x \"$1\"",
        &[bed.at("small").as_os_str()],
    );
    let args = |line: &'static str| {
        [
            "run",
            "--rm",
            "--root",
            "small/store",
            "bb:1",
            "sh",
            "-c",
            line,
        ]
    };
    bed.ok(&[
        "load",
        "-q",
        "--root",
        "small/store",
        "--name",
        "bb:1",
        "bb-1",
    ]);
    // not at once: runc writes its pid file, on the same disk, when the container runs already
    let line = "sleep 1; dd if=/dev/zero of=/f bs=1M count=50; echo $?";
    let (out, err) = bed.code(&args(line), 0);
    assert!(out == "1\n" && err.contains("No space left"), "{out}{err}");
    let filled = fs::write(bed.at("small/fill"), vec![0; 12 << 20]);
    assert!(filled.is_err());
    let (_, err) = bed.code(&args("true"), 125);
    assert!(err.contains("No space left"), "{err}");
    fs::remove_file(bed.at("small/fill")).unwrap();
    assert_eq!(bed.code(&args("echo again"), 0).0, "again\n");
    let left = fs::read_dir(bed.at("small/store/vellum/uppers"))
        .unwrap()
        .count();
    live::sh("umount \"$1\"", &[bed.at("small").as_os_str()]);
    assert_eq!(left, 0);
    bed.nothing_is_left();
}

#[test]
fn what_a_crash_of_the_machine_leaves() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let uppers = bed.at("store/vellum/uppers");
    let folder = |name: &str, record: &str| {
        fs::create_dir_all(uppers.join(name).join("upper")).unwrap();
        fs::write(uppers.join(name).join("container.json"), record).unwrap();
    };
    // of one that is to go: an empty record, which is in nobody's way, and goes with the next collection
    folder("passing", "");
    assert_eq!(bed.ok(&["ps", "-aq"]), "");
    let (_, err) = bed.code(&["rm", "passing"], 1);
    assert!(err.contains("no container \"passing\""), "{err}");
    bed.ok(&["prune"]);
    bed.nothing_is_left();
    // of one that was damaged otherwise: told, by name, and removed by force
    folder("damaged", "{");
    bed.ok(&["run", "--name", "good", "bb:1", "true"]);
    let (out, err) = bed.code(&["ps", "-aq"], 1);
    assert!(
        out == "good\n" && err.contains("\"damaged\" ('vellum rm -f' removes it)"),
        "{err}"
    );
    bed.code(&["rm", "damaged"], 1);
    bed.ok(&["rm", "-f", "damaged", "good"]);
    bed.nothing_is_left();
}

#[test]
fn many_at_once_leave_nothing() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let many = match std::env::var("VELLUM_CONTAINERS") {
        Ok(n) => n.parse().expect("VELLUM_CONTAINERS is a number"),
        Err(_) => 40,
    };
    let line = "seq \"$1\" | xargs -P 20 -I N \"$2\" run --rm bb:1 sh -c 'echo N' | sort -n | uniq | wc -l";
    let args = [many.to_string(), live::VELLUM.to_owned()];
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-euc", line, "sh"])
        .args(args)
        .env("VELLUM_ROOT", bed.at("store"));
    assert_eq!(live::run(&mut shell).trim(), many.to_string());
    bed.nothing_is_left();
}

#[test]
fn containers_of_mount_and_of_run_are_of_one_kind() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    fs::create_dir(bed.at("mnt")).unwrap();
    bed.ok(&["mount", "--name", "m", "bb:1", "mnt"]);
    assert!(bed.ok(&["ps", "-a"]).contains("Mounted on"));
    let (_, err) = bed.code(&["start", "m"], 1);
    assert!(err.contains("has no command"), "{err}");
    bed.ok(&["rm", "-f", "m"]);
    bed.ok(&["run", "--name", "r", "bb:1", "touch", "/made"]);
    // what the runtime made to mount on is no change
    assert_eq!(bed.ok(&["diff", "r"]).replace("C /etc\n", ""), "A /made\n");
    bed.ok(&["mount", "--name", "r", "mnt"]);
    assert!(bed.at("mnt/made").exists());
    let (_, err) = bed.code(&["start", "-a", "r"], 125);
    assert!(err.contains("is mounted on"), "{err}");
    bed.ok(&["umount", "mnt"]);
    bed.ok(&["start", "-a", "r"]);
    let (_, err) = bed.code(&["rmi", "-f", "bb:1"], 1);
    assert!(err.contains("container \"r\" uses the image"), "{err}");
    bed.ok(&["rm", "r"]);
    bed.nothing_is_left();
}
