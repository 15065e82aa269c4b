//! Committing: a new image from what a container has changed.
//!
//! The new layer is made of the changes alone, so its cost is theirs, however large the image is. It
//! is written once: as the tar goes by, it is compressed to a blob and digested; then it is unpacked
//! as any layer that is loaded.

use super::changes::{Image as Below, Packer, changes, entry_of};
use super::container::root_meta;
use super::digest::{Digest, Digesting};
use super::entry::{Entry, Item, Path};
use super::index::Index;
use super::instruction::{Edit, Instruction, Keeps};
use super::layer::LayerWriter;
use super::load::Unpack;
use super::lower::number_of;
use super::oci::{self, Descriptor, History};
use super::prepare::{Prepare, room};
use super::reference::Reference;
use super::spill::Pages;
use super::store::{BlobWriter, Image, LayerFacts, Store};
use crate::sys::Loc;
use crate::vfs::error::Context;
use crate::vfs::{Error, Kind, NodeId, Result};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use nix::errno::Errno;
use serde_json::{Value, json};
use std::io::Read;
use std::os::fd::BorrowedFd;

/// What a new layer is: a tar, compressed by gzip, which everyone reads.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer in a manifest of Docker's; its documents do not name OCI's types.
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// A configuration there.
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What to say of the commit.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// By what it came to be.
    pub created_by: String,
    /// By whom.
    pub author: Option<String>,
    /// And why.
    pub comment: Option<String>,
    /// What else is to be changed of how it is run.
    pub changes: Vec<Instruction>,
}

/// The index of an image, as far as changes are told by it.
#[derive(Debug)]
pub struct Indexed(Option<Index>);

impl Indexed {
    /// Opens the index of an image in the store.
    pub fn open(store: &Store, image: &Image) -> Result<Indexed> {
        let index = image
            .chain_id()
            .map(|chain| Index::open(&store.index_path(chain)));
        index.transpose().map(Indexed)
    }
}

impl Below for Indexed {
    fn child(&self, dir: u32, name: &[u8]) -> Result<Option<(u32, bool)>> {
        let Some(index) = &self.0 else {
            return Ok(None);
        };
        let found = index.lookup(dir, name)?;
        Ok(found.map(|entry| (entry.inode, entry.kind == Kind::Dir)))
    }

