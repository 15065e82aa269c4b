//! What others hold of a container: its lock for a moment, its mount in another namespace. Neither keeps it from
//! ending, starting again and going.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use running::{Bed, may_run};
use std::process::Stdio;

#[test]
fn who_looks_at_a_container_keeps_nobody_from_starting_it() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    bed.ok(&["run", "--name", "c", "bb:1", "true"]);
    let lock = bed.path("store/vellum/uppers/c/lock");
    for (kind, command) in [
        // as `ps` in the moment when it asks for the state
        ("--shared", ["start", "-a", "c"].as_slice()),
        // as the monitor in the moment after it has noted the end
        ("--exclusive", &["start", "-a", "c"]),
        ("--exclusive", &["rm", "c"]),
    ] {
        let line = "exec 9<\"$2\"; flock $1 9; echo held; sleep 0.5";
        let mut looks = std::process::Command::new("sh")
            .args(["-euc", line, "sh", kind, &lock])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(looks.stdout.as_mut().unwrap(), &mut said).unwrap();
        bed.ok(command);
        assert!(looks.wait().unwrap().success());
    }
    bed.nothing_is_left();
}

/// A process in a mount namespace of its own, which has all mounts that there are.
struct Elsewhere(std::process::Child);

impl Elsewhere {
    fn new() -> Elsewhere {
        let line = ["--mount", "--propagation", "private", "sh", "-c"];
        let mut unshare = std::process::Command::new("unshare");
        unshare.args(line).arg("echo there; exec sleep 100");
        let mut child = unshare.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        Elsewhere(child)
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_mount_that_another_namespace_has_keeps_no_container() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    // not written again by the second start
    let line = "[ -e /written ] || seq 200000 >/written; trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    bed.ok(&["run", "-d", "--name", "stays", "bb:1", "sh", "-c", line]);
    bed.ok(&[
        "run", "-d", "--rm", "--name", "goes", "bb:1", "sleep", "1000",
    ]);
    bed.soon("ready", || bed.ok(&["logs", "stays"]) == "ready\n");
    let elsewhere = Elsewhere::new();
    bed.ok(&["stop", "-t", "0", "goes"]);
    bed.soon("the end", || bed.state("goes") == "gone");
    bed.ok(&["stop", "stays"]);
    assert_eq!(bed.ok(&["wait", "stays"]), "7\n");
    // what was written last is there, and it starts again
    bed.ok(&["start", "stays"]);
    let look = [
        "exec",
        "stays",
        "sh",
        "-c",
        "tail -1 /written; wc -l </written",
    ];
    assert_eq!(bed.ok(&look), "200000\n200000\n");
    drop(elsewhere);
    bed.ok(&["rm", "-f", "stays"]);
    bed.nothing_is_left();
}
