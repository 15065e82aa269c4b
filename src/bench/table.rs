//! The results as text for a terminal: a block for each metric, a line for each depth, a column
//! for each peer, and beneath each line of ours what it is against every rival.

use super::latency::Latency;
use super::ops::{Metric, Unit};
use super::results::{Cell, Results};
use std::fmt::Write;

/// Renders everything.
pub fn render(results: &Results) -> String {
    let mut out = String::new();
    for (i, metric) in results.metrics.iter().enumerate() {
        if !results.depths(i).is_empty() {
            block(results, i, metric, &mut out);
        }
    }
    footer(results, &mut out);
    out
}

fn block(results: &Results, at: usize, metric: &Metric, out: &mut String) {
    let mut notes: Vec<String> = Vec::new();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut head = vec!["layers".to_owned()];
    head.extend(results.peers.iter().map(|p| p.name.clone()));
    rows.push(head);
    for depth in results.depths(at) {
        let cells: Vec<Option<&Cell>> = (0..results.peers.len())
            .map(|p| results.cells.get(&(at, depth, p)))
            .collect();
        let mut row = vec![depth.to_string()];
        for (p, cell) in cells.iter().enumerate() {
            row.push(show(*cell, metric.unit));
            let name = &results.peers[p].name;
            if let Some(why) = cell.and_then(|c| c.failures.first()) {
                notes.push(format!("failed: {name} at {depth}: {why}"));
            } else if let Some(why) = cell.and_then(|c| c.skipped.as_ref()) {
                notes.push(format!("n/a: {name}: {why}"));
            }
        }
        rows.push(row);
        rows.extend(latencies(&cells));
        for (p, peer) in results.peers.iter().enumerate() {
            if peer.ours {
                rows.extend(against(&cells, p, &peer.name, metric));
            }
        }
    }
    let direction = match metric.unit {
        Unit::PerSecond | Unit::BytesPerSecond => "more is better",
        Unit::Seconds | Unit::Bytes => "less is better",
    };
    line(
        out,
        format_args!("{}: {}; {direction}", metric.name, metric.about),
    );
    aligned(&rows, out);
    let mut said = std::collections::HashSet::new();
    for note in notes.iter().filter(|n| said.insert(*n)) {
        line(out, format_args!("  {note}"));
    }
    line(out, format_args!(""));
}

/// How long single calls took, if that was looked at.
fn latencies(cells: &[Option<&Cell>]) -> Option<Vec<String>> {
    let of = |cell: &Option<&Cell>| cell.and_then(Cell::latency);
    let all: Vec<Option<Latency>> = cells.iter().map(of).collect();
    if all.iter().all(Option::is_none) {
        return None;
    }
    let show = |l: &Option<Latency>| {
        let l = l.as_ref()?;
        let at = |q| l.at(q).map(|s| number(s, Unit::Seconds));
        Some(format!("{}, {}, {}", at(0.5)?, at(0.99)?, at(1.0)?))
    };
    let mut row = vec![" p50, p99, max".to_owned()];
    row.extend(all.iter().map(|l| show(l).unwrap_or_default()));
    Some(row)
}

/// How many times better one of ours is than each of the others.
fn against(
    cells: &[Option<&Cell>],
    ours: usize,
    name: &str,
    metric: &Metric,
) -> Option<Vec<String>> {
    let own = cells[ours]?.summary()?;
    let mut row = vec![format!(" {name}")];
    for (p, cell) in cells.iter().enumerate() {
        let rival = cell.and_then(Cell::summary).filter(|_| p != ours);
        row.push(match rival {
            None => String::new(),
            Some(rival) => {
                let r = own.against(&rival, metric.unit.better());
                match r.clear {
                    true => format!("{:.2}x", r.times),
                    false => format!("~{:.2}x", r.times),
                }
            }
        });
    }
    Some(row)
}

fn show(cell: Option<&Cell>, unit: Unit) -> String {
    let Some(cell) = cell else {
        return "-".into();
    };
    if !cell.failures.is_empty() {
        return "FAILED".into();
    }
    match (cell.summary(), &cell.skipped) {
        (Some(s), _) if s.n > 1 => {
            format!("{} ±{:.0}%", number(s.median, unit), s.spread_percent())
        }
        (Some(s), _) => format!("{} (once)", number(s.median, unit)),
        (None, Some(_)) => "n/a".into(),
        (None, None) => "-".into(),
    }
}

/// A number with its unit, three digits of it.
pub fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond => format!("{}/s", scaled(value, 1000.0, ["", "k", "M", "G"])),
        Unit::BytesPerSecond => format!("{}/s", scaled(value, 1000.0, [" B", " kB", " MB", " GB"])),
        Unit::Bytes => scaled(value, 1024.0, [" B", " KiB", " MiB", " GiB"]),
        Unit::Seconds if value < 0.001 => format!("{} us", digits(value * 1e6)),
        Unit::Seconds if value < 1.0 => format!("{} ms", digits(value * 1e3)),
        Unit::Seconds => format!("{} s", digits(value)),
    }
}

