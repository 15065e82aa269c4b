//! `vellum df`.

use super::human::{self, Form};
use super::store::{StoreArgs, finish};
use crate::vfs::Result;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// Show what the image store occupies on disk
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum df
  vellum df --format json

Reclaimable is what 'vellum prune' would remove, which leaves volumes alone.")]
pub struct Df {
    #[command(flatten)]
    store: StoreArgs,

    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Form,
}

impl Df {
    /// Shows it.
    pub fn run(self) -> ExitCode {
        finish("df", self.show())
    }

    fn show(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let usage = store.usage()?;
        let reclaimable = store.garbage(false)?.bytes;
        let images = store.images()?.len();
        let rows = [
            ("Blobs", store.blobs()?.len(), usage.blobs),
            ("Unpacked layers", store.layers()?.len(), usage.layers),
            ("Objects", store.objects()?.len(), usage.objects),
            ("Indexes", store.indexes()?.len(), usage.indexes),
            ("Local volumes", store.volumes()?.len(), usage.volumes),
        ];
        let total: u64 = rows.iter().map(|r| r.2).sum::<u64>() + usage.uppers + usage.tmp;
        if let Form::Json = self.format {
            let all = json!({
                "Images": images, "Blobs": usage.blobs, "Layers": usage.layers,
                "Objects": usage.objects, "Indexes": usage.indexes, "Uppers": usage.uppers,
                "Volumes": usage.volumes,
                "Tmp": usage.tmp, "Total": total, "Reclaimable": reclaimable,
            });
            return Ok(super::print(&format!("{all:#}\n")));
        }
        let mut table = vec![["TYPE", "TOTAL", "SIZE"].map(str::to_owned).to_vec()];
        table.push(vec!["Images".into(), images.to_string(), String::new()]);
        for (what, count, bytes) in rows {
            table.push(vec![what.into(), count.to_string(), human::size(bytes)]);
        }
        for (what, bytes) in [
            ("Writable layers", usage.uppers),
            ("Being made", usage.tmp),
            ("All", total),
            ("Reclaimable", reclaimable),
        ] {
            table.push(vec![what.into(), String::new(), human::size(bytes)]);
        }
        Ok(super::print(&human::table(&table)))
    }
}
