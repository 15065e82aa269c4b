//! Two runs side by side: what moved beyond the noise.
//!
//! The samples of a row in one run and in the other are compared by the test of Mann and Whitney, which
//! asks nothing of how they are distributed. Of many rows some look different by chance alone; how many
//! is said.
//!
//! A machine is not as fast today as it was yesterday. So rows can be compared as ratios to a peer that
//! was measured in the same rounds: what moved for both did not move.

use super::document::{Document, Row};
use super::failure::{Failure, Result};
use super::ops::Unit;
use super::stats::{Better, Summary, chance};
use super::table::{aligned, number};
use serde::Serialize;

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows with a smaller probability of chance have moved.
    pub alpha: f64,
    /// The peer that others are taken as ratios to.
    pub relative: Option<String>,
}

/// What two runs say of one row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The metric.
    pub metric: String,
    /// The depth.
    pub layers: usize,
    /// The peer.
    pub peer: String,
    /// True for a peer of this project.
    pub ours: bool,
    /// What the first run found.
    pub before: Summary,
    /// What the second did.
    pub after: Summary,
    /// How many times better the second is: above 1 better, below 1 worse.
    pub times: f64,
    /// The probability of so large a difference by chance alone.
    pub chance: f64,
    /// What that is taken for.
    pub verdict: Verdict,
    /// What the numbers count; none for ratios.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// What a difference is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Beyond the noise, for the better.
    Better,
    /// Beyond the noise, for the worse.
    Worse,
    /// Within the noise.
    Same,
    /// So few samples that nothing could be told of any.
    Unknown,
}

/// The comparison of two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// What is different in the circumstances.
    pub circumstances: Vec<String>,
    /// Rows that one of them has only, or that failed in one.
    pub not_compared: Vec<String>,
    /// The others.
    pub rows: Vec<Change>,
    /// How many rows would look moved if nothing had.
    pub by_chance: f64,
    /// True if something of this project's fails that did not.
    pub fails_now: bool,
}

/// Compares.
pub fn compare(before: &Document, after: &Document, options: &Options) -> Result<Comparison> {
    if let Some(peer) = &options.relative {
        for (run, name) in [(before, "first"), (after, "second")] {
            if !run.peers.iter().any(|p| p.name == *peer) {
                return Err(Failure::new(format!("the {name} run has no peer {peer:?}")));
            }
        }
    }
    let mut comparison = Comparison {
        circumstances: circumstances(before, after),
        not_compared: Vec::new(),
        rows: Vec::new(),
        by_chance: 0.0,
        fails_now: false,
    };
    for row in &before.results {
        if options.relative.as_ref() == Some(&row.peer) {
            continue;
        }
        let label = format!("{} at {}, {}", row.metric, row.layers, row.peer);
        let Some(other) = after.row(&row.metric, row.layers, &row.peer) else {
            comparison
                .not_compared
                .push(format!("{label}: not in the second run"));
            continue;
        };
        match (row.failures.first(), other.failures.first()) {
            (None, None) => {}
            (was, is) => {
                let said = |f: Option<&String>| f.map_or("well", String::as_str).to_owned();
                let line = format!("{label}: before: {}; after: {}", said(was), said(is));
                comparison.not_compared.push(line);
                comparison.fails_now |= was.is_none() && is_ours(before, row);
                continue;
            }
        }
        let values = (values(before, row, options), values(after, other, options));
        if let Some(change) = change(before, row, values, options) {
            comparison.rows.push(change);
        }
    }
    for row in &after.results {
        if before.row(&row.metric, row.layers, &row.peer).is_none() {
            let label = format!("{} at {}, {}", row.metric, row.layers, row.peer);
            comparison
                .not_compared
                .push(format!("{label}: not in the first run"));
        }
    }
    let told = comparison
        .rows
        .iter()
        .filter(|r| r.verdict != Verdict::Unknown);
    comparison.by_chance = told.count() as f64 * options.alpha;
    Ok(comparison)
}

/// The samples; as ratios to a peer's of the same round, where that is wanted.
fn values(run: &Document, row: &Row, options: &Options) -> Vec<f64> {
    let Some(peer) = &options.relative else {
        return row.samples.iter().map(|s| s.value).collect();
    };
    let Some(base) = run.row(&row.metric, row.layers, peer) else {
        return Vec::new();
    };
    if !base.failures.is_empty() {
        return Vec::new();
    }
    let of = |round: usize| {
        base.samples
            .iter()
            .find(|s| s.round == round)
            .map(|s| s.value)
    };
    let ratio = |s: &super::results::Taken| of(s.round).map(|b| s.value / b);
    row.samples.iter().filter_map(ratio).collect()
}

