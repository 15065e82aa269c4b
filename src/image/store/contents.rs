//! Where the data of a mounted image's files is.

use super::{LAYERS, OBJECTS, Pin, Store};
use crate::image::digest::Digest;
use crate::image::lower::Contents;
use crate::image::unpack::PACK;
use crate::vfs::Result;
use crate::vfs::error::Context;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Packs and objects, for as long as a mount needs them. It holds no lock of the store: a pin, or a
/// container, keeps the image, and what is there never changes.
#[derive(Debug)]
pub struct StoreContents {
    root: PathBuf,
    _pin: Option<Pin>,
}

impl StoreContents {
    /// Of the image that `pin` keeps, or a container if there is none.
    pub fn new(store: &Store, pin: Option<Pin>) -> StoreContents {
        StoreContents {
            root: store.root().to_owned(),
            _pin: pin,
        }
    }
}

/// An object's file, under the root of a store.
pub(super) fn object_place(root: &Path, object: Digest) -> PathBuf {
    let hex = object.hex();
    let (folder, _) = hex.split_at(2);
    root.join(OBJECTS).join(folder).join(&hex)
}

impl Contents for StoreContents {
    fn pack(&self, layer: &Digest) -> Result<File> {
        let path = self.root.join(LAYERS).join(layer.hex()).join(PACK);
        File::open(&path).context(|| path.display().to_string())
    }

    fn object(&self, digest: &Digest) -> Result<File> {
        let path = object_place(&self.root, *digest);
        File::open(&path).context(|| path.display().to_string())
    }
}
