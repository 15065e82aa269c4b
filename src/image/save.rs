//! Saving: images out of the store, into one tar.
//!
//! Blobs go out as they are. The same images under the same names give the same bytes: entries are
//! in order, and say nothing of when or by whom they were written. A docker archive has no
//! manifests: what is loaded from one has the image ID that it had, while an OCI archive
//! keeps every digest.

use super::digest::Digest;
use super::oci::{self, Descriptor, INDEX, digest_of};
use super::reference::Reference;
use super::store::{Image, Store};
use crate::vfs::Result;
use crate::vfs::error::Context;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// Form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An OCI image layout in a tar.
    Oci,
    /// What `docker save` of old writes.
    Docker,
}

/// An image, and the names under which it goes out.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The image.
    pub image: Image,
    /// Its names; none is fine.
    pub names: Vec<Reference>,
}

/// Writes images into a tar.
pub fn save(store: &Store, images: &[Saved], format: Format, to: impl Write) -> Result<()> {
    let mut tar = Archive(tar::Builder::new(to));
    match format {
        Format::Oci => oci_archive(store, images, &mut tar)?,
        Format::Docker => docker_archive(store, images, &mut tar)?,
    }
    let mut to = tar.0.into_inner().context(|| "save")?;
    to.flush().context(|| "save")
}

struct Archive<W: Write>(tar::Builder<W>);

impl<W: Write> Archive<W> {
    fn add(&mut self, name: &str, size: u64, from: impl Read) -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        self.0
            .append_data(&mut header, name, from)
            .context(|| format!("save {name}"))
    }

    fn text(&mut self, name: &str, text: &[u8]) -> Result<()> {
        self.add(name, text.len() as u64, text)
    }

    fn blob(&mut self, store: &Store, name: &str, digest: Digest) -> Result<()> {
        let file = store.blob(digest)?;
        let size = file.metadata()?.len();
        self.add(name, size, file)
    }
}

fn parts(image: &Image) -> impl Iterator<Item = &Descriptor> {
    let config = [&image.manifest, image.parts.config()];
    config.into_iter().chain(image.parts.layers())
}

fn oci_archive<W: Write>(store: &Store, images: &[Saved], tar: &mut Archive<W>) -> Result<()> {
    let mut blobs = std::collections::BTreeSet::new();
    let mut entries: Vec<Value> = Vec::new();
    for saved in images {
        for part in parts(&saved.image) {
            blobs.insert(digest_of(part)?);
        }
        entries.extend(index_entries(saved));
    }
    tar.text("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    tar.text("index.json", &oci::render(&index)?)?;
    for digest in blobs {
        tar.blob(store, &format!("blobs/sha256/{}", digest.hex()), digest)?;
    }
    Ok(())
}

/// An entry for each name, as in the store.
fn index_entries(saved: &Saved) -> Vec<Value> {
    let manifest = &saved.image.manifest;
    let plain = json!({
        "mediaType": manifest.media_type(), "digest": manifest.digest(), "size": manifest.size(),
    });
    let named = |name: &Reference| {
        let mut entry = plain.clone();
        entry["annotations"] = json!({"io.containerd.image.name": name.to_string()});
        if let Some(tag) = name.tag() {
            entry["annotations"]["org.opencontainers.image.ref.name"] = tag.into();
        }
        entry
    };
    match saved.names.is_empty() {
        true => vec![plain.clone()],
        false => saved.names.iter().map(named).collect(),
    }
}

fn docker_archive<W: Write>(store: &Store, images: &[Saved], tar: &mut Archive<W>) -> Result<()> {
    let mut files: BTreeMap<String, Digest> = BTreeMap::new();
    let mut items: Vec<Value> = Vec::new();
    for Saved { image, names } in images {
        let config = format!("{}.json", image.id.hex());
        files.insert(config.clone(), image.id);
        let mut layers = Vec::new();
        for layer in image.parts.layers() {
            let digest = digest_of(layer)?;
            let file = format!("{}.tar", digest.hex());
            files.insert(file.clone(), digest);
            layers.push(file);
        }
        // a digest is no name that docker takes here
        let tags: Vec<String> = names
            .iter()
            .filter(|n| n.tag().is_some() && n.digest().is_none())
            .map(Reference::familiar)
            .collect();
        items.push(json!({"Config": config, "RepoTags": tags, "Layers": layers}));
    }
    tar.text("manifest.json", &oci::render(&items)?)?;
    for (file, digest) in files {
        tar.blob(store, &file, digest)?;
    }
    Ok(())
}
