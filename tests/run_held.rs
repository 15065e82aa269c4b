//! What others hold of a container: its lock for a moment, its mount in another namespace. Neither keeps it from
//! ending, starting again and going.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use live::{alive, wait_for};
use running::{Bed, LIMIT, may_run};
use std::path::PathBuf;
use std::process::{Command, Stdio};

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

/// A file system with room for little.
struct Small(PathBuf);

impl Small {
    /// With directories for the changes of a container, and the options that say so.
    fn new(bed: &Bed) -> (Small, [String; 6]) {
        let at = bed.at("small");
        std::fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        live::run(
            mount
                .args(["-t", "tmpfs", "-o", "size=3m", "small"])
                .arg(&at),
        );
        std::fs::create_dir(at.join("upper")).unwrap();
        std::fs::create_dir(at.join("work")).unwrap();
        let [upper, work] = ["small/upper", "small/work"].map(|at| bed.path(at));
        // else a write that there is no room for fails at once
        let (option, value) = ("--storage-opt".into(), "writeback=1".into());
        let kept = [
            "--upper".into(),
            upper,
            "--work".into(),
            work,
            option,
            value,
        ];
        (Small(at), kept)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// More than there is room for, which the kernel takes and has to write later.
const TOO_MUCH: &str = "exec 3>/big; head -c 8000000 /dev/zero >&3; echo ready";

#[test]
fn what_cannot_be_written_at_the_end_is_told() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let (small, kept) = Small::new(&bed);
    let kept = kept.each_ref().map(String::as_str);
    // the command may see nothing of it, and the end is told as a failure all the same
    let run = ["run", "--name", "c"];
    let line = format!("({TOO_MUCH}) 2>/dev/null; exit 0");
    let (_, err) = bed.code(
        &[&run[..], &kept, &["bb:1", "sh", "-c", &line]].concat(),
        125,
    );
    let said = [
        "flushing what the container wrote",
        "No space left on device",
    ];
    assert!(said.iter().all(|s| err.contains(s)), "{err}");
    // what it said itself counts, and the failure is told beside it
    let line = format!("({TOO_MUCH}) 2>/dev/null; exit 4");
    let run = ["run", "--name", "d"];
    bed.ok(&["rm", "c"]);
    std::fs::remove_file(small.0.join("upper/big")).unwrap();
    let (_, err) = bed.code(&[&run[..], &kept, &["bb:1", "sh", "-c", &line]].concat(), 4);
    assert!(said.iter().all(|s| err.contains(s)), "{err}");
    bed.ok(&["rm", "d"]);
    drop(small);
    bed.nothing_is_left();
}

#[test]
fn a_server_that_could_not_write_all_is_not_ended_by_force() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let (small, kept) = Small::new(&bed);
    let kept = kept.each_ref().map(String::as_str);
    let line = format!("{TOO_MUCH}; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    bed.ok(&[
        &["run", "-d", "--name", "c"][..],
        &kept,
        &["bb:1", "sh", "-c", &line],
    ]
    .concat());
    bed.soon("ready", || bed.ok(&["logs", "c"]).contains("ready"));
    let state = std::fs::read(bed.at("store/vellum/uppers/c/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let server = state["server"]["pid"].as_i64().unwrap() as i32;
    // it cannot end by itself, as its mount is elsewhere too
    let elsewhere = Elsewhere::new();
    bed.ok(&["stop", "c"]);
    assert_eq!(bed.ok(&["wait", "c"]), "0\n");
    assert_eq!(bed.state("c"), "exited");
    assert!(alive(server), "what was written and not yet kept is lost");
    // in the background nobody was told, so it is kept
    let error = bed.ps("c").unwrap()["Error"].to_string();
    assert!(error.contains("No space left on device"), "{error}");
    assert!(
        bed.ok(&["ps", "-a"])
            .contains("flushing what the container wrote")
    );
    let (_, err) = bed.code(&["rm", "c"], 1);
    assert!(err.contains("is in use"), "{err}");
    // once nobody has the mount any more it ends, and all is as after any other end
    drop(elsewhere);
    assert!(wait_for(LIMIT, || !alive(server)));
    bed.ok(&["rm", "c"]);
    drop(small);
    bed.nothing_is_left();
}
