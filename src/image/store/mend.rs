//! Mending: what `fsck` found damaged is replaced, or taken out of the way.
//!
//! This is the one exception to the rule that blobs, layers and objects never change: what is there
//! is not what its name says. It is done with the store alone, and each step leaves what is damaged
//! or what is whole.

use super::publish::{self, remove, sync_parent, sync_tree};
use super::{BLOBS, Exclusive, LAYOUT, LAYOUT_TEXT, LayerFacts, Staging, TMP};
use crate::image::digest::Digest;
use crate::vfs::Result;
use crate::vfs::error::Context;
use std::fs::{self, File};
use std::path::Path;

impl Exclusive {
    /// Writes `oci-layout` anew.
    pub fn mend_layout(&self) -> Result<()> {
        let place = self.path(LAYOUT);
        publish::replace(&self.path(TMP), &place, LAYOUT_TEXT.as_bytes())
    }

    /// Replaces an object by the file `from`, which has the right content.
    pub fn mend_object(&self, object: Digest, from: &Path) -> Result<()> {
        let what = || format!("object {object}");
        let place = self.object_place(object)?;
        File::open(from).and_then(|f| f.sync_all()).context(what)?;
        publish::step("replace an object")?;
        fs::rename(from, &place).context(what)?;
        sync_parent(&place)
    }

    /// Replaces an unpacked layer, whose objects are there.
    pub fn mend_layer(&self, diff_id: Digest, stage: Staging, facts: &LayerFacts) -> Result<()> {
        super::layers::seal(stage.path(), diff_id, facts)?;
        sync_tree(stage.path())?;
        stage.replace(&self.layer_path(diff_id))
    }

    /// Takes a damaged blob away, so that loading the image brings it again.
    pub fn remove_blob(&self, blob: Digest) -> Result<()> {
        self.remove_file(&self.path(BLOBS).join(blob.hex()))
    }

    /// Takes a damaged object away that no layer needs.
    pub fn remove_object(&self, object: Digest) -> Result<()> {
        self.remove_file(&self.object_path(object))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        remove(path).context(|| format!("remove {}", path.display()))?;
        sync_parent(path)
    }

    /// Takes an unpacked layer out of sight, in one step, and removes it.
    pub fn remove_layer(&self, layer: Digest) -> Result<()> {
        let staging = self.staging()?;
        let away = staging.path().join("gone");
        publish::step("take a layer away")?;
        fs::rename(self.layer_path(layer), &away)
            .context(|| format!("remove unpacked layer {layer}"))?;
        sync_parent(&self.layer_path(layer))
    }
}
