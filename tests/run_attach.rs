//! `vellum attach` without a terminal: who comes to a container that runs, what is seen, and who goes. A real
//! image, by a real runtime. With a terminal: `run_terminal.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use live::kill;
use running::{Bed, may_run};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

/// Someone at the streams of a container.
fn attach(bed: &Bed, args: &[&str]) -> Child {
    let mut command = bed.command(&[&["attach"], args].concat());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The next line that someone is shown.
fn line(reader: &mut impl BufRead) -> String {
    let mut text = String::new();
    reader.read_line(&mut text).unwrap();
    text
}

#[test]
fn all_who_come_see_what_it_writes() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let echo = "while read l; do echo \"got $l\"; done; echo end >&2; exit 7";
    bed.ok(&["run", "-d", "-i", "--name", "c", "bb:1", "sh", "-c", echo]);
    let mut one = attach(&bed, &["c"]);
    let mut two = attach(&bed, &["--no-stdin", "c"]);
    // let both be there
    std::thread::sleep(Duration::from_millis(500));
    let mut seen = [&mut one, &mut two].map(|c| BufReader::new(c.stdout.take().unwrap()));
    one.stdin.as_mut().unwrap().write_all(b"a\nb\n").unwrap();
    for reader in &mut seen {
        assert_eq!([line(reader), line(reader)], ["got a\n", "got b\n"]);
    }
    // one goes, and neither the container nor the other one minds
    kill("-9", one.id() as i32);
    one.wait().unwrap();
    let mut three = attach(&bed, &["c"]);
    std::thread::sleep(Duration::from_millis(300));
    three.stdin.as_mut().unwrap().write_all(b"c\n").unwrap();
    assert_eq!(line(&mut seen[1]), "got c\n");
    // the end of somebody's input is not that of the container's
    drop(three.stdin.take());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bed.state("c"), "running");
    assert_eq!(bed.ok(&["logs", "c"]), "got a\ngot b\ngot c\n");
    bed.ok(&["kill", "c"]);
    assert_eq!(two.wait().unwrap().code(), Some(137));
    let out = three.wait_with_output().unwrap();
    assert_eq!(
        (out.status.code(), out.stdout.as_slice()),
        (Some(137), &b"got c\n"[..])
    );
    let (_, err) = bed.code(&["attach", "c"], 1);
    assert!(err.contains("is not running"), "{err}");
    let (_, err) = bed.code(&["attach", "none"], 1);
    assert!(err.contains("no container \"none\""), "{err}");
    bed.ok(&["rm", "c"]);
    bed.nothing_is_left();
}

#[test]
fn signals_and_the_end_come_through() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let service =
        "trap 'echo asked; echo bye >&2; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let start = |name: &str, more: &[&str]| {
        let args = [
            &["run", "-d", "--name", name],
            more,
            &["bb:1", "sh", "-c", service],
        ]
        .concat();
        bed.ok(&args);
        bed.soon("ready", || bed.ok(&["logs", name]) == "ready\n");
    };
    // also of one that is gone when it has ended
    start("c", &["--rm"]);
    let child = attach(&bed, &["c"]);
    std::thread::sleep(Duration::from_millis(500));
    kill("-TERM", child.id() as i32);
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(5));
    assert_eq!(
        (out.stdout.as_slice(), out.stderr.as_slice()),
        (&b"asked\n"[..], &b"bye\n"[..])
    );
    // without that, a signal ends this side only
    start("d", &[]);
    let child = attach(&bed, &["--sig-proxy=false", "d"]);
    std::thread::sleep(Duration::from_millis(500));
    kill("-TERM", child.id() as i32);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(bed.state("d"), "running");
    bed.ok(&["rm", "-f", "d"]);
    bed.nothing_is_left();
}

#[test]
fn much_is_passed_on_whole() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    // in: more than all buffers on the way hold; out: to one who does not read at first
    let count = "head -c 3000000 | wc -c; seq 1 300000";
    bed.ok(&["run", "-d", "-i", "--name", "c", "bb:1", "sh", "-c", count]);
    let mut child = attach(&bed, &["c"]);
    std::thread::sleep(Duration::from_millis(300));
    let mut input = child.stdin.take().unwrap();
    input.write_all(&vec![b'x'; 3_000_000]).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let out = child.wait_with_output().unwrap();
    let mut wanted = "3000000\n".to_owned();
    (1..=300_000).for_each(|n| wanted.push_str(&format!("{n}\n")));
    assert!(out.status.success() && out.stdout == wanted.as_bytes());
    assert_eq!(bed.ok(&["logs", "c"]), wanted);
    bed.ok(&["rm", "c"]);
    bed.nothing_is_left();
}
