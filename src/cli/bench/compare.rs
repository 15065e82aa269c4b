//! `vellum bench compare`.

use crate::bench::compare::{Options, compare};
use crate::bench::document::Document;
use crate::bench::{Failure, Result};
use clap::{Args, ValueEnum, ValueHint};
use std::path::PathBuf;
use std::process::ExitCode;

/// Say what moved between two runs beyond the noise
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum bench compare before after

  # the machine was not as fast: compare ratios to a peer of the same rounds
  vellum bench compare --relative plain before after

A row has moved when the test of Mann and Whitney gives so large a difference a smaller probability than
--alpha. That takes five rounds in each run; how many rows would look moved by chance alone is said.

Exit code 1: something of Vellum's is worse, or fails now.")]
pub struct Compare {
    /// Compare ratios to this peer, not times and rates
    #[arg(long, value_name = "PEER")]
    relative: Option<String>,

    /// Probability of chance below which a row has moved
    #[arg(long, value_name = "P", default_value_t = 0.01)]
    alpha: f64,

    /// How to show it
    #[arg(long, value_name = "FORM", default_value = "text")]
    format: Form,

    /// results.json of the first run, or its directory
    #[arg(value_name = "A", value_hint = ValueHint::AnyPath)]
    before: PathBuf,

    /// The same of the second run
    #[arg(value_name = "B", value_hint = ValueHint::AnyPath)]
    after: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// What moved, in columns
    Text,
    /// Every row, for programs
    Json,
}

impl Compare {
    /// Compares.
    pub fn run(self) -> Result<ExitCode> {
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            let why = format!(
                "--alpha {}: a number between 0 and 1 is expected",
                self.alpha
            );
            return Err(Failure::new(why));
        }
        let options = Options {
            alpha: self.alpha,
            relative: self.relative,
        };
        let (before, after) = (Document::read(&self.before)?, Document::read(&self.after)?);
        let found = compare(&before, &after, &options)?;
        let text = match self.format {
            Form::Text => found.render(),
            Form::Json => serde_json::to_string_pretty(&found).map_err(Failure::new)? + "\n",
        };
        let printed = crate::cli::print(&text);
        Ok(match found.is_worse() {
            true => ExitCode::FAILURE,
            false => printed,
        })
    }
}
