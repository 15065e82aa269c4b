//! `vellum inspect`.

use super::store::{StoreArgs, complain, finish};
use crate::image::reference::Reference;
use crate::image::store::{Image, Store};
use crate::vfs::{Error, Result};
use clap::Args;
use nix::errno::Errno;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Show all that is known of an image, as JSON
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum inspect debian:12
  vellum inspect debian:12 | jq '.[0].Config.Cmd'
  vellum inspect --oci debian:12     # manifest and configuration as they are")]
pub struct Inspect {
    #[command(flatten)]
    store: StoreArgs,

    /// Print the OCI manifest and configuration instead of docker's form
    #[arg(long)]
    oci: bool,

    /// Names or IDs
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Inspect {
    /// Shows all; those that are not there do not keep the others back.
    pub fn run(self) -> ExitCode {
        finish("inspect", self.show())
    }

    fn show(&self) -> Result<ExitCode> {
        let store = self.store.open()?;
        let mut code = ExitCode::SUCCESS;
        let mut all = Vec::new();
        for text in &self.images {
            match store.resolve(text).and_then(|i| self.one(&store, &i)) {
                Ok(value) => all.push(value),
                Err(e) => {
                    complain("inspect", &e);
                    code = ExitCode::FAILURE;
                }
            }
        }
        let printed = super::print(&format!("{:#}\n", Value::Array(all)));
        Ok(if code == ExitCode::SUCCESS {
            printed
        } else {
            code
        })
    }

    fn one(&self, store: &Store, image: &Image) -> Result<Value> {
        let config = json_of(store, image.parts.config())?;
        if self.oci {
            let manifest = json_of(store, &image.manifest)?;
            return Ok(json!({
                "descriptor": image.manifest, "manifest": manifest, "config": config,
            }));
        }
        docker(store, image, &config)
    }
}

fn json_of(store: &Store, descriptor: &crate::image::oci::Descriptor) -> Result<Value> {
    let bytes = store.document(descriptor)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::because(Errno::EBADMSG, e))
}

/// Docker's form, from the configuration as it is: it knows fields that OCI does not.
fn docker(store: &Store, image: &Image, config: &Value) -> Result<Value> {
    let tags: Vec<String> = image.names.iter().map(Reference::familiar).collect();
    let mut digests: Vec<String> = image
        .names
        .iter()
        .map(|n| n.at(image.digest).familiar())
        .collect();
    digests.dedup();
    let text = |key: &str| config[key].as_str().unwrap_or_default();
    let mut out = json!({
        "Id": image.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Comment": text("comment"),
        "Created": config["created"],
        "Author": text("author"),
        "Architecture": config["architecture"],
        "Os": config["os"],
        "Size": image.size(store)?,
        "Config": config["config"],
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Descriptor": image.manifest,
    });
    if let Some(variant) = config["variant"].as_str() {
        out["Variant"] = variant.into();
    }
    Ok(out)
}
