//! Collection: what nothing reaches goes away.
//!
//! The roots are the entries of `index.json`, with or without those that have no name, the pins, and
//! the images of containers.
//! From a root everything is reached that an image needs: manifest, configuration, layers as blobs
//! and unpacked, their objects, the index of all layers. A document that cannot be read stops a
//! collection: what it reaches is not known.

use super::publish::remove;
use super::{BLOBS, CHAINS, Exclusive, LAYERS, OBJECTS, Store, TMP, UPPERS, publish};
use crate::image::digest::Digest;
use crate::image::oci::{self, Descriptor, Role, digest_of};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is reached.
#[derive(Debug, Default)]
struct Reach {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
    objects: BTreeSet<Digest>,
    chains: BTreeSet<Digest>,
}

/// What is not reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Manifests that no name refers to any more.
    pub nameless: Vec<Digest>,
    /// Blobs.
    pub blobs: Vec<Digest>,
    /// Unpacked layers, by diff ID.
    pub layers: Vec<Digest>,
    /// Objects.
    pub objects: Vec<Digest>,
    /// Indexes, by chain ID.
    pub indexes: Vec<Digest>,
    /// What it occupies on disk, in bytes.
    pub bytes: u64,
    pins: Vec<PathBuf>,
}

/// What a store occupies on disk, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blobs: layers as they came, and documents.
    pub blobs: u64,
    /// Unpacked layers.
    pub layers: u64,
    /// Objects: large files.
    pub objects: u64,
    /// Indexes.
    pub indexes: u64,
    /// Writable layers.
    pub uppers: u64,
    /// Volumes.
    pub volumes: u64,
    /// What is being made, or was left by a crash.
    pub tmp: u64,
}

impl Store {
    /// What no name reaches, no pin and no container; with `keep_nameless`, what no entry reaches.
    pub fn garbage(&self, keep_nameless: bool) -> Result<Garbage> {
        let mut reach = Reach::default();
        let mut garbage = Garbage::default();
        (_, garbage.pins) = self.pinned()?;
        for entry in self.entries()? {
            if keep_nameless || entry.label().is_some() {
                self.mark(&entry.manifest, &mut reach)
                    .context(|| format!("image {}", entry.label().unwrap_or("<none>")))?;
            } else {
                garbage.nameless.push(digest_of(&entry.manifest)?);
            }
        }
        for (user, manifest) in self.users()? {
            self.mark(&manifest, &mut reach)
                .context(|| format!("image of {user}"))?;
        }
        let unreached = |all: Vec<Digest>, reached: &BTreeSet<Digest>| -> Vec<Digest> {
            all.into_iter().filter(|d| !reached.contains(d)).collect()
        };
        garbage.blobs = unreached(self.blobs()?, &reach.blobs);
        garbage.layers = unreached(self.layers()?, &reach.layers);
        garbage.objects = unreached(self.objects()?, &reach.objects);
        garbage.indexes = unreached(self.indexes()?, &reach.chains);
        for path in self.paths_of(&garbage) {
            garbage.bytes += disk_use(&path)?;
        }
        Ok(garbage)
    }

    fn mark(&self, descriptor: &Descriptor, reach: &mut Reach) -> Result<()> {
        let digest = digest_of(descriptor)?;
        if !reach.blobs.insert(digest) {
            return Ok(());
        }
        if oci::role_of(descriptor)? == Role::Index {
            let what = format!("index {digest}");
            let index = oci::parse_index(&what, &self.document(descriptor)?)?;
            // those for other platforms are often left out
            for one in index.manifests() {
                if digest_of(one).is_ok_and(|d| self.has_blob(d)) {
                    self.mark(one, reach)?;
                }
            }
            return Ok(());
        }
        let image = match self.image(descriptor) {
            // other tools may keep what is no image of ours, as attestations are
            Err(e) if e.is(Errno::EOPNOTSUPP) => return self.mark_other(descriptor, reach),
            image => image?,
        };
        reach.blobs.insert(image.id);
        for layer in image.parts.layers() {
            reach.blobs.insert(digest_of(layer)?);
        }
        reach.chains.extend(image.chain_id());
        for diff_id in image.diff_ids {
            if reach.layers.insert(diff_id) && self.has_layer(diff_id) {
                reach.objects.extend(self.layer_info(diff_id)?.objects);
            }
        }
        Ok(())
    }

