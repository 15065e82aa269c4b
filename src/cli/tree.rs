//! `vellum tree`.

use super::human;
use super::store::{StoreArgs, complain, finish};
use crate::image::digest::Digest;
use crate::image::history::history;
use crate::image::reference::Reference;
use crate::image::store::{Image, Store};
use crate::vfs::Result;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Show which images share which layers
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum tree
  vellum tree debian:12
  vellum tree --format json

For each image its layers, the lowest first: diff ID, size, the command that made it, and the
other images that have the same one.")]
pub struct Tree {
    #[command(flatten)]
    store: StoreArgs,

    /// Print commands and digests in full
    #[arg(long)]
    no_trunc: bool,

    /// Form of the answer; json is one object a line for each image
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Form,

    /// Only this image, by name or ID
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Table,
    Json,
}

/// Longest command shown, if it is not to be shown in full.
const SHOWN: usize = 45;

/// A layer of an image.
struct Layer {
    diff_id: Digest,
    size: u64,
    created_by: String,
    /// What the other images that have it are called.
    shared_with: Vec<String>,
}

/// Which images have a layer: their manifests, and what they are called.
type Sharers = BTreeMap<Digest, Vec<(Digest, String)>>;

impl Tree {
    /// Shows it.
    pub fn run(self) -> ExitCode {
        finish("tree", self.show())
    }

    fn show(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let mut code = ExitCode::SUCCESS;
        let mut images = Vec::new();
        for (entry, image) in store.images()? {
            match image {
                Ok(image) => images.push(image),
                Err(e) => {
                    complain(
                        "tree",
                        &e.context(entry.label().unwrap_or("image without a name")),
                    );
                    code = ExitCode::FAILURE;
                }
            }
        }
        images.sort_by_key(called);
        let mut sharers = Sharers::new();
        for image in &images {
            for id in &image.diff_ids {
                let all = sharers.entry(*id).or_default();
                // an image may have one layer twice
                if all.last().is_none_or(|(last, _)| *last != image.digest) {
                    all.push((image.digest, called(image)));
                }
            }
        }
        if let Some(text) = &self.image {
            images = vec![store.resolve(text)?];
        }
        let mut out = String::new();
        for image in &images {
            let layers = layers(&store, image, &sharers)?;
            match self.format {
                Form::Json => out.push_str(&format!("{}\n", as_json(image, &layers))),
                Form::Table => out.push_str(&self.table(image, &layers)),
            }
        }
        let printed = super::print(&out);
        Ok(if code == ExitCode::SUCCESS {
            printed
        } else {
            code
        })
    }

    fn table(&self, image: &Image, layers: &[Layer]) -> String {
        let id = |id: Digest| match self.no_trunc {
            true => id.to_string(),
            false => id.short(),
        };
        let total = layers.iter().map(|l| l.size).sum();
        let mut out = format!(
            "{} ({}, {})\n",
            called(image),
            id(image.id),
            human::size(total)
        );
        let rows: Vec<Vec<String>> = layers
            .iter()
            .map(|layer| {
                let shared = match layer.shared_with.is_empty() {
                    true => String::new(),
                    false => format!("also in {}", layer.shared_with.join(", ")),
                };
                vec![
                    format!("  {}", id(layer.diff_id)),
                    human::size(layer.size),
                    self.command(&layer.created_by),
                    shared,
                ]
            })
            .collect();
        out.push_str(&human::table(&rows));
        out
    }

    /// A command on one line, without what could steer a terminal.
    fn command(&self, text: &str) -> String {
        let line = human::plain(text);
        if self.no_trunc || line.chars().count() <= SHOWN {
            return line;
        }
        line.chars().take(SHOWN - 1).chain(['…']).collect()
    }
}

/// The layers of an image, lowest first.
fn layers(store: &Store, image: &Image, sharers: &Sharers) -> Result<Vec<Layer>> {
    let mut steps = history(store, image)?;
    steps.reverse();
    let made = steps.into_iter().filter_map(|step| {
        let diff_id = step.layer?;
        let others = sharers.get(&diff_id).into_iter().flatten();
        let others = others.filter(|(manifest, _)| *manifest != image.digest);
        Some(Layer {
            diff_id,
            size: step.size,
            created_by: step.created_by,
            shared_with: others.map(|(_, name)| name.clone()).collect(),
        })
    });
    Ok(made.collect())
}

/// What people know an image by: its names, or its ID.
fn called(image: &Image) -> String {
    match image.names.is_empty() {
        true => image.id.short(),
        false => names(image).join(", "),
    }
}

fn names(image: &Image) -> Vec<String> {
    image.names.iter().map(Reference::familiar).collect()
}

fn as_json(image: &Image, layers: &[Layer]) -> Value {
    let layer = |layer: &Layer| {
        json!({
            "DiffID": layer.diff_id, "Size": layer.size, "CreatedBy": layer.created_by,
            "SharedWith": layer.shared_with,
        })
    };
    json!({
        "ID": image.id, "Digest": image.digest, "Names": names(image),
        "Layers": layers.iter().map(layer).collect::<Vec<_>>(),
    })
}