    fn names(&self, ino: u64) -> Result<Vec<Path>> {
        let Some((index, number)) = self.0.as_ref().zip(number_of(NodeId(ino))) else {
            return Ok(Vec::new());
        };
        if number >= index.inodes() {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for (dir, name) in index.links(number)? {
            let mut path: Path = vec![name.into()];
            let mut at = dir;
            while let Some((parent, name)) = index.place(at)? {
                path.push(name.into());
                at = parent;
            }
            path.reverse();
            all.push(path);
        }
        Ok(all)
    }
}

/// Makes an image of `image` and what a container over it has changed; `upper` and `mount` are the
/// container's. With nothing changed there is no new layer, but a new step.
pub fn commit(
    store: &Store,
    image: &Image,
    (upper, mount): (BorrowedFd<'_>, BorrowedFd<'_>),
    said: &Said,
    names: &[Reference],
) -> Result<Image> {
    let mut manifest = image.parts.clone();
    let config_type = manifest.config().media_type().to_string();
    let is_docker = config_type == DOCKER_CONFIG;
    // as it stands: it may have fields that are Docker's, or another tool's
    let bytes = store.document(manifest.config())?;
    let mut config: Value = serde_json::from_slice(&bytes)
        .map_err(|e| Error::because(Errno::EBADMSG, format!("configuration {}: {e}", image.id)))?;
    // before anything is written: one that cannot be done is no half commit
    change(&mut config, is_docker, &said.changes)?;
    let layer = write_layer(store, image, upper, mount).context(|| "the new layer")?;
    let created = super::now();
    let mut step = History::default();
    step.set_created(Some(created.clone()));
    step.set_created_by(Some(said.created_by.clone()));
    step.set_author(said.author.clone());
    step.set_comment(said.comment.clone());
    step.set_empty_layer(layer.is_none().then_some(true));
    let mut diff_ids = image.diff_ids.clone();
    if let Some((mut blob, diff_id)) = layer {
        if is_docker {
            blob.set_media_type(DOCKER_LAYER.into());
        }
        manifest.layers_mut().push(blob);
        diff_ids.push(diff_id);
        Prepare.finish(store, &diff_ids)?;
    }
    let mut history = image.config.history().clone().unwrap_or_default();
    history.push(step);
    config["rootfs"]["diff_ids"] = json!(diff_ids);
    config["history"] = json!(history);
    config["created"] = json!(created);
    if let Some(author) = &said.author {
        config["author"] = json!(author);
    }
    let config = store.put_document(&config_type, &oci::render(&config)?)?;
    manifest.set_config(config);
    let media_type = image.manifest.media_type().to_string();
    let manifest = store.put_document(&media_type, &oci::render(&manifest)?)?;
    match names {
        [] => store.keep(&manifest)?,
        names => names
            .iter()
            .try_for_each(|name| store.tag(name, &manifest))?,
    }
    store.image(&manifest)
}

/// Has instructions change a configuration, of Docker's type or of OCI's.
pub(super) fn change(config: &mut Value, is_docker: bool, all: &[Instruction]) -> Result<()> {
    let keeps = match is_docker {
        true => Keeps::Docker,
        false => Keeps::Oci,
    };
    let mut edit = Edit::new(config, keeps)?;
    all.iter().try_for_each(|one| edit.apply(one))
}

/// What the root has become, if it is not what the image says.
fn changed_root(store: &Store, image: &Image, mount: BorrowedFd<'_>) -> Result<Option<Entry>> {
    let at = Loc::Fd(mount);
    let now = entry_of(&Vec::new(), at, &at.stat()?)?;
    let was = root_meta(store, image)?.map(Item::Dir);
    Ok(now.filter(|entry| was.as_ref() != Some(&entry.item)))
}

/// Writes the changes as a layer: its blob and its diff ID; none if nothing was changed.
fn write_layer(
    store: &Store,
    image: &Image,
    upper: BorrowedFd<'_>,
    mount: BorrowedFd<'_>,
) -> Result<Option<(Descriptor, Digest)>> {
    let index = Indexed::open(store, image)?;
    let pages = Pages::new(room(store));
    let mut writer = LayerWriter::within(new_layer(store)?, &pages)?;
    let (mut packer, mut changed) = (Packer::new(&pages)?, false);
    // the root is nobody's entry, so no walk comes by it
    let root = changed_root(store, image, mount).context(|| "/")?;
    if let Some(root) = &root {
        changed = true;
        writer.add(root, &mut std::io::empty())?;
    }
    changes(upper, mount, &index, &pages, &mut |change| {
        changed = true;
        packer.pack(change, &mut |entry, data| writer.add(entry, data))
    })?;
    let both = (upper, mount);
    packer.pack_other_names(both, &index, root.is_some(), &mut |entry, data| {
        writer.add(entry, data)
    })?;
    drop((packer, pages));
    if !changed {
        return Ok(None);
    }
    seal(store, writer.finish()?).map(Some)
}

/// A layer that is being written: what goes in is digested, then compressed to a blob.
pub(super) type NewLayer = Digesting<GzEncoder<BlobWriter>>;

/// Begins a layer.
pub(super) fn new_layer(store: &Store) -> Result<NewLayer> {
    let gzip = GzEncoder::new(store.blob_writer()?, Compression::default());
    Ok(Digesting::new(gzip))
}

/// Ends a layer, and makes it visible: its blob, its diff ID, and what is unpacked of it.
pub(super) fn seal(store: &Store, layer: NewLayer) -> Result<(Descriptor, Digest)> {
    let (gzip, diff_id) = layer.finish();
    let blob = gzip.finish()?.finish(None)?;
    let descriptor = blob.descriptor(LAYER);
    unpacked(store, diff_id, GzDecoder::new(blob.open()?))?;
    store.publish_blob(blob)?;
    Ok((descriptor, diff_id))
}

/// Unpacks a layer that was just written, unless the store has it.
pub(super) fn unpacked(store: &Store, diff_id: Digest, tar: impl Read) -> Result<()> {
    if store.has_layer(diff_id) {
        return Ok(());
    }
    let stage = store.staging()?;
    let mut tar = Digesting::new(tar);
    let objects = Prepare.unpack(store, &mut tar, diff_id, stage.path())?;
    let facts = LayerFacts {
        size: tar.len(),
        objects,
    };
    if tar.finish().1 != diff_id {
        let why = "what was written is not what is read again";
        return Err(Error::because(Errno::EIO, why));
    }
    store.publish_layer(diff_id, stage, &facts)
}
