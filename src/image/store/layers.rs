//! What is made of the blobs: unpacked layers, objects and indexes.
//!
//! An unpacked layer is a folder named by its diff ID. What is in it is for the unpacker to say,
//! except `layer.json`, which says what the store needs: the objects that the layer refers to. An
//! *object* is the content of one large file, named by its digest, and shared. An *index* is the
//! merged tree of a stack of layers, named by its chain ID.

use super::blobs::digests_in;
use super::publish::{step, sync_parent, sync_tree};
use super::{CHAINS, LAYERS, OBJECTS, Staging, Store, Temp};
use crate::image::digest::Digest;
use crate::image::spill::Digests;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, statat};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What the store knows of a layer, in its folder.
pub const INFO: &str = "layer.json";
/// Folder of a staged layer with objects that come with it.
const NEW_OBJECTS: &str = "objects";

/// What the store knows of an unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Size of its tar, uncompressed.
    pub size: u64,
    /// The objects that it refers to, each once, in order.
    pub objects: Vec<Digest>,
}

/// What is to be known of a layer that was just unpacked.
#[derive(Debug)]
pub struct LayerFacts {
    /// Size of its tar, uncompressed.
    pub size: u64,
    /// The objects that it refers to.
    pub objects: Digests,
}

impl LayerFacts {
    /// True if that is what was written down.
    pub fn are(&self, info: &LayerInfo) -> Result<bool> {
        let mut said = info.objects.iter();
        let mut same = self.size == info.size;
        self.objects.each(|object| {
            same &= said.next() == Some(&object);
            Ok(())
        })?;
        Ok(same && said.next().is_none())
    }
}

/// Writes down in a staged layer what the store is to know of it: a [`LayerInfo`].
pub(super) fn seal(stage: &Path, diff_id: Digest, facts: &LayerFacts) -> Result<()> {
    let what = || format!("unpacked layer {diff_id}: {INFO}");
    // piece by piece: a layer may refer to a million objects
    let mut to = BufWriter::new(File::create(stage.join(INFO)).context(what)?);
    let mut between = "";
    write!(to, "{{\"size\":{},\"objects\":[", facts.size).context(what)?;
    facts.objects.each(|object| {
        write!(to, "{between}\"{object}\"").context(what)?;
        between = ",";
        Ok(())
    })?;
    write!(to, "]}}").and_then(|()| to.flush()).context(what)
}

impl Store {
    /// The folder of an unpacked layer, whether it is there or not.
    pub fn layer_path(&self, diff_id: Digest) -> PathBuf {
        self.path(LAYERS).join(diff_id.hex())
    }

    /// The file of an object, whether it is there or not.
    pub fn object_path(&self, object: Digest) -> PathBuf {
        super::contents::object_place(&self.root, object)
    }

    /// The index of a stack, whether it is there or not.
    pub fn index_path(&self, chain_id: Digest) -> PathBuf {
        self.path(CHAINS).join(chain_id.hex())
    }

    /// True if the layer is unpacked.
    pub fn has_layer(&self, diff_id: Digest) -> bool {
        self.layer_path(diff_id).exists()
    }

    /// The first of these layers that is not unpacked.
    pub fn first_missing(&self, layers: &[Digest]) -> Result<Option<Digest>> {
        let place = self.path(LAYERS);
        // an image has hundreds: the way to them is walked once
        let dir = File::open(&place).context(|| place.display().to_string())?;
        for layer in layers {
            match statat(&dir, layer.hex(), AtFlags::empty()) {
                Ok(_) => {}
                Err(rustix::io::Errno::NOENT) => return Ok(Some(*layer)),
                Err(e) => return Err(e).context(|| format!("unpacked layer {layer}")),
            }
        }
        Ok(None)
    }

    /// True if the object is there.
    pub fn has_object(&self, object: Digest) -> bool {
        self.object_path(object).exists()
    }

    /// True if the index is there.
    pub fn has_index(&self, chain_id: Digest) -> bool {
        self.index_path(chain_id).exists()
    }

    /// What the store knows of an unpacked layer.
    pub fn layer_info(&self, diff_id: Digest) -> Result<LayerInfo> {
        let what = || format!("unpacked layer {diff_id}");
        let text = fs::read(self.layer_path(diff_id).join(INFO)).context(what)?;
        serde_json::from_slice(&text)
            .map_err(|e| Error::because(Errno::EBADMSG, format!("{}: {INFO}: {e}", what())))
    }

    /// Makes an unpacked layer visible, and before it the objects that lie in its folder
    /// `objects`, each named by its 64 digits. All that `facts` name are there then.
    pub fn publish_layer(&self, diff_id: Digest, stage: Staging, facts: &LayerFacts) -> Result<()> {
        let what = || format!("unpacked layer {diff_id}");
        if self.has_layer(diff_id) {
            return Ok(());
        }
        let dir = stage.path().join(NEW_OBJECTS);
        let publish = |object: Digest| self.place_object(object, &dir.join(object.hex()));
        facts.objects.each(publish).context(what)?;
        // those that were there already
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            removed => removed.context(|| dir.display().to_string())?,
        }
        seal(stage.path(), diff_id, facts)?;
        sync_tree(stage.path())?;
        stage.publish(&self.layer_path(diff_id))
    }

    fn place_object(&self, object: Digest, from: &Path) -> Result<()> {
        if self.has_object(object) {
            return Ok(());
        }
        let place = self.object_place(object)?;
        let what = || format!("object {object}");
        let file = File::open(from).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::because(Errno::ENOENT, format!("its object {object} is missing"))
            }
            _ => Error::from(e).context(what()),
        })?;
        file.sync_all().context(what)?;
        step("publish an object")?;
        fs::rename(from, &place).context(what)?;
        sync_parent(&place)
    }

    /// The place of an object, in a folder that is there.
    pub(super) fn object_place(&self, object: Digest) -> Result<PathBuf> {
        let place = self.object_path(object);
        if let Some(folder) = place.parent()
            && !folder.exists()
        {
            step("make a folder of objects")?;
            fs::create_dir_all(folder)
                .map_err(Error::from)
                .and_then(|()| sync_parent(folder))
                .context(|| folder.display().to_string())?;
        }
        Ok(place)
    }

    /// Makes an object visible. Whoever wrote it has digested what was written.
    pub fn publish_object(&self, object: Digest, file: Temp) -> Result<()> {
        if self.has_object(object) {
            return Ok(());
        }
        file.publish(&self.object_place(object)?)
    }

    /// Makes the index of a stack visible; an older one is replaced.
    pub fn publish_index(&self, chain_id: Digest, file: Temp) -> Result<()> {
        file.publish(&self.index_path(chain_id))
    }

    /// The diff IDs of all layers that are unpacked.
    pub fn layers(&self) -> Result<Vec<Digest>> {
        digests_in(&self.path(LAYERS))
    }

    /// The chain IDs of all indexes.
    pub fn indexes(&self) -> Result<Vec<Digest>> {
        digests_in(&self.path(CHAINS))
    }

    /// All objects.
    pub fn objects(&self) -> Result<Vec<Digest>> {
        let top = self.path(OBJECTS);
        let mut all = Vec::new();
        for folder in fs::read_dir(&top).context(|| top.display().to_string())? {
            let folder = folder?.path();
            if folder.is_dir() {
                all.extend(digests_in(&folder)?);
            }
        }
        Ok(all)
    }
}
