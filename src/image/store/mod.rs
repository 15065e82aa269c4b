//! The store: images on disk, for several processes at once.
//!
//! A *store* is a directory that is an OCI image layout, which other tools read in place, with a
//! folder `vellum/` beside, which holds what is made of the blobs. `docs/store.md` has every file.
//!
//! * **Nothing is seen before it is whole.** A file or folder is made in `vellum/tmp`, synced,
//!   renamed to its place, and its folder synced. A crash leaves something in `tmp`, or something
//!   that no name reaches, and neither is ever taken for anything.
//! * **Blobs, layers and objects never change.** They are named by digests. The one file that does is
//!   `index.json`: the names.
//! * **Two locks.** A [`Store`] holds the store's lock, shared, for as long as it lives: nothing goes
//!   away meanwhile. [`Exclusive`] holds it alone, and may remove. The names' lock is held alone for
//!   the moment in which `index.json` is read, changed and written; it is taken after the store's.
//! * What outlives a `Store`, as a mount does, takes a [`Pin`]: its image stays.

mod blobs;
mod collect;
mod contents;
mod images;
mod layers;
mod lock;
mod mend;
mod names;
mod pins;
mod publish;
#[cfg(test)]
pub(super) mod stop;

pub use blobs::{BlobWriter, PendingBlob};
pub(super) use collect::disk_use;
pub use collect::{Garbage, Usage};
pub use contents::StoreContents;
pub use images::{Image, same_count};
pub use layers::{INFO, LayerFacts, LayerInfo};
pub(super) use lock::Lock;
pub use names::Entry;
pub use pins::{Pin, User};
pub use publish::{Staging, Temp};
pub(super) use publish::{remove, replace, sync_parent};

use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fs;
use std::io::ErrorKind;
use std::ops::Deref;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file that says that a folder is an OCI image layout.
pub const LAYOUT: &str = "oci-layout";
/// What is in it.
pub const LAYOUT_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file of names.
pub const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";
const OWN: &str = "vellum";
const VERSION: &str = "vellum/version";
/// Version of the folder `vellum/`. It grows when an older program would misread a newer folder.
const FORMAT: &str = "1\n";
const LOCK: &str = "vellum/lock";
const NAMES_LOCK: &str = "vellum/names.lock";
const TMP: &str = "vellum/tmp";
const LAYERS: &str = "vellum/layers";
const OBJECTS: &str = "vellum/objects";
const CHAINS: &str = "vellum/index";
const UPPERS: &str = "vellum/uppers";
const PINS: &str = "vellum/pins";

/// A store that is open. Nothing in it goes away while it is.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Where the store is if nobody says: `/var/lib/vellum` for root, else
    /// `$XDG_DATA_HOME/vellum` or `~/.local/share/vellum`.
    pub fn default_root() -> Result<PathBuf> {
        if nix::unistd::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/vellum"));
        }
        let absolute = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        match (absolute("XDG_DATA_HOME"), absolute("HOME")) {
            (Some(data), _) => Ok(data.join("vellum")),
            (None, Some(home)) => Ok(home.join(".local/share/vellum")),
            (None, None) => Err(Error::because(
                Errno::ENOENT,
                "neither XDG_DATA_HOME nor HOME says where the image store is; give --root",
            )),
        }
    }

    /// Opens a store that is there; waits while another process removes something from it.
    pub fn open(root: &Path) -> Result<Store> {
        // whoever serves a mount goes to another directory
        let root = std::path::absolute(root)?;
        check_format(&root)?;
        if !is_empty(&root.join(TMP))? {
            sweep_if_alone(&root)?;
        }
        Ok(Store {
            _lock: Lock::shared(&root.join(LOCK))?,
            root,
        })
    }

    /// Opens a store, and makes what is missing of it. An OCI image layout that somebody else made
    /// becomes one.
    pub fn create(root: &Path) -> Result<Store> {
        make(root).context(|| format!("image store {}", root.display()))?;
        Store::open(root)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory for writable layers; what is in it is no business of the store.
    pub fn uppers(&self) -> PathBuf {
        self.root.join(UPPERS)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }
}

/// A store that no other process uses: things may be removed from it.
#[derive(Debug)]
pub struct Exclusive(Store);

