//! Images of an OCI image layout, in a folder or in a tar.

use super::archive::Files;
use super::plan::{self, invalid};
use super::{Found, FoundLayer};
use crate::image::oci::{
    self, Descriptor, ImageManifest, PlatformSpec, Role, choose, digest_of, verify,
};
use crate::image::reference::Reference;
use crate::image::store::Entry;
use crate::vfs::Result;
use crate::vfs::error::Context;
use std::collections::BTreeMap;

/// Indexes within indexes.
const DEPTH_MAX: usize = 4;

/// Finds all images, for each name the one for the platform.
pub(super) fn find(
    files: &Files,
    platform: Option<&PlatformSpec>,
    stem: Option<&str>,
) -> Result<Vec<Found>> {
    version(files)?;
    let index = oci::parse_index("index.json", &files.document("index.json")?)?;
    let mut groups: BTreeMap<Option<String>, Vec<Descriptor>> = BTreeMap::new();
    for manifest in index.manifests() {
        let entry = Entry {
            manifest: manifest.clone(),
        };
        let label = entry.label().map(str::to_owned);
        groups.entry(label).or_default().push(manifest.clone());
    }
    let want = platform.cloned().unwrap_or_default();
    let mut found: Vec<Found> = Vec::new();
    for (label, group) in groups {
        let names: Vec<Reference> = label
            .as_deref()
            .and_then(|label| name_of(label, stem))
            .into_iter()
            .collect();
        // several of one name, or without one and all with platforms, are one image for each platform
        let one_image = label.is_some() || group.iter().all(|d| d.platform().is_some());
        let chosen = match one_image && group.len() > 1 {
            true => vec![choose(&group, &want)?],
            false => group.iter().collect(),
        };
        for descriptor in chosen {
            let what = || {
                label
                    .clone()
                    .unwrap_or_else(|| "image without a name".into())
            };
            let image = image(files, descriptor, &want, platform.is_some()).context(what)?;
            add(&mut found, names.clone(), image);
        }
    }
    if found.is_empty() {
        return Err(invalid("index.json lists no image"));
    }
    Ok(found)
}

/// One image under several names is one image.
fn add(found: &mut Vec<Found>, names: Vec<Reference>, mut image: Found) {
    let digest = |f: &Found| f.manifest.as_ref().map(|m| m.0.digest().to_string());
    match found.iter_mut().find(|f| digest(f) == digest(&image)) {
        Some(same) => same.names.extend(names),
        None => {
            image.names = names;
            found.push(image);
        }
    }
}

/// The name that a label means. A mere tag, as in `oci:FOLDER:TAG`, is one of the folder's name.
fn name_of(label: &str, stem: Option<&str>) -> Option<Reference> {
    if label.contains(['/', ':', '@']) {
        return label.parse().ok().map(Reference::tagged);
    }
    format!("{}:{label}", stem?).parse().ok()
}

fn version(files: &Files) -> Result<()> {
    let text = files.document("oci-layout")?;
    let layout: serde_json::Value =
        serde_json::from_slice(&text).map_err(|e| invalid(format!("oci-layout: {e}")))?;
    match layout["imageLayoutVersion"].as_str() {
        Some(v) if v.starts_with("1.") => Ok(()),
        v => Err(invalid(format!(
            "oci-layout: version {:?} is not understood, 1.0.0 is",
            v.unwrap_or_default()
        ))),
    }
}

fn image(
    files: &Files,
    descriptor: &Descriptor,
    want: &PlatformSpec,
    strict: bool,
) -> Result<Found> {
    let (descriptor, bytes) = manifest(files, descriptor, want)?;
    let what = format!("manifest {}", descriptor.digest());
    let parts = oci::parse_manifest(&what, &bytes)?;
    let config_bytes = document(files, parts.config())?;
    let what = format!("configuration {}", parts.config().digest());
    let config = oci::parse_config(&what, &config_bytes)?;
    if strict {
        plan::same_platform(&config, want).context(|| what.clone())?;
    }
    let diff_ids = oci::diff_ids(&config)?;
    Ok(Found {
        names: Vec::new(),
        layers: layers(&parts, &diff_ids).context(|| what)?,
        config: (parts.config().media_type().to_string(), config_bytes),
        manifest: Some((descriptor, bytes)),
    })
}

fn layers(
    parts: &ImageManifest,
    diff_ids: &[crate::image::digest::Digest],
) -> Result<Vec<FoundLayer>> {
    plan::same_count(parts.layers().len(), diff_ids.len())?;
    let one = |(layer, diff_id): (&Descriptor, &_)| {
        Ok(FoundLayer {
            file: place(layer)?,
            expected: Some(layer.clone()),
            diff_id: *diff_id,
        })
    };
    parts.layers().iter().zip(diff_ids).map(one).collect()
}

/// The manifest, through indexes.
fn manifest(
    files: &Files,
    descriptor: &Descriptor,
    want: &PlatformSpec,
) -> Result<(Descriptor, Vec<u8>)> {
    let mut at = descriptor.clone();
    for _ in 0..DEPTH_MAX {
        let role = oci::role_of(&at)?;
        let bytes = document(files, &at)?;
        if role != Role::Index {
            // what it was called there is not what it is called here
            at.set_annotations(None);
            return Ok((at, bytes));
        }
        let index = oci::parse_index(&format!("index {}", at.digest()), &bytes)?;
        at = choose(index.manifests(), want)?.clone();
    }
    Err(invalid(format!(
        "indexes within indexes, more than {DEPTH_MAX} deep"
    )))
}

fn place(descriptor: &Descriptor) -> Result<String> {
    Ok(format!("blobs/sha256/{}", digest_of(descriptor)?.hex()))
}

fn document(files: &Files, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let bytes = files.document(&place(descriptor)?)?;
    verify(descriptor, &bytes)?;
    Ok(bytes)
}
