//! `vellum tag`.

use super::store::{StoreArgs, finish};
use crate::image::reference::Reference;
use crate::vfs::{Error, Result};
use clap::Args;
use nix::errno::Errno;
use std::process::ExitCode;

/// Give an image more names
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum tag debian:12 mine/base:1 mine/base:latest
  vellum tag 4eaf0b6ad8b2 debian:old")]
pub struct Tag {
    #[command(flatten)]
    store: StoreArgs,

    /// Name or ID of an image
    #[arg(value_name = "IMAGE")]
    image: String,

    /// New names; an image that has one of them loses it
    #[arg(value_name = "NAME[:TAG]", required = true)]
    names: Vec<String>,
}

impl Tag {
    /// Tags.
    pub fn run(self) -> ExitCode {
        let names: Result<Vec<Reference>> = self.names.iter().map(|n| name(n)).collect();
        match names {
            Ok(names) => finish("tag", self.tag(&names)),
            Err(e) => super::usage_error("tag", e.reason()),
        }
    }

    fn tag(&self, names: &[Reference]) -> Result<ExitCode> {
        let store = self.store.open()?;
        let image = store.resolve(&self.image)?;
        for name in names {
            store.tag(name, &image.manifest)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A name to give an image.
pub fn name(text: &str) -> Result<Reference> {
    let name: Reference = text.parse()?;
    match name.digest() {
        None => Ok(name),
        Some(_) => Err(Error::because(
            Errno::EINVAL,
            format!("image name {text:?}: a digest cannot be given, it is the content's"),
        )),
    }
}
