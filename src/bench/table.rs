//! The results as text for a terminal: a block for each metric, in it a line for each depth and
//! peer, and on that what each of ours is against it.

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
    let direction = match metric.unit {
        Unit::PerSecond | Unit::BytesPerSecond => "more is better",
        Unit::Seconds | Unit::Bytes => "less is better",
    };
    line(
        out,
        format_args!("{}: {}; {direction}", metric.name, metric.about),
    );
    let ours: Vec<usize> = ours(results).collect();
    let of = |depth, p| results.cells.get(&(at, depth, p));
    let depths = results.depths(at);
    let timed = |depth: &usize| {
        (0..results.peers.len()).any(|p| of(*depth, p).is_some_and(|c| c.latency().is_some()))
    };
    let with_latency = depths.iter().any(timed);
    let mut notes: Vec<String> = Vec::new();
    let mut rows = vec![head(&ours, with_latency)];
    for depth in depths {
        for (p, peer) in results.peers.iter().enumerate() {
            let cell = of(depth, p);
            let layers = if p == 0 {
                depth.to_string()
            } else {
                String::new()
            };
            let mut row = vec![layers, lettered(&peer.name, p, &ours)];
            row.push(show(cell, metric.unit));
            row.extend(ours.iter().map(|own| match *own == p {
                true => String::new(),
                false => against(of(depth, *own), cell, metric),
            }));
            if with_latency {
                row.push(latencies(cell).unwrap_or_default());
            }
            rows.push(row);
            if let Some(why) = cell.and_then(|c| c.failures.first()) {
                notes.push(format!("failed: {} at {depth}: {why}", peer.name));
            } else if let Some(why) = cell.and_then(|c| c.skipped.as_ref()) {
                notes.push(format!("n/a: {}: {why}", peer.name));
            }
        }
    }
    aligned(&rows, 2, out);
    let mut said = std::collections::HashSet::new();
    for note in notes.iter().filter(|n| said.insert(*n)) {
        line(out, format_args!("  {note}"));
    }
    line(out, format_args!(""));
}

fn head(ours: &[usize], with_latency: bool) -> Vec<String> {
    let mut row = vec!["layers".to_owned(), "peer".to_owned(), "median".to_owned()];
    row.extend((0..ours.len()).map(letter));
    if with_latency {
        row.push("p50, p99, max".to_owned());
    }
    row
}

/// The peers that others are compared with.
fn ours(results: &Results) -> impl Iterator<Item = usize> {
    let all = results.peers.iter().enumerate();
    all.filter(|(_, peer)| peer.ours).map(|(p, _)| p)
}

/// What heads the column of one of ours: the names are too long for that.
fn letter(at: usize) -> String {
    match u8::try_from(at) {
        Ok(n) if n < 26 => char::from(b'a' + n).to_string(),
        _ => (at + 1).to_string(),
    }
}

fn lettered(name: &str, p: usize, ours: &[usize]) -> String {
    match ours.iter().position(|own| *own == p) {
        Some(at) => format!("{name} ({})", letter(at)),
        None => name.to_owned(),
    }
}

/// How long single calls took, if that was looked at.
fn latencies(cell: Option<&Cell>) -> Option<String> {
    let l: Latency = cell?.latency()?;
    let at = |q| l.at(q).map(|s| number(s, Unit::Seconds));
    Some(format!("{}, {}, {}", at(0.5)?, at(0.99)?, at(1.0)?))
}

/// How many times better one of ours is than the peer.
fn against(own: Option<&Cell>, peer: Option<&Cell>, metric: &Metric) -> String {
    let (Some(own), Some(rival)) = (own.and_then(Cell::summary), peer.and_then(Cell::summary))
    else {
        return String::new();
    };
    let r = own.against(&rival, metric.unit.better());
    match r.clear {
        true => format!("{:.2}x", r.times),
        false => format!("~{:.2}x", r.times),
    }
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

/// Writes rows in columns: the first `left` of them to the left, the others to the right.
pub fn aligned(rows: &[Vec<String>], left: usize, out: &mut String) {
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
            match c < left {
                true => text.push_str(&format!("  {cell}{pad}")),
                false => text.push_str(&format!("  {pad}{cell}")),
            }
        }
        line(out, format_args!("{}", text.trim_end()));
    }
}

fn footer(results: &Results, out: &mut String) {
    line(
        out,
        format_args!(
            "±: half the distance between the quartiles. {}: how many times better that one is than the peer of the line;",
            (0..ours(results).count())
                .map(letter)
                .collect::<Vec<_>>()
                .join(", ")
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
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1], "  layers  peer             median      a",
            "{text}"
        );
        assert_eq!(
            lines[2], "  8       rival       1.01k/s ±0%  2.00x",
            "{text}"
        );
        assert_eq!(lines[3], "          vellum (a)  2.02k/s ±0%", "{text}");
    }

    /// With the peers of a whole run. Times of single calls come last: a narrow terminal cuts them.
    #[test]
    fn it_is_not_wide() {
        let mut r = results();
        for name in [
            "vellum-io-uring",
            "vellum-image-io-uring",
            "vellum-passthrough",
        ] {
            let column = Column {
                name: name.into(),
                ours: true,
                ..r.peers[1].clone()
            };
            r.peers.push(column);
            let at = (0, 8, r.peers.len() - 1);
            r.cell(at).samples = taken([2020.0; 3]);
            r.cell(at).samples[0].latency = Some(Latency(vec![1.23e-5; 12]));
        }
        let text = render(&r);
        let wide = text.lines().find(|l| l.contains("us, ")).unwrap();
        assert!(wide.chars().count() <= 110, "{text}");
    }

    #[test]
    fn a_difference_within_the_spread_is_called_that() {
        let mut r = results();
        r.cell((0, 8, 1)).samples = taken([1000.0, 1015.0, 1030.0]);
        assert!(render(&r).contains("~1.00x"));
    }

    #[test]
    fn percentiles_stand_beside_the_rates() {
        let mut r = results();
        let mut times = vec![5e-7; 12];
        (times[9], times[11]) = (2e-6, 0.003);
        r.cell((0, 8, 1)).samples[0].latency = Some(Latency(times));
        let text = render(&r);
        let line = text.lines().find(|l| l.contains("vellum (a)")).unwrap();
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
