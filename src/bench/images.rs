//! The stacks as stored images: their layers in an image store of the run, for the peers that mount images.

use super::cold;
use super::failure::{Failure, Result, Step, go_on};
use super::fixture::made;
use super::peers::{How, Launch, Mounted, Peer, Places};
use super::scratch::Scratch;
use crate::image::compose::{Part, compose, put_layer};
use crate::image::reference::Reference;
use crate::image::store::Store;
use crate::image::unpack::PACK;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An image that can be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The store.
    pub root: PathBuf,
    /// The name of the image in it.
    pub name: String,
}

/// Mounts an image, to be read.
pub fn mount(
    stored: &Stored,
    vellum: &Path,
    scratch: &Scratch,
    limit: Duration,
) -> Result<Mounted> {
    let dir = scratch.dir("image")?;
    let place = |name: &str| dir.join(name);
    let places = Places {
        layers: Vec::new(),
        upper: place("upper"),
        work: place("work"),
        mnt: place("merged"),
        log: place("log"),
        image: Some(stored.clone()),
    };
    fs::create_dir(&places.mnt).at("mkdir", &places.mnt)?;
    let text = |path: &Path| match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::new(format!("{}: no text", path.display()))),
    };
    let (vellum, root) = (text(vellum)?, text(&stored.root)?);
    let words = [
        vellum.as_str(),
        "mount",
        "--read-only",
        "--root",
        &root,
        &stored.name,
        "{mnt}",
    ];
    Peer {
        name: stored.name.clone(),
        how: How::Fuse(Launch::Words(words.map(str::to_owned).to_vec())),
        version: String::new(),
    }
    .mount(&places, limit)
}

/// What a file was: its inode, size and time of change, which every write moves.
type Was = (u64, u64, i64, i64);

/// The images of a run, made when they are first asked for.
pub struct Images<'a> {
    scratch: &'a Scratch,
    store: OnceCell<PathBuf>,
    /// A layer is packed once, whichever stacks have it.
    parts: RefCell<HashMap<PathBuf, Part>>,
    images: RefCell<HashMap<Vec<PathBuf>, Stored>>,
    /// What nothing may change.
    files: RefCell<Vec<(PathBuf, Was)>>,
}

impl<'a> Images<'a> {
    /// None made yet.
    pub fn new(scratch: &'a Scratch) -> Images<'a> {
        Images {
            scratch,
            store: OnceCell::new(),
            parts: RefCell::default(),
            images: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// The image of these layers, topmost first.
    pub fn of(&self, layers: &[PathBuf]) -> Result<Stored> {
        if let Some(stored) = self.images.borrow().get(layers) {
            return Ok(stored.clone());
        }
        let store = self.open().step("the image store of the run")?;
        let mut parts = Vec::new();
        for layer in layers.iter().rev() {
            go_on()?;
            parts.push(self.part(&store, layer)?);
        }
        let name = format!("bench.invalid/stack:{}", self.images.borrow().len());
        let reference: Reference = name.parse().map_err(Failure::new)?;
        let image = compose(&store, &parts, serde_json::json!({}), Some(&reference))
            .step("make an image of the stack")?;
        if let Some(chain) = image.chain_id() {
            self.watch(store.index_path(chain))?;
        }
        let root = store.root().to_owned();
        let stored = Stored { root, name };
        let mut images = self.images.borrow_mut();
        images.insert(layers.to_vec(), stored.clone());
        Ok(stored)
    }

    /// The files of the store that hold the contents of a layer of an image that was made.
    pub fn contents(&self, layer: &Path) -> Result<Vec<PathBuf>> {
        let store = self.open()?;
        let parts = self.parts.borrow();
        let part = parts
            .get(layer)
            .ok_or_else(|| Failure::new(format!("{} is in no image", layer.display())))?;
        let mut files = vec![store.layer_path(part.diff_id).join(PACK)];
        for object in store.layer_info(part.diff_id)?.objects {
            files.push(store.object_path(object));
        }
        Ok(files)
    }

    /// The files of images that are not what they were.
    pub fn changed(&self) -> Vec<PathBuf> {
        let files = self.files.borrow();
        let other = |(path, was): &&(PathBuf, Was)| look(path).ok() != Some(*was);
        files.iter().filter(other).map(|(p, _)| p.clone()).collect()
    }

    fn open(&self) -> Result<Store> {
        let root = made(&self.store, || {
            let root = self.scratch.dir("store")?;
            Store::create(&root)?;
            Ok(root)
        })?;
        Ok(Store::open(root)?)
    }

    fn part(&self, store: &Store, layer: &Path) -> Result<Part> {
        if let Some(part) = self.parts.borrow().get(layer) {
            return Ok(part.clone());
        }
        let part = put_layer(store, layer).step("store a layer")?;
        let mut parts = self.parts.borrow_mut();
        parts.insert(layer.to_owned(), part.clone());
        drop(parts);
        for file in self.contents(layer)? {
            cold::read_in_file(&file)?;
            self.watch(file)?;
        }
        Ok(part)
    }

    fn watch(&self, file: PathBuf) -> Result<()> {
        let was = look(&file)?;
        self.files.borrow_mut().push((file, was));
        Ok(())
    }
}

fn look(path: &Path) -> Result<Was> {
    let m = fs::metadata(path).at("stat", path)?;
    Ok((m.ino(), m.len(), m.ctime(), m.ctime_nsec()))
}
