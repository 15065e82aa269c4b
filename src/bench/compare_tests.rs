use super::*;
use crate::bench::document::FORMAT;
use crate::bench::results::{Column, Taken};

fn run(rows: &[(&str, &str, &[f64])]) -> Document {
    let column = |name: &str| Column {
        name: name.into(),
        command: "c".into(),
        version: "1".into(),
        ours: name == "vellum",
    };
    let row = |(metric, peer, values): &(&str, &str, &[f64])| {
        let samples = values.iter().enumerate().map(|(round, value)| Taken {
            round,
            value: *value,
            latency: None,
        });
        Row {
            metric: (*metric).into(),
            about: String::new(),
            unit: Unit::PerSecond,
            layers: 8,
            peer: (*peer).into(),
            samples: samples.collect(),
            summary: Summary::of(values),
            failures: Vec::new(),
            skipped: None,
        }
    };
    Document {
        format: FORMAT,
        vellum: "1".into(),
        time: 0,
        machine: Default::default(),
        options: Default::default(),
        peers: vec![column("plain"), column("vellum")],
        stacks: Vec::new(),
        latency_quantiles: Vec::new(),
        results: rows.iter().map(row).collect(),
        left_out: Vec::new(),
        broken_layers: Vec::new(),
        interrupted: false,
    }
}

fn options(relative: Option<&str>) -> Options {
    Options {
        alpha: 0.01,
        relative: relative.map(str::to_owned),
    }
}

const SLOW: &[f64] = &[10.0, 11.0, 12.0, 13.0, 14.0];
const FAST: &[f64] = &[20.0, 22.0, 24.0, 26.0, 28.0];

fn verdict(a: &Document, b: &Document, relative: Option<&str>) -> Vec<Verdict> {
    let c = compare(a, b, &options(relative)).unwrap();
    c.rows.iter().map(|r| r.verdict).collect()
}

#[test]
fn what_moved_is_told_from_what_did_not() {
    let a = run(&[("stat", "vellum", SLOW), ("find", "vellum", SLOW)]);
    let b = run(&[
        ("stat", "vellum", FAST),
        ("find", "vellum", &[9.0, 15.0, 12.0, 11.5, 13.0]),
    ]);
    assert_eq!(verdict(&a, &b, None), [Verdict::Better, Verdict::Same]);
    assert_eq!(verdict(&b, &a, None), [Verdict::Worse, Verdict::Same]);
    let c = compare(&b, &a, &options(None)).unwrap();
    assert!(c.is_worse());
    let text = c.render();
    assert!(
        text.starts_with("Worse:") && text.contains("0.50x"),
        "{text}"
    );
    assert!(text.contains("1 of 2 rows moved"), "{text}");
}

#[test]
fn a_run_is_like_itself() {
    let a = run(&[("stat", "vellum", SLOW), ("stat", "plain", FAST)]);
    assert_eq!(verdict(&a, &a, None), [Verdict::Same, Verdict::Same]);
    assert!(!compare(&a, &a, &options(None)).unwrap().is_worse());
}

#[test]
fn a_machine_that_is_slower_as_a_whole_moves_no_ratio() {
    let half: Vec<f64> = FAST.iter().map(|v| v / 2.0).collect();
    let slow: Vec<f64> = SLOW.iter().map(|v| v / 2.0).collect();
    let a = run(&[("stat", "plain", FAST), ("stat", "vellum", SLOW)]);
    let b = run(&[("stat", "plain", &half), ("stat", "vellum", &slow)]);
    assert_eq!(verdict(&a, &b, None), [Verdict::Worse, Verdict::Worse]);
    assert_eq!(verdict(&a, &b, Some("plain")), [Verdict::Same]);
    let e = compare(&a, &b, &options(Some("nobody"))).unwrap_err();
    assert!(e.to_string().contains("nobody"), "{e}");
}

#[test]
fn too_few_samples_tell_nothing() {
    let a = run(&[("stat", "vellum", &SLOW[..2])]);
    let b = run(&[("stat", "vellum", &FAST[..2])]);
    assert_eq!(verdict(&a, &b, None), [Verdict::Unknown]);
}

#[test]
fn failures_and_missing_rows_are_named() {
    let a = run(&[("stat", "vellum", SLOW), ("find", "vellum", SLOW)]);
    let mut b = run(&[("stat", "vellum", SLOW)]);
    b.results[0].failures.push("EIO".into());
    let c = compare(&a, &b, &options(None)).unwrap();
    assert_eq!(c.rows, []);
    assert_eq!(c.not_compared.len(), 2, "{:?}", c.not_compared);
    assert!(c.is_worse());
    assert!(c.not_compared[0].contains("before: well; after: EIO"));
}

#[test]
fn other_circumstances_are_told() {
    let (a, mut b) = (run(&[]), run(&[]));
    b.machine.kernel = "7.0".into();
    b.options.seed = 9;
    b.peers[1].version = "2".into();
    let c = compare(&a, &b, &options(None)).unwrap();
    assert_eq!(c.circumstances.len(), 3, "{:?}", c.circumstances);
}
