//! Images of what `docker save` writes: a tar with a `manifest.json`, which has no digests but in the
//! name of the configuration. Layers are plain tars; other tools write compressed ones too.

use super::archive::Files;
use super::plan::{self, invalid};
use super::{Found, FoundLayer};
use crate::image::digest::Digest;
use crate::image::oci::{self, Compression, PlatformSpec};
use crate::image::reference::Reference;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::Deserialize;
use std::io::Read;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Finds all images.
pub(super) fn find(files: &Files, platform: Option<&PlatformSpec>) -> Result<Vec<Found>> {
    let items: Vec<Item> = serde_json::from_slice(&files.document("manifest.json")?)
        .map_err(|e| invalid(format!("manifest.json: {e}")))?;
    if items.is_empty() {
        return Err(invalid("manifest.json lists no image"));
    }
    items.iter().map(|i| image(files, i, platform)).collect()
}

fn image(files: &Files, item: &Item, platform: Option<&PlatformSpec>) -> Result<Found> {
    let what = || format!("image {}", item.config);
    let bytes = files.document(&item.config)?;
    named_by_digest(&item.config, &bytes)?;
    let config = oci::parse_config(&item.config, &bytes)?;
    if let Some(want) = platform {
        plan::same_platform(&config, want).context(what)?;
    }
    let diff_ids = oci::diff_ids(&config)?;
    let names = item.layers.as_deref().unwrap_or_default();
    plan::same_count(names.len(), diff_ids.len()).context(what)?;
    let layers = names
        .iter()
        .zip(diff_ids)
        .map(|(n, id)| layer(files, n, id));
    let tags = item.repo_tags.iter().flatten();
    Ok(Found {
        names: tags
            .map(|tag| tag.parse().map(Reference::tagged))
            .collect::<Result<_>>()?,
        manifest: None,
        layers: layers.collect::<Result<_>>()?,
        config: (oci::CONFIG.to_owned(), bytes),
    })
}

fn layer(files: &Files, name: &str, diff_id: Digest) -> Result<FoundLayer> {
    let mut head = Vec::new();
    files.read(name)?.take(8).read_to_end(&mut head)?;
    // a plain tar is its own blob
    let expected = match Compression::sniff(&head) {
        Compression::None => Some(oci::descriptor(oci::LAYER, diff_id, files.size(name)?)),
        _ => None,
    };
    Ok(FoundLayer {
        file: name.to_owned(),
        expected,
        diff_id,
    })
}

/// A configuration that is named by a digest has that digest.
fn named_by_digest(name: &str, bytes: &[u8]) -> Result<()> {
    let base = name.rsplit('/').next().unwrap_or(name);
    let Ok(want) = Digest::from_hex(base.strip_suffix(".json").unwrap_or(base)) else {
        return Ok(());
    };
    match Digest::of(bytes) {
        is if is == want => Ok(()),
        is => Err(Error::because(
            Errno::EBADMSG,
            format!("{name}: its content has the digest {is}"),
        )),
    }
}
