//! `vellum diff`.

use super::container::with_mount;
use super::store::{StoreArgs, finish};
use crate::image::changes::changes;
use crate::image::commit::Indexed;
use crate::image::entry::show;
use crate::image::prepare::room;
use crate::image::spill::Pages;
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;

/// Show what a container has changed of its image
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum diff web

A line a path: A for what was added, C for what was changed, D for what was deleted. The cost is that of the
changes, however large the image is.")]
pub struct Diff {
    #[command(flatten)]
    store: StoreArgs,

    /// Name of a container
    #[arg(value_name = "NAME")]
    name: String,
}

impl Diff {
    /// Shows it.
    pub fn run(self) -> ExitCode {
        finish("diff", self.diff())
    }

    fn diff(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let container = store.container(&self.name)?;
        let image = store.image(&container.record.manifest)?;
        let index = Indexed::open(&store, &image)?;
        let mut lines = String::new();
        with_mount(&store, &container, &image, |upper, mount| {
            let pages = Pages::new(room(&store));
            changes(upper, mount, &index, &pages, &mut |change| {
                lines.push_str(&format!("{} {}\n", change.how.letter(), show(change.path)));
                Ok(())
            })
        })?;
        Ok(super::print(&lines))
    }
}
