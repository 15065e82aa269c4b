//! Images: a manifest with its configuration, found by what people write.

use super::{Entry, Store};
use crate::image::digest::Digest;
use crate::image::oci::{
    self, Descriptor, ImageConfiguration, ImageManifest, PlatformSpec, Role, choose, digest_of,
};
use crate::image::reference::{IdPrefix, Reference};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;

/// An image in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of its configuration: the image ID.
    pub id: Digest,
    /// Its manifest.
    pub manifest: Descriptor,
    /// The digest of its manifest.
    pub digest: Digest,
    /// What the manifest says.
    pub parts: ImageManifest,
    /// What the configuration says.
    pub config: ImageConfiguration,
    /// The diff IDs of its layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Made of the diff IDs, once.
    chain_id: Option<Digest>,
    /// Its names, in order.
    pub names: Vec<Reference>,
}

impl Image {
    /// The chain ID of all its layers: what its index is named by. An image without a layer has
    /// none.
    pub fn chain_id(&self) -> Option<Digest> {
        self.chain_id
    }

    /// True if a mount of it needs nothing that is not there.
    pub fn is_unpacked(&self, store: &Store) -> bool {
        self.diff_ids.iter().all(|id| store.has_layer(*id))
            && self.chain_id().is_none_or(|id| store.has_index(id))
    }

    /// Size of its layers, uncompressed; of those that are not unpacked, as they are.
    pub fn size(&self, store: &Store) -> Result<u64> {
        let layers = self.diff_ids.iter().zip(self.parts.layers());
        layers.map(|(id, blob)| layer_size(store, *id, blob)).sum()
    }

    /// Size of each layer, lowest first, as in [`Image::size`].
    pub fn layer_sizes(&self, store: &Store) -> Result<Vec<u64>> {
        let layers = self.diff_ids.iter().zip(self.parts.layers());
        layers
            .map(|(id, blob)| layer_size(store, *id, blob))
            .collect()
    }
}

fn layer_size(store: &Store, diff_id: Digest, blob: &Descriptor) -> Result<u64> {
    match store.has_layer(diff_id) {
        true => Ok(store.layer_info(diff_id)?.size),
        false => Ok(blob.size()),
    }
}

impl Store {
    /// The image of a manifest; of an index of manifests, the one for this platform.
    pub fn image(&self, descriptor: &Descriptor) -> Result<Image> {
        let manifest = match oci::role_of(descriptor)? {
            Role::Index => {
                let what = format!("index {}", descriptor.digest());
                let index = oci::parse_index(&what, &self.document(descriptor)?)?;
                choose(index.manifests(), &PlatformSpec::default())
                    .context(|| what)?
                    .clone()
            }
            _ => descriptor.clone(),
        };
        let digest = digest_of(&manifest)?;
        let what = format!("manifest {digest}");
        let parts = oci::parse_manifest(&what, &self.document(&manifest)?)?;
        let id = digest_of(parts.config())?;
        let what = format!("configuration {id}");
        let config = oci::parse_config(&what, &self.document(parts.config())?)?;
        let diff_ids = oci::diff_ids(&config)?;
        same_count(&parts, &diff_ids).context(|| what)?;
        let names = self.names_of(descriptor)?;
        Ok(Image {
            id,
            manifest,
            digest,
            parts,
            config,
            chain_id: oci::chain_id(&diff_ids),
            diff_ids,
            names,
        })
    }

    fn names_of(&self, descriptor: &Descriptor) -> Result<Vec<Reference>> {
        let mut names: Vec<Reference> = self
            .entries()?
            .iter()
            .filter(|e| e.manifest.digest() == descriptor.digest())
            .filter_map(Entry::name)
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// All images, each manifest once, and for those that cannot be read the reason.
    pub fn images(&self) -> Result<Vec<(Entry, Result<Image>)>> {
        let mut entries = self.entries()?;
        let mut seen = std::collections::BTreeSet::new();
        entries.retain(|e| seen.insert(e.manifest.digest().to_string()));
        let read = |e: Entry| {
            let image = self.image(&e.manifest);
            (e, image)
        };
        Ok(entries.into_iter().map(read).collect())
    }

    /// The image that is meant: by a name, with a tag or a digest, or by the beginning of its ID.
    /// A name comes before an ID that begins like it.
    pub fn resolve(&self, text: &str) -> Result<Image> {
        let prefix = IdPrefix::parse(text);
        let name = text.parse::<Reference>();
        if let Ok(name) = &name
            && let Some(entry) = self.find_name(name)?
        {
            return self.image(&entry.manifest).context(|| text.to_owned());
        }
        match (prefix, name) {
            (Some(prefix), _) => self.by_id(text, &prefix),
            (None, Ok(_)) => Err(no_such(text)),
            (None, Err(e)) => Err(e),
        }
    }

    fn find_name(&self, name: &Reference) -> Result<Option<Entry>> {
        let name = name.clone().tagged();
        let meant = |e: &Entry| {
            let own = e.name();
            own.as_ref() == Some(&name)
                || name.digest().is_some_and(|digest| {
                    digest_of(&e.manifest) == Ok(digest)
                        && own.is_some_and(|own| own.same_repository(&name))
                })
        };
        Ok(self.entries()?.into_iter().find(meant))
    }

    fn by_id(&self, text: &str, prefix: &IdPrefix) -> Result<Image> {
        let mut found: Vec<Image> = Vec::new();
        for (_, image) in self.images()? {
            // one that cannot be read has no ID
            if let Ok(image) = image
                && prefix.fits(image.id)
                && found.iter().all(|f| f.id != image.id)
            {
                found.push(image);
            }
        }
        match found.len() {
            0 => Err(no_such(text)),
            1 => Ok(found.remove(0)),
            _ => {
                let ids: Vec<String> = found.iter().map(|i| i.id.short()).collect();
                Err(Error::because(
                    Errno::ENOTUNIQ,
                    format!("image ID {text:?} is ambiguous: {}", ids.join(", ")),
                ))
            }
        }
    }
}

fn no_such(text: &str) -> Error {
    Error::because(Errno::ENOENT, format!("no such image: {text}"))
}

/// A manifest and a configuration have to agree on how many layers there are.
pub fn same_count(parts: &ImageManifest, diff_ids: &[Digest]) -> Result<()> {
    let (layers, ids) = (parts.layers().len(), diff_ids.len());
    if layers == ids {
        return Ok(());
    }
    Err(Error::because(
        Errno::EBADMSG,
        format!("it has {ids} diff IDs, and the manifest {layers} layers"),
    ))
}
