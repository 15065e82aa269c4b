//! How a container starts, by the system calls of those who start it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use running::{Bed, find, may_run};
use std::fs;
use std::process::Command;

/// What a command and its children begin, open and execute, and how they end: a line each, which begins with the
/// process.
fn calls(bed: &Bed, args: &[&str], code: i32) -> Vec<String> {
    let log = bed.at("calls");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-q", "-e"])
        .arg("trace=open,openat,execve,fork,vfork,clone,clone3")
        .arg("-o")
        .arg(&log)
        .arg(live::VELLUM)
        .args(args)
        .env("VELLUM_ROOT", bed.at("store"))
        .env_remove("VELLUM_RUNTIME");
    let output = strace.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    let said = fs::read_to_string(log).unwrap();
    said.lines().map(str::to_owned).collect()
}

/// The line in which a process is about to enter a group.
const ENTERS: &[&str] = &["/cgroup.procs\"", "O_WRONLY"];

fn process(line: &str) -> &str {
    line.split(' ').next().unwrap()
}

/// The place of the first line that has all these words.
fn place(lines: &[String], words: &[&str]) -> usize {
    let has = |line: &String| words.iter().all(|word| line.contains(word));
    let found = lines.iter().position(has);
    found.unwrap_or_else(|| panic!("no {words:?} in {lines:#?}"))
}

#[test]
fn the_kernel_prepares_groups_while_the_root_is_mounted() {
    if !may_run() {
        return;
    }
    if find("strace").is_none() {
        live::skip("no strace; 'scripts/deps.sh test' installs it");
        return;
    }
    let bed = Bed::new();
    bed.ok(&["run", "--name", "again", "bb:1", "true"]);
    for args in [
        ["run", "--rm", "bb:1", "true"].as_slice(),
        &["run", "-d", "--rm", "bb:1", "true"],
        &["start", "-a", "again"],
    ] {
        let lines = calls(&bed, args, 0);
        let mounts = place(&lines, &["/dev/fuse\", O_RDWR"]);
        let enterer = process(&lines[place(&lines, ENTERS)]);
        assert!(enterer != process(&lines[0]), "{args:?}: it waits itself");
        let begun = format!(") = {enterer}");
        let begins = lines.iter().position(|line| line.ends_with(&begun));
        assert!(begins.unwrap() < mounts, "{args:?}: {lines:#?}");
    }
    // nobody is left when nothing comes of it
    let lines = calls(&bed, &["run", "--rm", "no-such-image", "true"], 125);
    let main = process(&lines[0]);
    let enterer = process(&lines[place(&lines, ENTERS)]);
    let end = |who: &str| {
        let ends = |line: &String| process(line) == who && line.contains("+++ exited");
        lines.iter().position(ends)
    };
    assert!(end(enterer).unwrap() < end(main).unwrap());
    bed.ok(&["rm", "again"]);
    bed.nothing_is_left();
}
