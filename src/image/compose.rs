//! Composing: an image of layers that are on disk as directories, or in the store.

use super::changes::pack_layer;
use super::commit::unpacked;
use super::digest::{Digest, Digesting};
use super::layer::LayerWriter;
use super::load::Unpack;
use super::oci::{self, CONFIG, Descriptor, LAYER, MANIFEST, PlatformSpec};
use super::prepare::{Prepare, room};
use super::reference::Reference;
use super::spill::Pages;
use super::store::{Image, Store};
use crate::vfs::Result;
use crate::vfs::error::Context;
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufWriter;
use std::os::fd::AsFd;
use std::path::Path;

/// A layer in the store.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its blob.
    pub blob: Descriptor,
    /// Its diff ID.
    pub diff_id: Digest,
    /// What its history says: by what it was made, and a comment.
    pub said: (String, String),
}

/// Stores a directory that is a layer of an overlay, whiteouts and opaque directories in any form.
pub fn put_layer(store: &Store, dir: &Path) -> Result<Part> {
    let what = || dir.display().to_string();
    let root = File::open(dir).context(what)?;
    let out = BufWriter::with_capacity(1 << 18, Digesting::new(store.blob_writer()?));
    let pages = Pages::new(room(store));
    let mut writer = LayerWriter::within(out, &pages)?;
    pack_layer(root.as_fd(), &mut writer, &pages).context(what)?;
    drop(pages);
    let digesting = writer.finish()?.into_inner().map_err(|e| e.into_error())?;
    let (blob, diff_id) = digesting.finish();
    let blob = blob.finish(None)?;
    unpacked(store, diff_id, blob.open()?).context(what)?;
    let descriptor = blob.descriptor(LAYER);
    store.publish_blob(blob)?;
    Ok(Part {
        blob: descriptor,
        diff_id,
        said: ("vellum".to_owned(), what()),
    })
}

/// Makes an image of layers, lowest first. `run` is what is known of how to run it; besides, the configuration
/// says the platform, the one that this program was built for, and where the layers came from.
pub fn compose(
    store: &Store,
    parts: &[Part],
    run: Value,
    name: Option<&Reference>,
) -> Result<Image> {
    let diff_ids: Vec<Digest> = parts.iter().map(|p| p.diff_id).collect();
    Prepare.finish(store, &diff_ids)?;
    let created = super::now();
    let platform = PlatformSpec::default();
    let step = |p: &Part| json!({"created": created, "created_by": p.said.0, "comment": p.said.1});
    let config = json!({
        "created": created, "architecture": platform.arch(), "os": platform.os(), "config": run,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": parts.iter().map(step).collect::<Vec<_>>(),
    });
    let config = store.put_document(CONFIG, &oci::render(&config)?)?;
    let blobs: Vec<&Descriptor> = parts.iter().map(|p| &p.blob).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": blobs,
    });
    let manifest = store.put_document(MANIFEST, &oci::render(&manifest)?)?;
    match name {
        Some(name) => store.tag(name, &manifest)?,
        None => store.keep(&manifest)?,
    }
    store.image(&manifest)
}