fn change(
    run: &Document,
    row: &Row,
    (before, after): (Vec<f64>, Vec<f64>),
    options: &Options,
) -> Option<Change> {
    let (was, is) = (Summary::of(&before)?, Summary::of(&after)?);
    let better = row.unit.better();
    let times = is.against(&was, better).times;
    let found = chance(&before, &after);
    let up = match better {
        Better::Higher => is.median > was.median,
        Better::Lower => is.median < was.median,
    };
    let verdict = match found {
        _ if least(before.len(), after.len()) >= options.alpha => Verdict::Unknown,
        p if p >= options.alpha || is.median == was.median => Verdict::Same,
        _ if up => Verdict::Better,
        _ => Verdict::Worse,
    };
    Some(Change {
        metric: row.metric.clone(),
        layers: row.layers,
        peer: row.peer.clone(),
        ours: is_ours(run, row),
        before: was,
        after: is,
        times,
        chance: found,
        verdict,
        unit: options.relative.is_none().then_some(row.unit),
    })
}

fn is_ours(run: &Document, row: &Row) -> bool {
    run.peers.iter().any(|p| p.name == row.peer && p.ours)
}

/// The smallest probability that so many samples can give.
fn least(n: usize, m: usize) -> f64 {
    let low: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let high: Vec<f64> = (n..n + m).map(|i| i as f64).collect();
    chance(&low, &high)
}

fn circumstances(a: &Document, b: &Document) -> Vec<String> {
    let mut out = Vec::new();
    let mut say = |what: &str, was: String, is: String| {
        if was != is {
            out.push(format!("{what}: {was} before, {is} after"));
        }
    };
    say("kernel", a.machine.kernel.clone(), b.machine.kernel.clone());
    say("processor", a.machine.cpu.clone(), b.machine.cpu.clone());
    say(
        "processors",
        a.machine.cpus.to_string(),
        b.machine.cpus.to_string(),
    );
    say(
        "memory",
        a.machine.memory.to_string(),
        b.machine.memory.to_string(),
    );
    say(
        "file system",
        a.machine.file_system.clone(),
        b.machine.file_system.clone(),
    );
    say("vellum", a.vellum.clone(), b.vellum.clone());
    let options = [&a.options, &b.options].map(|o| {
        let mut same = o.clone();
        (same.layers, same.ops, same.rounds) = Default::default(); // rows tell of those
        format!("{same:?}")
    });
    let [was, is] = options;
    say("options", was, is);
    for peer in &a.peers {
        if let Some(other) = b.peers.iter().find(|p| p.name == peer.name) {
            say(&peer.name, peer.version.clone(), other.version.clone());
            say(&peer.name, peer.command.clone(), other.command.clone());
        }
    }
    out
}

impl Comparison {
    /// True if something of this project's became worse, or fails now.
    pub fn is_worse(&self) -> bool {
        let worse = |r: &Change| r.ours && r.verdict == Verdict::Worse;
        self.fails_now || self.rows.iter().any(worse)
    }

    /// As text: what moved, the largest changes first, and how much did not.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for (title, verdict) in [("Worse", Verdict::Worse), ("Better", Verdict::Better)] {
            let mut moved: Vec<&Change> =
                self.rows.iter().filter(|r| r.verdict == verdict).collect();
            moved.sort_by(|a, b| b.times.ln().abs().total_cmp(&a.times.ln().abs()));
            if moved.is_empty() {
                continue;
            }
            let mut rows = vec![
                ["", "layers", "peer", "before", "after", "times", "p"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(moved.iter().map(|c| c.cells()));
            out.push_str(&format!("{title}:\n"));
            aligned(&rows, 1, &mut out);
            out.push('\n');
        }
        let count = |v| self.rows.iter().filter(|r| r.verdict == v).count();
        let moved = count(Verdict::Worse) + count(Verdict::Better);
        out.push_str(&format!(
            "{moved} of {} rows moved beyond the noise; {} would by chance alone. {} are within it.\n",
            self.rows.len() - count(Verdict::Unknown),
            match self.by_chance {
                n if n < 0.1 => "hardly one".to_owned(),
                n => format!("about {n:.1}"),
            },
            count(Verdict::Same)
        ));
        if count(Verdict::Unknown) > 0 {
            out.push_str(&format!(
                "{} rows have so few samples that nothing can be told; measure more rounds.\n",
                count(Verdict::Unknown)
            ));
        }
        for what in &self.circumstances {
            out.push_str(&format!("different: {what}\n"));
        }
        for what in &self.not_compared {
            out.push_str(&format!("not compared: {what}\n"));
        }
        out
    }
}

impl Change {
    fn cells(&self) -> Vec<String> {
        let show = |s: &Summary| match self.unit {
            Some(unit) => format!("{} ±{:.0}%", number(s.median, unit), s.spread_percent()),
            None => format!("{:.3} ±{:.0}%", s.median, s.spread_percent()),
        };
        vec![
            self.metric.clone(),
            self.layers.to_string(),
            self.peer.clone(),
            show(&self.before),
            show(&self.after),
            format!("{:.2}x", self.times),
            format!("{:.4}", self.chance),
        ]
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
