//! `vellum mounts`.

use super::human::{self, Form};
use super::store::{StoreArgs, finish};
use crate::image::container::Container;
use crate::vfs::Result;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;

/// List containers: images with changes kept under a name
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum mounts
  vellum mounts --format json

A container is made by the first 'vellum mount' of an image, and goes by 'vellum rm'.")]
pub struct Mounts {
    #[command(flatten)]
    store: StoreArgs,

    /// Form of the list; json is one object a line
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Form,

    /// Print only the names
    #[arg(short, long)]
    quiet: bool,
}

impl Mounts {
    /// Lists.
    pub fn run(self) -> ExitCode {
        finish("mounts", self.list())
    }

    fn list(&self) -> Result<ExitCode> {
        let containers = self.store.open()?.containers()?;
        let mut text = String::new();
        if self.quiet {
            containers
                .iter()
                .for_each(|c| text.push_str(&format!("{}\n", c.name)));
            return Ok(super::print(&text));
        }
        let mut rows = vec![["NAME", "IMAGE", "CREATED", "MOUNTED ON"].map(str::to_owned)];
        for container in &containers {
            match self.format {
                Form::Json => text.push_str(&format!("{}\n", as_json(container)?)),
                Form::Table => rows.push(row(container)?),
            }
        }
        if self.format == Form::Table {
            let rows: Vec<Vec<String>> = rows.into_iter().map(Vec::from).collect();
            text = human::table(&rows);
        }
        Ok(super::print(&text))
    }
}

fn row(container: &Container) -> Result<[String; 4]> {
    let on = container.mounted_on()?;
    Ok([
        container.name.clone(),
        container.record.image.clone(),
        human::ago(Some(&container.record.created)),
        on.map_or_else(String::new, |at| at.display().to_string()),
    ])
}

fn as_json(container: &Container) -> Result<serde_json::Value> {
    Ok(json!({
        "Name": container.name,
        "Image": container.record.image,
        "ImageID": container.record.id,
        "Created": container.record.created,
        "MountedOn": container.mounted_on()?,
        "Upper": container.upper(),
    }))
}
