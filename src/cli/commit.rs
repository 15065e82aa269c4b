//! `vellum commit`.

use super::container::with_mount;
use super::store::{StoreArgs, finish};
use crate::image::commit::{Said, commit};
use crate::image::reference::Reference;
use crate::vfs::Result;
use clap::Args;
use std::process::ExitCode;

/// Make an image of a container and its changes
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum commit web mine/web:2
  vellum commit -a 'A. Uthor <a@example.org>' -m 'the new front page' web mine/web:3 mine/web:latest

The layer is made of the changes alone, so its cost is theirs, however large the image is. A container that is
mounted can be committed; what is being written meanwhile may be in the image or not.")]
pub struct Commit {
    #[command(flatten)]
    store: StoreArgs,

    /// Who made it
    #[arg(short, long, value_name = "AUTHOR")]
    author: Option<String>,

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
        match names {
            Ok(names) => finish("commit", self.commit(&names)),
            Err(e) => super::usage_error("commit", e.reason()),
        }
    }

    fn commit(&self, names: &[Reference]) -> Result<ExitCode> {
        let store = self.store.open()?;
        let container = store.container(&self.name)?;
        let image = store.image(&container.record.manifest)?;
        let said = Said {
            created_by: format!("vellum commit {}", self.name),
            author: self.author.clone(),
            comment: self.message.clone(),
        };
        let made = with_mount(&store, &container, &image, |upper, mount| {
            commit(&store, &image, (upper, mount), &said, names)
        })?;
        Ok(super::print(&format!("{}\n", made.id)))
    }
}