impl Deref for Exclusive {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.0
    }
}

impl Exclusive {
    /// Waits until no other process uses the store.
    pub fn open(root: &Path) -> Result<Exclusive> {
        check_format(root)?;
        Exclusive::with(root, Lock::exclusive(&root.join(LOCK))?)
    }

    /// The same, if no other process uses the store now.
    pub fn try_open(root: &Path) -> Result<Option<Exclusive>> {
        check_format(root)?;
        match Lock::try_exclusive(&root.join(LOCK))? {
            Some(lock) => Exclusive::with(root, lock).map(Some),
            None => Ok(None),
        }
    }

    fn with(root: &Path, lock: Lock) -> Result<Exclusive> {
        let store = Store {
            root: root.to_owned(),
            _lock: lock,
        };
        publish::sweep(&store.path(TMP))?;
        store.sweep_containers()?;
        store.sweep_volumes()?;
        Ok(Exclusive(store))
    }
}

/// Empties `tmp`, unless somebody works there, or it is not ours to change.
fn sweep_if_alone(root: &Path) -> Result<()> {
    match Exclusive::try_open(root) {
        Err(e) if matches!(e.errno(), Errno::EACCES | Errno::EPERM | Errno::EROFS) => Ok(()),
        swept => swept.map(drop),
    }
}

fn check_format(root: &Path) -> Result<()> {
    match absent_ok(fs::read(root.join(VERSION)).map_err(Error::from)) {
        Ok(Some(text)) if text == FORMAT.as_bytes() => Ok(()),
        Ok(Some(text)) => Err(Error::because(
            Errno::EOPNOTSUPP,
            format!(
                "image store {}: it has format {}, and this program knows format {}",
                root.display(),
                String::from_utf8_lossy(&text).trim_end(),
                FORMAT.trim_end()
            ),
        )),
        Ok(None) => Err(Error::because(
            Errno::ENOENT,
            format!("no image store at {}", root.display()),
        )),
        Err(e) => Err(e.context(format!("image store {}", root.display()))),
    }
}

/// Makes what is missing; the version comes last, so that a store without one is not whole yet.
fn make(root: &Path) -> Result<()> {
    if root.join(VERSION).exists() {
        return Ok(());
    }
    // layers hold files that only some may read: the folder is its owner's alone
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700).create(root)?;
    // one makes it, the others find it made
    let _making = Lock::exclusive(root)?;
    if root.join(VERSION).exists() {
        return Ok(());
    }
    refuse_other_content(root)?;
    // our own folder first: by it a store that a crash left half made is known
    for dir in [OWN, BLOBS, TMP, LAYERS, OBJECTS, CHAINS, UPPERS, PINS] {
        let path = root.join(dir);
        private
            .create(&path)
            .context(|| path.display().to_string())?;
        publish::sync_parent(&path)?;
    }
    for lock in [LOCK, NAMES_LOCK] {
        let path = root.join(lock);
        match fs::File::create_new(&path) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => {
                return Err(Error::from(e).context(path.display()));
            }
            _ => {}
        }
    }
    let _names = Lock::exclusive(&root.join(NAMES_LOCK))?;
    let empty = r#"{"schemaVersion":2,"manifests":[]}"#;
    for (name, text) in [(LAYOUT, LAYOUT_TEXT), (INDEX, empty), (VERSION, FORMAT)] {
        if !root.join(name).exists() {
            publish::replace(&root.join(TMP), &root.join(name), text.as_bytes())?;
        }
    }
    publish::sync_dir(root)
}

/// Only an empty directory or an OCI image layout becomes a store.
fn refuse_other_content(root: &Path) -> Result<()> {
    if root.join(LAYOUT).exists() || root.join(OWN).exists() || is_empty(root)? {
        return Ok(());
    }
    Err(Error::because(
        Errno::ENOTEMPTY,
        "the directory has other things in it and is no OCI image layout",
    ))
}

fn is_empty(dir: &Path) -> Result<bool> {
    let mut entries = fs::read_dir(dir).context(|| dir.display().to_string())?;
    Ok(entries.next().is_none())
}

#[cfg(test)]
mod tests;
