//! `vellum prune`.

use super::human;
use super::store::{StoreArgs, finish};
use crate::image::store::Garbage;
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;

/// Remove images without a name, and all that no image needs
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum prune --dry-run
  vellum prune

Waits until no other process works with the store. What is mounted stays, and what a container is over.")]
pub struct Prune {
    #[command(flatten)]
    store: StoreArgs,

    /// Only say what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Prune {
    /// Removes.
    pub fn run(self) -> ExitCode {
        finish("prune", self.prune())
    }

    fn prune(&self) -> Result<ExitCode> {
        if self.dry_run {
            let garbage = self.store.open()?.garbage(false)?;
            return Ok(super::print(&told(&garbage, "Would reclaim")));
        }
        // says well what is missing
        drop(self.store.open()?);
        let Some(store) = self.store.exclusive(true)? else {
            return Ok(ExitCode::SUCCESS);
        };
        let garbage = store.collect(false)?;
        Ok(super::print(&told(&garbage, "Total reclaimed space")))
    }
}

fn told(garbage: &Garbage, total: &str) -> String {
    let mut out = String::new();
    for (what, digests) in [
        ("image", &garbage.nameless),
        ("index", &garbage.indexes),
        ("layer", &garbage.layers),
        ("object", &garbage.objects),
        ("blob", &garbage.blobs),
    ] {
        for digest in digests {
            out.push_str(&format!("{what} {digest}\n"));
        }
    }
    out.push_str(&format!("{total}: {}\n", human::size(garbage.bytes)));
    out
}
