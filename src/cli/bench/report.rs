//! `vellum bench report`.

use crate::bench::document::Document;
use crate::bench::{Failure, Result, report};
use clap::{Args, ValueHint};
use std::path::PathBuf;
use std::process::ExitCode;

/// Make report.html and its plots of the results of a run
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum bench report results

'vellum bench --out DIR' writes them as well: this is for results that came from elsewhere.")]
pub struct Report {
    /// Directory with results.json
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    dir: PathBuf,
}

impl Report {
    /// Makes it.
    pub fn run(self) -> Result<ExitCode> {
        if !self.dir.is_dir() {
            let why = format!("{}: a directory is expected", self.dir.display());
            return Err(Failure::new(why));
        }
        report::write(&Document::read(&self.dir)?, &self.dir)?;
        let file = self.dir.join(report::NAME);
        Ok(crate::cli::print(&format!("{}\n", file.display())))
    }
}
