//! Names: `index.json`, the one file that changes.
//!
//! An *entry* refers to a manifest. With the annotation `io.containerd.image.name` it has a whole
//! name, and with `org.opencontainers.image.ref.name` a tag, which is what other tools ask for; an
//! entry that another tool made may have the second alone. An entry without either is an image
//! that lost its name to another, or never had one: it stays until `prune`.

use super::lock::Lock;
use super::{INDEX, NAMES_LOCK, Store, TMP, publish};
use crate::image::digest::Digest;
use crate::image::oci::{self, Descriptor, ImageIndex, digest_of};
use crate::image::reference::Reference;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::HashMap;
use std::fs::File;

/// Annotation with a tag.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with a whole name.
pub const FULL_NAME: &str = "io.containerd.image.name";

/// One entry of `index.json`.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The manifest, or an index of manifests.
    pub manifest: Descriptor,
}

impl Entry {
    /// Its name as it stands there.
    pub fn label(&self) -> Option<&str> {
        let annotations = self.manifest.annotations().as_ref()?;
        let label = annotations
            .get(FULL_NAME)
            .or_else(|| annotations.get(REF_NAME))?;
        Some(label.as_str()).filter(|l| !l.is_empty())
    }

    /// Its name, if it can be one.
    pub fn name(&self) -> Option<Reference> {
        self.label()?.parse().ok().map(Reference::tagged)
    }

    fn is(&self, digest: Digest) -> bool {
        digest_of(&self.manifest) == Ok(digest)
    }
}

/// The descriptor with these two annotations, or without them.
fn named(descriptor: &Descriptor, name: Option<&Reference>) -> Descriptor {
    let mut annotations: HashMap<String, String> =
        descriptor.annotations().clone().unwrap_or_default();
    annotations.remove(FULL_NAME);
    annotations.remove(REF_NAME);
    if let Some(name) = name {
        annotations.insert(FULL_NAME.to_owned(), name.to_string());
        if let Some(tag) = name.tag() {
            annotations.insert(REF_NAME.to_owned(), tag.to_owned());
        }
    }
    let mut out = descriptor.clone();
    out.set_annotations((!annotations.is_empty()).then_some(annotations));
    out
}

impl Store {
    /// All entries.
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let index = self.read_index()?;
        let entry = |manifest: &Descriptor| Entry {
            manifest: manifest.clone(),
        };
        Ok(index.manifests().iter().map(entry).collect())
    }

    fn read_index(&self) -> Result<ImageIndex> {
        let path = self.path(INDEX);
        let what = path.display().to_string();
        let bytes = oci::read_document(&what, File::open(&path).context(|| &what)?)?;
        oci::parse_index(&what, &bytes)
    }

    /// Changes the entries, in one step, while nobody else does.
    fn edit<T>(&self, change: impl FnOnce(&mut Vec<Entry>) -> Result<T>) -> Result<T> {
        let _names = Lock::exclusive(&self.path(NAMES_LOCK))?;
        let mut index = self.read_index()?;
        let wrap = |manifest: Descriptor| Entry { manifest };
        let mut entries: Vec<Entry> = index.manifests().iter().cloned().map(wrap).collect();
        let done = change(&mut entries)?;
        index.set_manifests(entries.into_iter().map(|e| e.manifest).collect());
        let bytes = oci::render(&index)?;
        if bytes.len() as u64 > oci::DOCUMENT_MAX {
            return Err(Error::because(Errno::EFBIG, "index.json: too many names"));
        }
        publish::replace(&self.path(TMP), &self.path(INDEX), &bytes)?;
        Ok(done)
    }

    /// Gives a manifest that is in the store a name. An image that had the name keeps its place
    /// without one.
    pub fn tag(&self, name: &Reference, manifest: &Descriptor) -> Result<()> {
        let name = name.clone().tagged();
        let digest = self.present(manifest).context(|| format!("tag {name}"))?;
        self.edit(|entries| {
            entries.retain(|e| !(e.is(digest) && e.label().is_none()));
            if let Some(at) = entries
                .iter()
                .position(|e| e.name().as_ref() == Some(&name))
            {
                let old = entries.remove(at).manifest;
                let old_digest = digest_of(&old)?;
                if old_digest != digest && !entries.iter().any(|e| e.is(old_digest)) {
                    entries.push(Entry {
                        manifest: named(&old, None),
                    });
                }
            }
            entries.push(Entry {
                manifest: named(manifest, Some(&name)),
            });
            Ok(())
        })
    }

    /// Lists a manifest that is in the store, without a name.
    pub fn keep(&self, manifest: &Descriptor) -> Result<()> {
        let digest = self.present(manifest)?;
        self.edit(|entries| {
            if !entries.iter().any(|e| e.is(digest)) {
                entries.push(Entry {
                    manifest: named(manifest, None),
                });
            }
            Ok(())
        })
    }

    fn present(&self, manifest: &Descriptor) -> Result<Digest> {
        let digest = digest_of(manifest)?;
        match self.has_blob(digest) {
            true => Ok(digest),
            false => Err(Error::because(
                Errno::ENOENT,
                format!("manifest {digest} is not in the store"),
            )),
        }
    }

    /// Takes a name away, and with the last one the entry. Its manifest is what is given back.
    pub fn untag(&self, name: &Reference) -> Result<Descriptor> {
        let name = name.clone().tagged();
        self.edit(|entries| {
            let at = entries
                .iter()
                .position(|e| e.name().as_ref() == Some(&name))
                .ok_or_else(|| {
                    Error::because(Errno::ENOENT, format!("no such image: {}", name.familiar()))
                })?;
            Ok(entries.remove(at).manifest)
        })
    }

    /// Removes all entries of a manifest.
    pub fn forget(&self, manifest: Digest) -> Result<Vec<Entry>> {
        self.edit(|entries| {
            let (gone, stay) = entries.drain(..).partition(|e| e.is(manifest));
            *entries = stay;
            Ok(gone)
        })
    }

    /// Removes all entries without a name.
    pub(super) fn forget_nameless(&self) -> Result<()> {
        if self.entries()?.iter().all(|e| e.label().is_some()) {
            return Ok(());
        }
        self.edit(|entries| {
            entries.retain(|e| e.label().is_some());
            Ok(())
        })
    }
}
