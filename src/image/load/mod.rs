//! Loading: images from a folder, a file or a stream into the store.
//!
//! A *source* is an OCI image layout, as a folder or in a tar, or what `docker save` writes. Which it
//! is, its content tells. Loading reads each layer once: what comes is stored as a blob and digested,
//! decompressed, digested again, and handed to an [`Unpack`].
//!
//! * A layer is believed when its blob has the size and the digest that its descriptor says, nothing
//!   stands after the compressed data, and the tar has the diff ID that the configuration says.
//! * Nothing of a source becomes visible before all its layers were believed. So a source with a
//!   fault leaves the store as it was.
//! * What decompresses to more than [`Limits`] allow is refused: a few kilobytes can become a
//!   full disk.

mod archive;
mod docker;
mod layer;
mod layout;
mod plan;
mod progress;
mod stream;

pub use archive::Input;
pub(super) use archive::plain;
pub use progress::{Outcome, Progress, Silent};
pub(super) use stream::Decoder;
pub use stream::Limits;

use crate::image::digest::Digest;
use crate::image::oci::{self, Descriptor, PlatformSpec};
use crate::image::reference::Reference;
use crate::image::spill::Digests;
use crate::image::store::Store;
use crate::vfs::Result;
use crate::vfs::error::Context;
use archive::Files;
use plan::Ready;
use std::io::Read;
use std::path::Path;

/// What makes of a layer's tar what a mount needs.
pub trait Unpack: Sync {
    /// Reads a whole tar, and writes what a mount needs into `stage`, an empty folder that becomes
    /// the layer's. The tar is not verified yet: should it turn out to be another one, what was
    /// written is thrown away. So objects that are not in the store yet are written to
    /// `stage/objects/`, named by their 64 digits. All objects that the layer refers to are given
    /// back.
    fn unpack(
        &self,
        store: &Store,
        layer_tar: &mut dyn Read,
        diff_id: Digest,
        stage: &Path,
    ) -> Result<Digests>;

    /// All layers of an image are there: makes what is made once for an image, and publishes it
    /// under the chain ID of these layers, lowest first.
    fn finish(&self, store: &Store, diff_ids: &[Digest]) -> Result<()>;
}

/// The one that commands use.
pub fn unpacker() -> Box<dyn Unpack> {
    Box::new(crate::image::prepare::Prepare)
}

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// The platform to take where there are several; without one it is this machine's. An image for
    /// another is then refused.
    pub platform: Option<PlatformSpec>,
    /// The name to give, if the source has one image.
    pub name: Option<Reference>,
    /// How much may come out of how little.
    pub limits: Limits,
    /// How many layers at once.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            platform: None,
            name: None,
            limits: Limits::default(),
            threads: 2,
        }
    }
}

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its ID.
    pub id: Digest,
    /// Its manifest.
    pub digest: Digest,
    /// The names it got.
    pub names: Vec<Reference>,
}

/// An image as a source has it.
#[derive(Debug)]
struct Found {
    names: Vec<Reference>,
    /// Its manifest; what `docker save` writes has none.
    manifest: Option<(Descriptor, Vec<u8>)>,
    /// Media type and text of its configuration.
    config: (String, Vec<u8>),
    layers: Vec<FoundLayer>,
}

/// A layer as a source has it.
#[derive(Clone, Debug)]
struct FoundLayer {
    /// Where it is.
    file: String,
    /// What it has to be; unknown where only the diff ID is told, and it is compressed.
    expected: Option<Descriptor>,
    diff_id: Digest,
}

/// Loads all images of a source.
pub fn load(
    store: &Store,
    input: &Input,
    options: &Options,
    unpack: &dyn Unpack,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    load_all(store, input, options, unpack, progress).context(|| format!("load {input}"))
}

fn load_all(
    store: &Store,
    input: &Input,
    options: &Options,
    unpack: &dyn Unpack,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    let files = Files::open(store, input, &options.limits)?;
    let mut found = if files.has("oci-layout") && files.has("index.json") {
        layout::find(&files, options.platform.as_ref(), input.stem().as_deref())?
    } else if files.has("manifest.json") {
        docker::find(&files, options.platform.as_ref())?
    } else {
        return Err(plan::invalid(
            "it is neither an OCI image layout nor what 'docker save' writes: it has no oci-layout with index.json, and no \
             manifest.json",
        ));
    };
    plan::rename(&mut found, options.name.as_ref())?;
    let jobs = plan::jobs(store, &found, progress)?;
    let work = layer::Work {
        store,
        files: &files,
        limits: &options.limits,
        unpack,
        progress,
    };
    let ready = layer::run_all(&work, jobs, options.threads)?;
    publish(store, found, ready, unpack)
}

/// Makes visible what was believed: what is referred to before what refers to it, names last.
fn publish(
    store: &Store,
    found: Vec<Found>,
    mut ready: Ready,
    unpack: &dyn Unpack,
) -> Result<Vec<Loaded>> {
    ready.publish(store)?;
    let mut all = Vec::new();
    for image in found {
        let config = store.put_document(&image.config.0, &image.config.1)?;
        let id = oci::digest_of(&config)?;
        let manifest = match &image.manifest {
            Some((descriptor, bytes)) => {
                store.put_document(descriptor.media_type().as_ref(), bytes)?;
                descriptor.clone()
            }
            None => {
                let layers = ready.descriptors(&image.layers)?;
                let parts = serde_json::json!({
                    "schemaVersion": 2, "mediaType": oci::MANIFEST, "config": config, "layers": layers,
                });
                store.put_document(oci::MANIFEST, &oci::render(&parts)?)?
            }
        };
        let diff_ids: Vec<Digest> = image.layers.iter().map(|l| l.diff_id).collect();
        if oci::chain_id(&diff_ids).is_some_and(|chain| !store.has_index(chain)) {
            unpack
                .finish(store, &diff_ids)
                .context(|| format!("image {}", id.short()))?;
        }
        for name in &image.names {
            store.tag(name, &manifest)?;
        }
        store.keep(&manifest)?;
        all.push(Loaded {
            id,
            digest: oci::digest_of(&manifest)?,
            names: image.names,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
