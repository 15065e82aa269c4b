//! How far a load is: bars on a terminal, a line for each layer elsewhere.

use crate::image::digest::Digest;
use crate::image::load::{Outcome, Progress, Silent};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::IsTerminal;

/// What suits standard error.
pub fn for_stderr(quiet: bool) -> Box<dyn Progress> {
    match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(Bars::default()),
        (false, false) => Box::new(Lines),
    }
}

/// Bars on a terminal, and nothing elsewhere.
pub fn bars(quiet: bool) -> Box<dyn Progress> {
    match quiet || !std::io::stderr().is_terminal() {
        true => Box::new(Silent),
        false => Box::new(Bars::default()),
    }
}

#[derive(Default)]
struct Bars {
    all: MultiProgress,
    bars: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Progress for Bars {
    fn start(&self, diff_id: Digest, size: u64) {
        let bar = self.all.add(ProgressBar::new(size));
        let form = "{prefix}: [{bar:40}] {bytes}/{total_bytes} {bytes_per_sec}";
        // a form that is no good is a plain bar
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(diff_id.short());
        self.bars.lock().insert(diff_id, bar);
    }

    fn advance(&self, diff_id: Digest, bytes: u64) {
        if let Some(bar) = self.bars.lock().get(&diff_id) {
            bar.inc(bytes);
        }
    }

    fn done(&self, diff_id: Digest, outcome: Outcome) {
        if let Some(bar) = self.bars.lock().remove(&diff_id) {
            bar.finish();
        } else if outcome == Outcome::Present {
            // where it cannot be shown, nothing is lost
            self.all.println(line(diff_id, outcome)).ok();
        }
    }
}

struct Lines;

impl Progress for Lines {
    fn start(&self, _: Digest, _: u64) {}

    fn advance(&self, _: Digest, _: u64) {}

    fn done(&self, diff_id: Digest, outcome: Outcome) {
        eprintln!("{}", line(diff_id, outcome));
    }
}

fn line(diff_id: Digest, outcome: Outcome) -> String {
    let what = match outcome {
        Outcome::Present => "already there",
        Outcome::Loaded => "loaded",
        Outcome::Checked => "checked",
    };
    format!("layer {}: {what}", diff_id.short())
}
