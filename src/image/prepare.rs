//! Preparing: what a mount needs of an image, made of its layers.
//!
//! A layer is prepared once, whichever images have it, when its tar goes by; an image once, when
//! all its layers are there: their tables are merged, and the tree becomes an index.

use super::digest::Digest;
use super::index::{self, Index};
use super::layer;
use super::load::Unpack;
use super::lower::ImageLower;
use super::merge::Merge;
use super::oci::{Descriptor, chain_id};
use super::spill::{Digests, Room};
use super::store::{Image, Store, StoreContents, Temp};
use super::table::Table;
use super::unpack::{TABLE, unpack};
use crate::lower::{EmptyLower, Lower};
use crate::vfs::cookie::CookieKey;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much memory the tree of an image may take while its index is made. So much is enough for the files of
/// any usual image, some 700,000; of one with more, the rest is in temporary files meanwhile.
const MOST_MEMORY: usize = 128 << 20;

/// Room for what grows with the number of files, beside a store.
pub fn room(store: &Store) -> Room {
    Room::limited(MOST_MEMORY, &store.scratch())
}

/// Prepares layers and images.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prepare;

impl Unpack for Prepare {
    fn unpack(
        &self,
        store: &Store,
        layer_tar: &mut dyn Read,
        _: Digest,
        stage: &Path,
    ) -> Result<Digests> {
        let known = |object| store.has_object(object);
        let unpacked = unpack(layer_tar, layer::Limits::default(), stage, &known)?;
        Ok(unpacked.objects)
    }

    fn finish(&self, store: &Store, diff_ids: &[Digest]) -> Result<()> {
        let Some(chain) = chain_id(diff_ids) else {
            return Ok(()); // an image without layers needs no index
        };
        if store.has_index(chain) {
            return Ok(());
        }
        write_index(store, chain, diff_ids)
    }
}

fn write_index(store: &Store, chain: Digest, diff_ids: &[Digest]) -> Result<()> {
    store.publish_index(chain, fresh_index(store, diff_ids)?)
}

/// The index of a stack of layers, made of their tables, that nobody sees yet.
pub fn fresh_index(store: &Store, diff_ids: &[Digest]) -> Result<Temp> {
    let mut temp = store.temp()?;
    let mut out = BufWriter::with_capacity(1 << 20, temp.file());
    index::write(&tree(store, diff_ids)?, &mut out)?;
    out.flush()?;
    drop(out);
    Ok(temp)
}

/// The tree of an image with these layers, lowest first.
fn tree(store: &Store, diff_ids: &[Digest]) -> Result<super::tree::Tree> {
    let mut merge = Merge::within(room(store))?;
    for diff_id in diff_ids {
        let path = store.layer_path(*diff_id).join(TABLE);
        let said = || format!("layer {diff_id}");
        let file = File::open(&path).context(said)?;
        let mut table = Table::open(BufReader::with_capacity(1 << 18, file)).context(said)?;
        merge.add(*diff_id, &mut table)?;
    }
    Ok(merge.finish())
}

/// Makes the index of an image where it is missing, damaged, or of another version: it is a cache.
pub fn complete(store: &Store, image: &Image) -> Result<()> {
    complete_layers(store, &image.diff_ids, image.chain_id())
}

fn complete_layers(store: &Store, diff_ids: &[Digest], chain: Option<Digest>) -> Result<()> {
    if let Some(missing) = store.first_missing(diff_ids)? {
        let why = format!("layer {missing} of the image is not unpacked; load the image again");
        return Err(Error::because(Errno::ENOENT, why));
    }
    let Some(chain) = chain else {
        return Ok(());
    };
    match Index::open(&store.index_path(chain)) {
        Ok(_) => Ok(()),
        Err(e) => {
            log::debug!("index {chain} is made again: {e}");
            write_index(store, chain, diff_ids)
        }
    }
}

/// What a mount of an image is made of, in the process that will serve it. Its documents were read by whoever
/// made it, and are not read again: those of an image with hundreds of layers take as long as all else.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Where the store is.
    root: PathBuf,
    /// The image's manifest.
    manifest: Descriptor,
    diff_ids: Vec<Digest>,
    chain: Option<Digest>,
    kept: bool,
    complete: bool,
}

impl Recipe {
    /// For an image in the store at `root`.
    pub fn of(root: &Path, image: &Image) -> Recipe {
        Recipe {
            root: root.to_owned(),
            manifest: image.manifest.clone(),
            diff_ids: image.diff_ids.clone(),
            chain: image.chain_id(),
            kept: false,
            complete: false,
        }
    }

    /// Something else keeps the image in the store for as long as its tree is open: a container that is
    /// not removed before.
    pub fn kept(self, kept: bool) -> Recipe {
        Recipe { kept, ..self }
    }

    /// Whoever has it opened has found the image complete, in a store that stays open until the
    /// tree is, so that nothing goes away meanwhile: not to be looked at again.
    pub fn found_complete(self) -> Recipe {
        let complete = true;
        Recipe { complete, ..self }
    }

    /// Opens the tree of the image, which stays in the store for as long as that is open.
    pub fn open(&self, key: CookieKey) -> Result<Arc<dyn Lower>> {
        let store = Store::open(&self.root)?;
        if !self.complete {
            complete_layers(&store, &self.diff_ids, self.chain)?;
        }
        let Some(chain) = self.chain else {
            return Ok(Arc::new(EmptyLower));
        };
        let pin = match self.kept {
            true => None,
            false => Some(store.pin(&self.manifest)?),
        };
        let contents = StoreContents::new(&store, pin);
        let index = store.index_path(chain);
        Ok(Arc::new(ImageLower::open(&index, Box::new(contents), key)?))
    }
}
