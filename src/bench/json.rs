//! `results.json`: everything that a later run needs to be compared with this one.

use super::Options;
use super::machine::Machine;
use super::results::{Cell, Results};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Version of the format; it grows when a reader of the old one would misread the new.
pub const FORMAT: u32 = 1;

/// Renders everything.
pub fn render(results: &Results, options: &Options, machine: &Machine) -> Value {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    json!({
        "format": FORMAT,
        "vellum": env!("CARGO_PKG_VERSION"),
        "time": now,
        "machine": {
            "kernel": machine.kernel,
            "cpu": machine.cpu,
            "cpus": machine.cpus,
            "memory": machine.memory,
            "file_system": machine.file_system,
            "load": machine.load,
        },
        "options": {
            "layers": options.layers,
            "files": options.files,
            "tree": options.tree.as_ref().map(ToString::to_string),
            "rounds": options.rounds,
            "seed": options.seed,
            "large": options.large,
            "nodes": options.nodes,
            "ops": options.ops,
        },
        "peers": results.peers.iter().map(|p| json!({
            "name": p.name, "command": p.command, "version": p.version, "ours": p.ours,
        })).collect::<Vec<_>>(),
        "stacks": results.stacks,
        "results": results.cells.iter().map(|((metric, depth, peer), cell)| {
            let m = &results.metrics[*metric];
            cell_json(m.name, m.unit.name(), *depth, &results.peers[*peer].name, cell)
        }).collect::<Vec<_>>(),
        "left_out": results.left_out,
        "broken_layers": results.broken_layers,
        "interrupted": results.interrupted,
    })
}

fn cell_json(metric: &str, unit: &str, layers: usize, peer: &str, cell: &Cell) -> Value {
    let summary = cell
        .summary()
        .map(|s| json!({"n": s.n, "median": s.median, "q1": s.q1, "q3": s.q3, "mad": s.mad}));
    json!({
        "metric": metric,
        "unit": unit,
        "layers": layers,
        "peer": peer,
        "samples": cell.samples.iter().map(|(r, v)| json!({"round": r, "value": v})).collect::<Vec<_>>(),
        "summary": summary,
        "failures": cell.failures,
        "skipped": cell.skipped,
    })
}
