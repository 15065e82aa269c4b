//! `vellum run` by each runtime that this machine has: the same in, the same out.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use live::{skip, text};
use running::{Bed, find, may_run};
use std::process::{Command, Output};

/// A command on the store where control groups of both versions are not mixed, which crun refuses.
fn vellum(bed: &Bed, args: &[&str]) -> Output {
    let line = "umount /sys/fs/cgroup/unified 2>/dev/null || :; exec \"$@\"";
    Command::new("unshare")
        .args(["-m", "--propagation", "slave", "sh", "-euc", line, "sh"])
        .arg(live::VELLUM)
        .args(args)
        .env("VELLUM_ROOT", bed.at("store"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn every_runtime_does_the_same() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    for (runtime, how) in [
        ("runc", "'scripts/deps.sh test' installs it"),
        ("crun", "'scripts/deps.sh test' installs it"),
        (
            "youki",
            "'cargo install youki --no-default-features --features v1,v2,seccomp' installs it, with libseccomp-dev",
        ),
    ] {
        if find(runtime).is_none() {
            skip(&format!("no {runtime}; {how}"));
            continue;
        }
        let check = |args: &[&str], code: i32, wanted: &str| {
            let out = vellum(&bed, args);
            assert_eq!(
                out.status.code(),
                Some(code),
                "{runtime} {args:?}: {}",
                text(&out)
            );
            let said = String::from_utf8(out.stdout).unwrap();
            assert!(
                said == wanted || wanted == "*",
                "{runtime} {args:?}: {said}"
            );
            String::from_utf8(out.stderr).unwrap()
        };
        let run = |args: &[&str], code: i32, wanted: &str| {
            check(
                &[&["run", "--rm", "--runtime", runtime], args].concat(),
                code,
                wanted,
            )
        };
        run(&["bb:1", "echo", "x"], 0, "x\n");
        run(&["app:1"], 0, "the image says so\n");
        run(&["bb:1", "sh", "-c", "exit 4"], 4, "");
        let err = run(&["bb:1", "nope"], 127, "");
        assert!(err.contains(runtime), "{err}");
        run(&["bb:1", "/etc/passwd"], 126, "");
        let line = "id -u; id -G; grep -E 'CapEff|Seccomp:' /proc/self/status | cut -f2";
        let rights = "33\n34 40\n0000000000000000\n2\n";
        run(&["-u", "www", "bb:1", "sh", "-c", line], 0, rights);
        let said = "0\n0\n00000000a80425fb\n2\n";
        run(&["bb:1", "sh", "-c", line], 0, said);
        run(
            &["-t", "bb:1", "sh", "-c", "tty; exit 3"],
            3,
            "/dev/pts/0\r\n",
        );
        let more = [
            "--read-only",
            "--cap-drop",
            "ALL",
            "-m",
            "64m",
            "--pids-limit",
            "50",
            "-v",
            "/data",
        ];
        run(
            &[&more[..], &["bb:1", "cat", "/data/file"]].concat(),
            0,
            "of the image\n",
        );
        check(
            &[
                "run",
                "-d",
                "--name",
                "c",
                "--runtime",
                runtime,
                "bb:1",
                "sleep",
                "1000",
            ],
            0,
            "c\n",
        );
        check(&["exec", "c", "sh", "-c", "echo in; exit 6"], 6, "in\n");
        let err = check(&["exec", "c", "nope"], 127, "");
        assert!(err.contains("not found"), "{runtime}: {err}");
        check(&["exec", "c", "/etc/passwd"], 126, "");
        check(&["exec", "-u", "33", "c", "id", "-u"], 0, "33\n");
        // youki says the signal's number, which might be an exit code
        let killed = if runtime == "youki" { 9 } else { 137 };
        check(&["exec", "c", "sh", "-c", "kill -9 $$"], killed, "");
        // goes on by itself, and nobody sees what it writes
        let alone = "echo in; sleep 0.2; echo done >/data/alone; sleep 1000";
        check(&["exec", "-d", "c", "sh", "-c", alone], 0, "");
        bed.soon("what a process by itself does", || {
            bed.run(&["exec", "c", "cat", "/data/alone"]).stdout == b"done\n"
        });
        let err = check(&["exec", "-d", "c", "nope"], 127, "");
        assert!(err.contains("not found"), "{runtime}: {err}");
        check(&["stop", "-t", "0", "c"], 0, "c\n");
        check(&["wait", "c"], 0, "137\n");
        check(&["start", "c"], 0, "c\n");
        check(&["kill", "-s", "KILL", "c"], 0, "c\n");
        check(&["wait", "c"], 0, "137\n");
        check(&["start", "c"], 0, "c\n");
        check(&["rm", "-f", "c"], 0, "c\n");
        bed.nothing_is_left();
    }
}
