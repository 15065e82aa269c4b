//! `vellum rmi`.

use super::store::{StoreArgs, complain, finish};
use crate::image::oci::digest_of;
use crate::image::reference::Reference;
use crate::image::store::{Entry, Image, Store};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use clap::Args;
use nix::errno::Errno;
use std::process::ExitCode;

/// Remove images
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum rmi debian:12
  vellum rmi -f 4eaf0b6ad8b2

A name is taken away; with its last name, an image goes. One that is mounted, or that a container
is over, keeps its last name, and cannot be removed by its ID, not even by -f. What other images
use stays. If another process is using the store, its space is freed by a later 'vellum prune'.")]
pub struct Rmi {
    #[command(flatten)]
    store: StoreArgs,

    /// Remove an image by its ID with all its names; do not fail for one that is not there
    #[arg(short, long)]
    force: bool,

    /// Names or IDs
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Rmi {
    /// Removes all; a failure does not stop at the first.
    pub fn run(self) -> ExitCode {
        finish("rmi", self.remove())
    }

    fn remove(&self) -> Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        let mut out = String::new();
        let store = self.store.open()?;
        for text in &self.images {
            match self.one(&store, text) {
                Ok(lines) => out.push_str(&lines),
                Err(e) if self.force && e.is(Errno::ENOENT) => {}
                Err(e) => {
                    complain("rmi", &e);
                    code = ExitCode::FAILURE;
                }
            }
        }
        drop(store);
        if !out.is_empty() {
            out.push_str(&self.free()?);
        }
        let printed = super::print(&out);
        Ok(if code == ExitCode::SUCCESS {
            printed
        } else {
            code
        })
    }

    /// By name: that name. By ID: the only name, or by force all of them.
    fn one(&self, store: &Store, text: &str) -> Result<String> {
        let name = text.parse::<Reference>().ok().map(Reference::tagged);
        let entries = store.entries()?;
        let is = |entry: &&Entry| name.is_some() && entry.name() == name;
        if let Some(name) = &name
            && let Some(entry) = entries.iter().find(is)
        {
            if !has_other_name(&entries, entry) {
                not_in_use(store, entry).context(|| name.familiar())?;
            }
            store.untag(name)?;
            return Ok(format!("Untagged: {}\n", name.familiar()));
        }
        let image = store.resolve(text)?;
        let meant = listed(store, &image, name.as_ref())?;
        let mut names: Vec<&Reference> = meant.iter().flat_map(|(_, i)| &i.names).collect();
        names.sort();
        names.dedup();
        if names.len() > 1 && !self.force {
            let names: Vec<String> = names.into_iter().map(Reference::familiar).collect();
            return Err(Error::because(
                Errno::EBUSY,
                format!(
                    "image {text} has several names ({}); use -f",
                    names.join(", ")
                ),
            ));
        }
        for (_, image) in &meant {
            store
                .check_unused(image.digest)
                .context(|| text.to_owned())?;
        }
        for (entry, _) in &meant {
            store.forget(digest_of(&entry.manifest)?)?;
        }
        let untagged = |name: &Reference| format!("Untagged: {}\n", name.familiar());
        let mut lines: String = names.into_iter().map(untagged).collect();
        lines.push_str(&format!("Deleted: {}\n", image.id));
        Ok(lines)
    }

    /// Frees what is not reached any more, if nobody is at work.
    fn free(&self) -> Result<String> {
        let Some(store) = self.store.exclusive(false)? else {
            return Ok(String::new());
        };
        let garbage = store.collect(true)?;
        let line = |id: &_| format!("Deleted: {id}\n");
        Ok(garbage.layers.iter().map(line).collect())
    }
}

/// The entries of an image: those that lead to it, be it by an index of manifests. Of one that was named
/// by a digest, that with the digest.
fn listed(store: &Store, image: &Image, name: Option<&Reference>) -> Result<Vec<(Entry, Image)>> {
    let digest = name.and_then(Reference::digest);
    let mut meant = Vec::new();
    for (entry, found) in store.images()? {
        // what cannot be read has no ID
        let Ok(found) = found else { continue };
        let is = match digest {
            Some(digest) => digest_of(&entry.manifest) == Ok(digest),
            None => found.id == image.id,
        };
        if is {
            meant.push((entry, found));
        }
    }
    Ok(meant)
}

/// True if the image of an entry has another name.
fn has_other_name(entries: &[Entry], entry: &Entry) -> bool {
    entries.iter().any(|other| {
        let label = other.label();
        label.is_some()
            && label != entry.label()
            && other.manifest.digest() == entry.manifest.digest()
    })
}

/// Refuses if something uses the image of an entry, whether it can be read or not.
fn not_in_use(store: &Store, entry: &Entry) -> Result<()> {
    match store.image(&entry.manifest) {
        Ok(image) => store.check_unused(image.digest),
        Err(_) => store.check_unused(digest_of(&entry.manifest)?),
    }
}
