//! `vellum run -t`: a real terminal, with script(1) as the one who sits at it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use live::{VELLUM, skip};
use running::{Bed, find, may_run};
use std::io::Write;
use std::process::{Command, Stdio};

/// What is seen at a terminal of 100 columns and 30 lines where this is run, and `typed`.
fn at_terminal(bed: &Bed, args: &str, typed: &[&str]) -> (String, Option<i32>) {
    run_at_terminal(
        bed,
        &format!("stty cols 100 rows 30; exec {VELLUM} {args}"),
        typed,
    )
}

fn run_at_terminal(bed: &Bed, line: &str, typed: &[&str]) -> (String, Option<i32>) {
    let mut child = Command::new("script")
        .args(["-qefc", line, "/dev/null"])
        .env("VELLUM_ROOT", bed.at("store"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    for line in typed {
        // Ctrl-C throws away what was typed and not yet read
        std::thread::sleep(std::time::Duration::from_millis(1500));
        input.write_all(line.as_bytes()).unwrap();
    }
    // kept open: script ends its program where its input ends
    let out = child.wait_with_output().unwrap();
    drop(input);
    (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        out.status.code(),
    )
}

#[test]
fn one_leaves_a_terminal_and_comes_back() {
    if !may_run() {
        return;
    }
    if find("script").is_none() {
        return skip("no script(1)");
    }
    let bed = Bed::new();
    let typed = ["x=kept; echo $((20+22))\n", "\x10\x11"];
    let (said, code) = at_terminal(&bed, "run -it --name s bb:1 sh", &typed);
    assert!(
        said.contains("42") && said.contains("read escape sequence"),
        "{said}"
    );
    assert_eq!((code, bed.state("s").as_str()), (Some(0), "running"));
    // by other keys, and these are then for the container; a part of them is, too
    let typed = ["echo a\x18\x7f:$x\n", "\x10\x11", "\x18x"];
    let (said, code) = at_terminal(&bed, "attach --detach-keys ctrl-x,x s", &typed);
    assert!(said.contains("read escape sequence"), "{said}");
    assert_eq!((code, bed.state("s").as_str()), (Some(0), "running"));
    let typed = ["\necho again:$x:$((1+1)); stty size\n", "exit 3\n"];
    let (said, code) = at_terminal(&bed, "attach s", &typed);
    assert!(
        said.contains("again:kept:2") && said.contains("30 100"),
        "{said}"
    );
    assert_eq!((code, bed.state("s").as_str()), (Some(3), "exited"));
    // a second start, and away again
    let (said, code) = at_terminal(&bed, "start -a -i s", &["\x10\x11"]);
    assert!(
        said.contains("read escape sequence") && code == Some(0),
        "{said}"
    );
    bed.ok(&["rm", "-f", "s"]);
    // one that goes when it ends goes although nobody is there
    at_terminal(&bed, "run --rm -it --name r bb:1 sleep 3", &["\x10\x11"]);
    assert_eq!(bed.state("r"), "running");
    bed.soon("its end", || bed.state("r") == "gone");
    let (_, err) = bed.code(&["run", "--rm", "--detach-keys", "ab", "bb:1", "true"], 125);
    assert!(err.contains("--detach-keys"), "{err}");
    bed.nothing_is_left();
}

#[test]
fn a_terminal_passes_through() {
    if !may_run() {
        return;
    }
    if find("script").is_none() {
        return skip("no script(1)");
    }
    let bed = Bed::new();
    let (said, code) = at_terminal(
        &bed,
        "run --rm -it bb:1 sh -c 'tty; stty size; echo $TERM; exit 4'",
        &[],
    );
    assert!(
        said.contains("/dev/pts/0") && said.contains("30 100") && said.contains("xterm"),
        "{said}"
    );
    assert_eq!(code, Some(4));
    // a new size reaches it, too
    let resized = "run --rm -it bb:1 sh -c 'trap \"stty size; exit 5\" WINCH; echo on; while :; do sleep 0.1; done'";
    let line = format!("(sleep 2; stty cols 77 rows 22 </dev/tty) & exec {VELLUM} {resized}");
    let (said, code) = run_at_terminal(&bed, &line, &[]);
    assert!(said.contains("22 77"), "{said}");
    assert_eq!(code, Some(5));
    // what is typed reaches a shell, Ctrl-C the program that runs in it, and not this end
    let typed = [
        "echo $((20+22))\nsleep 1000\n",
        "\x03",
        "echo after:$((1+1))\nexit 3\n",
    ];
    let (said, code) = at_terminal(&bed, "run --rm -it bb:1 sh", &typed);
    assert!(said.contains("42") && said.contains("after:2"), "{said}");
    assert_eq!(code, Some(3));
    // the same by exec
    bed.ok(&[
        "run",
        "-d",
        "-t",
        "--name",
        "t",
        "bb:1",
        "sh",
        "-c",
        "tty; sleep 1000",
    ]);
    let (said, code) = at_terminal(&bed, "exec -it t sh -c 'tty; stty size; exit 6'", &[]);
    assert!(
        said.contains("/dev/pts/1") && said.contains("30 100"),
        "{said}"
    );
    assert_eq!(code, Some(6));
    // and what a container with a terminal wrote in the background was kept
    assert_eq!(bed.ok(&["logs", "t"]), "/dev/pts/0\r\n");
    bed.ok(&["rm", "-f", "t"]);
    bed.nothing_is_left();
}