    /// A manifest of something else: its blobs are reached, and nothing is made of them.
    fn mark_other(&self, descriptor: &Descriptor, reach: &mut Reach) -> Result<()> {
        let parts: serde_json::Value = serde_json::from_slice(&self.document(descriptor)?)
            .map_err(|e| Error::because(Errno::EBADMSG, e))?;
        let layers = parts["layers"].as_array().into_iter().flatten();
        for part in layers.chain([&parts["config"]]) {
            if let Some(Ok(digest)) = part["digest"].as_str().map(str::parse) {
                reach.blobs.insert(digest);
            }
        }
        Ok(())
    }

    fn paths_of(&self, garbage: &Garbage) -> Vec<PathBuf> {
        // what refers to something goes before it
        let indexes = garbage.indexes.iter().map(|d| self.index_path(*d));
        let layers = garbage.layers.iter().map(|d| self.layer_path(*d));
        let objects = garbage.objects.iter().map(|d| self.object_path(*d));
        let blobs = garbage.blobs.iter().map(|d| self.path(BLOBS).join(d.hex()));
        indexes.chain(layers).chain(objects).chain(blobs).collect()
    }

    /// What it occupies.
    pub fn usage(&self) -> Result<Usage> {
        let of = |dir: &str| disk_use(&self.path(dir));
        Ok(Usage {
            blobs: of(BLOBS)?,
            layers: of(LAYERS)?,
            objects: of(OBJECTS)?,
            indexes: of(CHAINS)?,
            uppers: of(UPPERS)?,
            volumes: disk_use(&self.volumes_dir())?,
            tmp: of(TMP)?,
        })
    }
}

impl Exclusive {
    /// Removes what [`Store::garbage`] finds. A crash on the way leaves a store with less garbage.
    pub fn collect(&self, keep_nameless: bool) -> Result<Garbage> {
        let garbage = self.garbage(keep_nameless)?;
        if !keep_nameless {
            self.forget_nameless()?;
        }
        for pin in &garbage.pins {
            remove(pin)?;
        }
        for index in &garbage.indexes {
            remove(&self.index_path(*index)).context(|| format!("remove index {index}"))?;
        }
        publish::sync_dir(&self.path(CHAINS))?;
        for layer in &garbage.layers {
            // so that no half of it is ever seen
            self.remove_layer(*layer)?;
        }
        for path in self.paths_of(&garbage) {
            remove(&path).context(|| format!("remove {}", path.display()))?;
        }
        for dir in [CHAINS, LAYERS, OBJECTS, BLOBS] {
            publish::sync_dir(&self.path(dir))?;
        }
        Ok(garbage)
    }
}

/// What a file, or a directory with all that is in it, occupies.
pub fn disk_use(path: &Path) -> Result<u64> {
    let what = || path.display().to_string();
    let Some(meta) = absent_ok(fs::symlink_metadata(path).map_err(Error::from)).context(what)?
    else {
        return Ok(0);
    };
    let mut bytes = meta.blocks() * 512;
    if meta.is_dir() {
        let entries = match absent_ok(fs::read_dir(path).map_err(Error::from)) {
            Ok(Some(entries)) => entries,
            Ok(None) => return Ok(bytes),
            // an upper may hold what only its owner reads
            Err(e) if e.is(Errno::EACCES) => return Ok(bytes),
            Err(e) => return Err(e.context(what())),
        };
        for entry in entries {
            bytes += disk_use(&entry?.path())?;
        }
    }
    Ok(bytes)
}
