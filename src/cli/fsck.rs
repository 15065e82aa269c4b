//! `vellum fsck`.

use super::store::{StoreArgs, finish};
use super::{human, progress};
use crate::image::fsck::{Fault, Report, check, repair};
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;

/// Check the image store, and mend it
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum fsck
  vellum fsck --repair

Every blob is compared with its digest, and each layer is unpacked again and compared with what
the store has of it. One line a fault: what, where, why, and the images that it concerns. Exit
code 1 if a fault is left.

--repair makes unpacked layers, large files and indexes again from blobs that are whole. A blob
that is damaged cannot be mended: it is removed, so that loading its image brings it again. It
waits until no other process works with the store. A mount shows what was mended when it is
mounted again.")]
pub struct Fsck {
    #[command(flatten)]
    store: StoreArgs,

    /// Mend what can be mended
    #[arg(long)]
    repair: bool,

    /// Print no progress, and nothing if there is no fault
    #[arg(short, long)]
    quiet: bool,
}

impl Fsck {
    /// Checks.
    pub fn run(self) -> ExitCode {
        finish("fsck", self.check())
    }

    fn check(&self) -> Result<ExitCode> {
        let progress = progress::bars(self.quiet);
        let store = self.store.open()?;
        let report = match self.repair {
            false => check(&store, progress.as_ref())?,
            true => {
                // it said well what is missing
                drop(store);
                let Some(store) = self.store.exclusive(true)? else {
                    return Ok(ExitCode::FAILURE);
                };
                repair(&store, progress.as_ref())?
            }
        };
        let printed = super::print(&self.told(&report));
        match report.left() {
            0 => Ok(printed),
            _ => Ok(ExitCode::FAILURE),
        }
    }

    fn told(&self, report: &Report) -> String {
        let line = |fault: &Fault| human::plain(&fault.to_string()) + "\n";
        let mut out: String = report.faults.iter().map(line).collect();
        if self.quiet {
            return out;
        }
        if let Some(unused) = report.unused.as_ref().filter(|u| u.bytes > 0) {
            let size = human::size(unused.bytes);
            out.push_str(&format!("Not used: {size}; 'vellum prune' removes it\n"));
        }
        let (found, left) = (report.faults.len(), report.left());
        out.push_str(&format!(
            "Checked: {}, {}; faults: {found}, mended: {}\n",
            human::count(report.images, "image"),
            human::count(report.layers, "layer"),
            found - left
        ));
        out
    }
}