fn scaled(value: f64, base: f64, names: [&str; 4]) -> String {
    let mut v = value;
    let mut at = 0;
    while v >= base && at + 1 < names.len() {
        v /= base;
        at += 1;
    }
    format!("{}{}", digits(v), names[at])
}

fn digits(v: f64) -> String {
    match v {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Writes rows in columns: the first to the left, the others to the right.
pub fn aligned(rows: &[Vec<String>], out: &mut String) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| {
        rows.iter()
            .filter_map(|r| r.get(c))
            .map(|s| s.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|c| width(c).unwrap_or(0)).collect();
    for row in rows {
        let mut text = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - cell.chars().count());
            match c {
                0 => text.push_str(&format!("  {cell}{pad}")),
                _ => text.push_str(&format!("  {pad}{cell}")),
            }
        }
        line(out, format_args!("{}", text.trim_end()));
    }
}

fn footer(results: &Results, out: &mut String) {
    line(
        out,
        format_args!(
            "±: half the distance between the quartiles. Lines of ours: how many times better than the peer;"
        ),
    );
    line(
        out,
        format_args!(
            "~: the middle halves of the samples touch, so the difference is within the spread."
        ),
    );
    line(
        out,
        format_args!(
            "p50, p99, max: how long single calls took; the medians of the rounds. results.json has all."
        ),
    );
    for stack in &results.stacks {
        line(out, format_args!("{stack}"));
    }
    for peer in &results.peers {
        line(
            out,
            format_args!("{}: {} [{}]", peer.name, peer.command, peer.version),
        );
    }
    for what in &results.left_out {
        line(out, format_args!("left out: {what}"));
    }
    for what in &results.broken_layers {
        line(out, format_args!("A LAYER CHANGED: {what}"));
    }
    if results.interrupted {
        line(out, format_args!("interrupted: the rows are not complete"));
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // writing to a String cannot fail
    if writeln!(out, "{text}").is_err() {
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::{Column, Taken};
    use super::*;

    fn taken(values: [f64; 3]) -> Vec<Taken> {
        let of = |(round, value)| Taken {
            round,
            value,
            latency: None,
        };
        values.into_iter().enumerate().map(of).collect()
    }

    fn results() -> Results {
        let column = |name: &str, ours| Column {
            name: name.into(),
            command: "c".into(),
            version: "v".into(),
            ours,
        };
        let mut r = Results {
            metrics: vec![Metric {
                name: "stat".into(),
                unit: Unit::PerSecond,
                about: "a".into(),
            }],
            peers: vec![column("rival", false), column("vellum", true)],
            ..Results::default()
        };
        r.cell((0, 8, 0)).samples = taken([1000.0, 1010.0, 1020.0]);
        r.cell((0, 8, 1)).samples = taken([2020.0; 3]);
        r
    }

    #[test]
    fn numbers() {
        assert_eq!(number(97_123.0, Unit::PerSecond), "97.1k/s");
        assert_eq!(number(2.5e9, Unit::BytesPerSecond), "2.50 GB/s");
        assert_eq!(number(0.0123, Unit::Seconds), "12.3 ms");
        assert_eq!(number(26_214_400.0, Unit::Bytes), "25.0 MiB");
    }

    #[test]
    fn a_clear_win_is_told() {
        let text = render(&results());
        assert!(text.contains("1.01k/s ±0%"), "{text}");
        assert!(
            text.lines()
                .any(|l| l.trim().starts_with("vellum") && l.contains(" 2.00x")),
            "{text}"
        );
    }

    #[test]
    fn a_difference_within_the_spread_is_called_that() {
        let mut r = results();
        r.cell((0, 8, 1)).samples = taken([1000.0, 1015.0, 1030.0]);
        assert!(render(&r).contains("~1.00x"));
    }

    #[test]
    fn percentiles_stand_beneath_the_rates() {
        let mut r = results();
        let mut times = vec![5e-7; 12];
        (times[9], times[11]) = (2e-6, 0.003);
        r.cell((0, 8, 1)).samples[0].latency = Some(Latency(times));
        let text = render(&r);
        let line = text.lines().find(|l| l.contains("p50, p99, max")).unwrap();
        assert!(line.ends_with("0.50 us, 2.00 us, 3.00 ms"), "{text}");
    }

    #[test]
    fn a_failed_peer_shows_no_number() {
        let mut r = results();
        r.cell((0, 8, 0)).failures.push("unlink: EIO".into());
        let text = render(&r);
        assert!(
            text.contains("FAILED") && text.contains("rival at 8: unlink: EIO"),
            "{text}"
        );
        assert!(!text.contains("1.01k"), "{text}");
    }
}
