//! `vellum commit`.

use super::container::with_mount;
use super::store::{StoreArgs, finish};
use crate::image::commit::{Said, commit};
use crate::image::instruction::{Instruction, parse_all};
use crate::image::reference::Reference;
use crate::vfs::Result;
use crate::vfs::error::Context;
use clap::Args;
use std::process::ExitCode;

/// Make an image of a container and its changes
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum commit web mine/web:2
  vellum commit -a 'A. Uthor <a@example.org>' -m 'the new front page' web mine/web:3 mine/web:latest
  vellum commit -c 'ENV MODE=live PATH=$PATH:/srv/bin' -c 'CMD [\"serve\"]' web mine/web:4

The layer is made of the changes alone, so its cost is theirs, however large the image is. A container that is
mounted can be committed; what is being written meanwhile may be in the image or not.

--change takes CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR, as docker does; and
HEALTHCHECK and ONBUILD, which an image of OCI's types has no room for: there they are ignored, with a warning.")]
pub struct Commit {
    #[command(flatten)]
    store: StoreArgs,

    /// Who made it
    #[arg(short, long, value_name = "AUTHOR")]
    author: Option<String>,

    /// Instruction of a Dockerfile to apply; may be given several times
    #[arg(short, long = "change", value_name = "INSTRUCTION")]
    changes: Vec<String>,

    /// What for
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,

    /// Name of a container
    #[arg(value_name = "NAME")]
    name: String,

    /// Names for the image; without one it has its ID only
    #[arg(value_name = "IMAGE[:TAG]")]
    images: Vec<String>,
}

impl Commit {
    /// Commits, and prints the ID of the new image.
    pub fn run(self) -> ExitCode {
        let names: Result<Vec<Reference>> =
            self.images.iter().map(|n| super::tag::name(n)).collect();
        match names.and_then(|names| Ok((names, instructions(&self.changes)?))) {
            Ok((names, changes)) => finish("commit", self.commit(&names, changes)),
            Err(e) => super::usage_error("commit", e.reason()),
        }
    }

    fn commit(&self, names: &[Reference], changes: Vec<Instruction>) -> Result<ExitCode> {
        let store = self.store.open()?;
        let container = store.container(&self.name)?;
        let image = store.image(&container.record.manifest)?;
        let said = Said {
            created_by: format!("vellum commit {}", self.name),
            author: self.author.clone(),
            comment: self.message.clone(),
            changes,
        };
        let made = with_mount(&store, &container, &image, |upper, mount| {
            commit(&store, &image, (upper, mount), &said, names)
        })?;
        Ok(super::print(&format!("{}\n", made.id)))
    }
}

/// What the options `--change` say.
pub fn instructions(changes: &[String]) -> Result<Vec<Instruction>> {
    let mut all = Vec::new();
    for text in changes {
        all.extend(parse_all(text).context(|| "--change")?);
    }
    Ok(all)
}
