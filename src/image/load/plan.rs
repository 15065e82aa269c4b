//! What there is to do for a source, and what came of it.

use super::progress::{Outcome, Progress};
use super::{Found, FoundLayer};
use crate::image::digest::Digest;
use crate::image::oci::{Descriptor, ImageConfiguration, PlatformSpec, digest_of};
use crate::image::reference::Reference;
use crate::image::store::{LayerFacts, PendingBlob, Staging, Store};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::{BTreeSet, HashMap};

/// One layer to be read.
#[derive(Debug)]
pub(super) struct Job {
    pub layer: FoundLayer,
    /// Its blob is not in the store.
    pub want_blob: bool,
    /// It is not unpacked.
    pub want_layer: bool,
}

/// A layer that was believed.
#[derive(Debug)]
pub(super) struct Done {
    pub file: String,
    pub descriptor: Descriptor,
    pub blob: Option<PendingBlob>,
    pub unpacked: Option<(Digest, Staging, LayerFacts)>,
}

/// All layers of a source.
#[derive(Debug, Default)]
pub(super) struct Ready {
    done: Vec<Done>,
    descriptors: HashMap<String, Descriptor>,
}

impl Ready {
    pub fn new(done: Vec<Done>) -> Ready {
        let descriptors = done
            .iter()
            .map(|d| (d.file.clone(), d.descriptor.clone()))
            .collect();
        Ready { done, descriptors }
    }

    /// Makes them visible.
    pub fn publish(&mut self, store: &Store) -> Result<()> {
        for done in self.done.drain(..) {
            if let Some((diff_id, stage, facts)) = done.unpacked {
                store.publish_layer(diff_id, stage, &facts)?;
            }
            if let Some(blob) = done.blob {
                store.publish_blob(blob)?;
            }
        }
        Ok(())
    }

    /// The descriptors of these layers.
    pub fn descriptors(&self, layers: &[FoundLayer]) -> Result<Vec<Descriptor>> {
        let one = |layer: &FoundLayer| {
            let read = self
                .descriptors
                .get(&layer.file)
                .or(layer.expected.as_ref());
            read.cloned()
                .ok_or_else(|| invalid(format!("layer {}: it was not read", layer.file)))
        };
        layers.iter().map(one).collect()
    }
}

/// What is to be read: each layer once, and none that is there.
pub(super) fn jobs(store: &Store, found: &[Found], progress: &dyn Progress) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let (mut files, mut unpacked) = (BTreeSet::new(), BTreeSet::new());
    for layer in found.iter().flat_map(|image| &image.layers) {
        if !files.insert((layer.file.clone(), layer.diff_id)) {
            continue;
        }
        let blob = layer.expected.as_ref().map(digest_of).transpose()?;
        let want_blob = blob.is_none_or(|blob| !store.has_blob(blob));
        let want_layer = !store.has_layer(layer.diff_id) && unpacked.insert(layer.diff_id);
        if want_blob || want_layer {
            jobs.push(Job {
                layer: layer.clone(),
                want_blob,
                want_layer,
            });
        } else {
            progress.done(layer.diff_id, Outcome::Present);
        }
    }
    Ok(jobs)
}

/// Gives the only image another name.
pub(super) fn rename(found: &mut [Found], name: Option<&Reference>) -> Result<()> {
    match (found, name) {
        (_, None) => Ok(()),
        ([only], Some(name)) => {
            only.names = vec![name.clone().tagged()];
            Ok(())
        }
        (found, Some(name)) => Err(Error::because(
            Errno::EINVAL,
            format!(
                "{} images cannot all be called {}",
                found.len(),
                name.familiar()
            ),
        )),
    }
}

/// The image is for the platform that was asked for.
pub(super) fn same_platform(config: &ImageConfiguration, want: &PlatformSpec) -> Result<()> {
    let is = PlatformSpec::of_config(config);
    if want.runs(&is) {
        return Ok(());
    }
    Err(Error::because(
        Errno::ENOENT,
        format!("it is for {is}, and {want} is wanted"),
    ))
}

/// There are as many layers as diff IDs.
pub(super) fn same_count(layers: usize, diff_ids: usize) -> Result<()> {
    if layers == diff_ids {
        return Ok(());
    }
    Err(invalid(format!(
        "it has {layers} layers and {diff_ids} diff IDs"
    )))
}

/// The source is not what it should be.
pub(super) fn invalid(why: impl std::fmt::Display) -> Error {
    Error::because(Errno::EBADMSG, why)
}
