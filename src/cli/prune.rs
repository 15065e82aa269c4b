//! `vellum prune`.

use super::human;
use super::store::{StoreArgs, finish};
use super::volume::remove_unused;
use crate::image::store::{Garbage, Store};
use crate::image::volume::Volume;
use crate::run;
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;

/// Remove images without a name, and all that no image needs
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum prune --dry-run
  vellum prune
  vellum prune --volumes

Waits until no other process works with the store. What is mounted stays, and what a container is over. Volumes stay,
unless --volumes is given; those with a name stay even then, and 'vellum volume prune --all' removes them.")]
pub struct Prune {
    #[command(flatten)]
    store: StoreArgs,

    /// Only say what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Also anonymous volumes that no container uses
    #[arg(long)]
    volumes: bool,
}

impl Prune {
    /// Removes.
    pub fn run(self) -> ExitCode {
        finish("prune", self.prune())
    }

    fn prune(&self) -> Result<ExitCode> {
        if self.volumes {
            // what containers wrote without root belongs to users of their namespace
            run::enter_user_namespace()?;
        }
        if self.dry_run {
            let store = self.store.open()?;
            let garbage = store.garbage(false)?;
            let volumes = self.would_remove(&store)?;
            return Ok(super::print(&told(&garbage, &volumes, "Would reclaim")));
        }
        // says well what is missing
        drop(self.store.open()?);
        let Some(store) = self.store.exclusive(true)? else {
            return Ok(ExitCode::SUCCESS);
        };
        let garbage = store.collect(false)?;
        let volumes = match self.volumes {
            true => remove_unused(&store, &is_anonymous)?,
            false => (Vec::new(), 0),
        };
        let total = "Total reclaimed space";
        Ok(super::print(&told(&garbage, &volumes, total)))
    }

    fn would_remove(&self, store: &Store) -> Result<(Vec<String>, u64)> {
        if !self.volumes {
            return Ok((Vec::new(), 0));
        }
        let (_, found) = run::unused_volumes(store, &is_anonymous)?;
        let mut bytes = 0;
        for volume in &found {
            bytes += volume.disk_use()?;
        }
        Ok((found.into_iter().map(|v| v.name).collect(), bytes))
    }
}

fn is_anonymous(volume: &Volume) -> bool {
    volume.record.anonymous
}

fn told(garbage: &Garbage, volumes: &(Vec<String>, u64), total: &str) -> String {
    let mut out = String::new();
    let (names, of_volumes) = volumes;
    names
        .iter()
        .for_each(|name| out.push_str(&format!("volume {name}\n")));
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
    out.push_str(&format!(
        "{total}: {}\n",
        human::size(garbage.bytes + of_volumes)
    ));
    out
}
