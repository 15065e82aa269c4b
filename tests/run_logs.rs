//! What containers write: limits, several files, and who reads meanwhile. A real image, by a real runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use running::{Bed, may_run};
use std::fs;
use std::process::Stdio;

/// Names and sizes of the files of a container's log.
fn files(bed: &Bed, name: &str) -> Vec<(String, u64)> {
    let dir = bed.at("store/vellum/uppers").join(name);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if name == "log" || name.starts_with("log.") {
            found.push((name, entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

/// The numbers of `line N`, and that there is none missing up to `last`.
fn numbers(text: &str, last: usize) -> Vec<usize> {
    let number = |line: &str| line.rsplit(' ').next().unwrap().parse().unwrap();
    let seen: Vec<usize> = text.lines().map(number).collect();
    let wanted: Vec<usize> = (last + 1 - seen.len()..=last).collect();
    assert_eq!(seen, wanted);
    seen
}

#[test]
fn a_log_has_a_limit_and_is_followed_over_its_files() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    // some fifty lines a file, half a second
    let line = "i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.01; done";
    let limits = ["--log-opt", "max-size=4k", "--log-opt", "max-file=3"];
    let args = [
        &["run", "-d", "--name", "l"][..],
        &limits,
        &["bb:1", "sh", "-c", line],
    ]
    .concat();
    bed.ok(&args);
    let follower = bed
        .command(&["logs", "-f", "l"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let followed = follower.wait_with_output().unwrap();
    assert!(followed.status.success());
    let all = numbers(&String::from_utf8(followed.stdout).unwrap(), 299);
    assert_eq!(all.len(), 300, "one who follows sees all");
    let kept = files(&bed, "l");
    let names: Vec<&str> = kept.iter().map(|f| f.0.as_str()).collect();
    assert_eq!(names, ["log", "log.1", "log.2"]);
    assert!(kept.iter().all(|f| f.1 <= 4000), "{kept:?}");
    // what is left is read over all of them
    let rest = numbers(&bed.ok(&["logs", "l"]), 299).len();
    assert!((100..160).contains(&rest), "{rest}");
    assert_eq!(numbers(&bed.ok(&["logs", "-n", "90", "l"]), 299).len(), 90);
    assert_eq!(
        numbers(&bed.ok(&["logs", "--tail", "all", "l"]), 299).len(),
        rest
    );
    assert_eq!(bed.ok(&["logs", "-n", "0", "l"]), "");
    let stamped = bed.ok(&["logs", "-t", "l"]);
    let times: Vec<&str> = stamped
        .lines()
        .map(|l| l.split(' ').next().unwrap())
        .collect();
    assert!(times.is_sorted() && times.len() == rest, "{stamped}");
    // the line at that time, and those after it
    let at = times[rest - 80];
    assert_eq!(
        numbers(&bed.ok(&["logs", "--since", at, "l"]), 299).len(),
        80
    );
    assert_eq!(bed.ok(&["logs", "--since", "0s", "l"]), "");
    let both = ["logs", "--since", at, "--until", times[rest - 71], "l"];
    assert_eq!(numbers(&bed.ok(&both), 229).len(), 10);
    let (_, err) = bed.code(&["logs", "--since", "yesterday", "l"], 1);
    assert!(err.contains("a time is expected"), "{err}");
    // a second start goes on in the same files, by the same limit
    bed.ok(&["start", "-a", "l"]);
    assert_eq!(files(&bed, "l").len(), 3);
    assert!(files(&bed, "l").iter().all(|f| f.1 <= 4000));
    bed.ok(&["rm", "l"]);
    bed.nothing_is_left();
}

#[test]
fn a_log_has_no_limit_unless_one_is_given() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let many = "seq 1 20000";
    bed.ok(&["run", "--name", "all", "bb:1", "sh", "-c", many]);
    assert_eq!(numbers(&bed.ok(&["logs", "all"]), 20000).len(), 20000);
    // one file of a limited size is begun again
    let one = ["--log-opt", "max-size=10k"];
    let args = [
        &["run", "--name", "one"][..],
        &one,
        &["bb:1", "sh", "-c", many],
    ]
    .concat();
    assert_eq!(numbers(&bed.ok(&args), 20000).len(), 20000);
    let kept = files(&bed, "one");
    assert!(kept.len() == 1 && kept[0].1 <= 10_000, "{kept:?}");
    assert!(!numbers(&bed.ok(&["logs", "one"]), 20000).is_empty());
    // and in the background, where the process that keeps it begins afresh
    let one = ["--log-opt", "max-size=10k", "--log-opt", "max-file=2"];
    let args = [
        &["run", "-d", "--name", "two"][..],
        &one,
        &["bb:1", "sh", "-c", many],
    ]
    .concat();
    bed.ok(&args);
    bed.ok(&["wait", "two"]);
    let kept = files(&bed, "two");
    assert!(
        kept.len() == 2 && kept.iter().all(|f| f.1 <= 10_000),
        "{kept:?}"
    );
    let none = [
        "run",
        "--name",
        "none",
        "--log-driver",
        "none",
        "bb:1",
        "echo",
        "x",
    ];
    assert_eq!(bed.ok(&none), "x\n");
    assert_eq!(files(&bed, "none"), []);
    let (_, err) = bed.code(&["logs", "none"], 1);
    assert!(err.contains("--log-driver none"), "{err}");
    for (options, said) in [
        (["--log-driver", "syslog"], "'json-file' or 'none'"),
        (["--log-opt", "max-file=3"], "needs max-size"),
        (["--log-opt", "max-size=x"], "a number is expected"),
        (
            ["--log-opt", "compress=true"],
            "\"compress\" is not supported",
        ),
    ] {
        let args = [&["run", "--rm"][..], &options, &["bb:1", "true"]].concat();
        let (_, err) = bed.code(&args, 125);
        assert!(err.contains(said), "{err}");
    }
    for name in ["all", "one", "two", "none"] {
        bed.ok(&["rm", name]);
    }
    bed.nothing_is_left();
}
