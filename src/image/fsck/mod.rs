//! Checking a store, and mending it.
//!
//! A *fault* is a file that is not what its name, or what refers to it, says: missing, damaged, or
//! other than what it is made of. Blobs are the truth: each is compared with its digest, and each
//! layer's is unpacked again and compared with what the store has of it; so everything that is made
//! of blobs can be mended as long as they are whole. A blob itself can only be loaded again.
//!
//! What nothing refers to is no fault. It is one if it is damaged: loading would take it for what
//! its name says.

mod documents;
mod indexes;
mod layers;

use super::digest::{Digest, Digesting};
use super::load::Progress;
use super::oci::Descriptor;
use super::store::{Exclusive, Garbage, Store};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// What something in a store is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// `oci-layout`.
    Layout,
    /// `index.json`.
    Names,
    /// A blob.
    Blob(Digest),
    /// An unpacked layer, by its diff ID.
    Layer(Digest),
    /// An object.
    Object(Digest),
    /// An index, by its chain ID.
    Index(Digest),
    /// A container's record.
    Container(String),
    /// The pins.
    Pins,
}

/// What can be done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// It can be mended.
    Repair,
    /// It was mended.
    Mended,
    /// The image has to be loaded again.
    Reload,
    /// The image has to be loaded again, after mending has taken the damaged file out of the way.
    RepairAndReload,
    /// The image has to be loaded again; then it can be mended.
    ReloadAndRepair,
    /// None that is known.
    None,
}

/// Something is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub thing: Thing,
    /// In words: `pack of layer sha256:...`.
    pub what: String,
    /// Its file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
    /// Names of the images that it concerns, and containers.
    pub images: Vec<String>,
    /// What can be done.
    pub remedy: Remedy,
}

impl Fault {
    /// True if it is still there.
    pub fn is_left(&self) -> bool {
        self.remedy != Remedy::Mended
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.what, self.path.display(), self.why)?;
        if !self.images.is_empty() {
            write!(f, " [{}]", self.images.join(", "))?;
        }
        f.write_str(match self.remedy {
            Remedy::Repair => "; --repair mends it",
            Remedy::Mended => "; mended",
            Remedy::Reload => "; load the image again",
            Remedy::RepairAndReload => "; --repair removes it, then load the image again",
            Remedy::ReloadAndRepair => "; load the image again, then --repair mends it",
            Remedy::None => "",
        })
    }
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All faults, also those that were mended.
    pub faults: Vec<Fault>,
    /// What nothing refers to, if that can be told.
    pub unused: Option<Garbage>,
    /// How many images were looked at.
    pub images: usize,
    /// How many layers.
    pub layers: usize,
}

impl Report {
    /// How many faults are still there.
    pub fn left(&self) -> usize {
        self.faults.iter().filter(|f| f.is_left()).count()
    }
}

/// Checks everything, and changes nothing.
pub fn check(store: &Store, progress: &dyn Progress) -> Result<Report> {
    run(Fsck::new(store, None, progress))
}

/// Checks everything, and mends what can be mended. Nothing that is whole is removed.
pub fn repair(store: &Exclusive, progress: &dyn Progress) -> Result<Report> {
    run(Fsck::new(store, Some(store), progress))
}

fn run(mut fsck: Fsck<'_>) -> Result<Report> {
    fsck.documents()?;
    let read = |fault: &Fault| fault.thing == Thing::Layout;
    fsck.all_known = fsck.report.faults.iter().all(read);
    fsck.all_layers()?;
    fsck.other_blobs()?;
    fsck.other_objects()?;
    fsck.indexes()?;
    // what a document that cannot be read refers to is not known
    fsck.report.unused = fsck.store.garbage(false).ok();
    Ok(fsck.finish())
}

/// A layer that images have.
#[derive(Debug, Default)]
struct LayerUse {
    /// Its blobs: the same tar can be compressed in several ways.
    blobs: BTreeMap<Digest, Descriptor>,
}

/// A check on its way.
struct Fsck<'a> {
    store: &'a Store,
    mend: Option<&'a Exclusive>,
    progress: &'a dyn Progress,
    report: Report,
    /// Who refers to what.
    users: BTreeMap<Thing, BTreeSet<String>>,
    /// What was looked at already, and whether it is whole.
    judged: BTreeMap<Thing, bool>,
    layers: BTreeMap<Digest, LayerUse>,
    /// Stacks of layers, lowest first, by chain ID.
    chains: BTreeMap<Digest, Vec<Digest>>,
    images: BTreeSet<Digest>,
    /// All documents were read: what has no user then is used by nothing.
    all_known: bool,
}

impl<'a> Fsck<'a> {
    fn new(store: &'a Store, mend: Option<&'a Exclusive>, progress: &'a dyn Progress) -> Fsck<'a> {
        Fsck {
            store,
            mend,
            progress,
            report: Report::default(),
            users: BTreeMap::new(),
            judged: BTreeMap::new(),
            layers: BTreeMap::new(),
            chains: BTreeMap::new(),
            images: BTreeSet::new(),
            all_known: false,
        }
    }

    fn uses(&mut self, user: &str, thing: Thing) {
        self.users.entry(thing).or_default().insert(user.to_owned());
    }

    /// True if something uses it, as far as that is known.
    fn is_used(&self, thing: &Thing) -> bool {
        !self.all_known || self.users.contains_key(thing)
    }

    fn fault(&mut self, thing: Thing, what: String, path: &Path, why: String, remedy: Remedy) {
        self.judged.insert(thing.clone(), false);
        self.report.faults.push(Fault {
            thing,
            what,
            path: path.to_owned(),
            why,
            images: Vec::new(),
            remedy,
        });
    }

    /// Notes what became of the faults of something.
    fn now(&mut self, thing: &Thing, remedy: Remedy) {
        for fault in &mut self.report.faults {
            if fault.thing == *thing {
                fault.remedy = remedy;
            }
        }
        self.judged.insert(thing.clone(), remedy == Remedy::Mended);
    }

    /// A blob is not what its digest says. It is taken out of the way if that is wanted.
    fn bad_blob(&mut self, digest: Digest, what: &str, why: String) -> Result<()> {
        let thing = Thing::Blob(digest);
        let used = self.is_used(&thing);
        let path = self.store.blob_path(digest);
        let missing = !path.exists();
        let remedy = match (missing, used) {
            (true, _) => Remedy::Reload,
            (false, true) => Remedy::RepairAndReload,
            (false, false) => Remedy::Repair,
        };
        self.fault(
            thing.clone(),
            format!("{what} {digest}"),
            &path,
            why,
            remedy,
        );
        if let Some(store) = self.mend
            && !missing
        {
            store.remove_blob(digest)?;
            let remedy = if used { Remedy::Reload } else { Remedy::Mended };
            self.now(&thing, remedy);
            self.judged.insert(thing, false);
        }
        Ok(())
    }

    fn finish(mut self) -> Report {
        for fault in &mut self.report.faults {
            let users = self.users.get(&fault.thing).into_iter().flatten();
            fault.images = users.cloned().collect();
        }
        self.report.images = self.images.len();
        self.report.layers = self.layers.len();
        self.report
    }
}

/// What is wrong with a file that has to have this digest, if something is.
fn digest_fault(path: &Path, digest: Digest) -> Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) => return unreadable(path, e).map(Some),
    };
    let mut from = BufReader::with_capacity(1 << 18, Digesting::new(file));
    match io::copy(&mut from, &mut io::sink()) {
        Err(e) => unreadable(path, e).map(Some),
        Ok(_) => {
            let (_, is) = from.into_inner().finish();
            Ok((is != digest).then(|| format!("its content has the digest {is}")))
        }
    }
}

/// How a file that cannot be read is told of; what is no fault of the file's is an error.
fn unreadable(path: &Path, e: io::Error) -> Result<String> {
    if e.kind() == io::ErrorKind::NotFound {
        return Ok("missing".to_owned());
    }
    let e = Error::from(e);
    match is_ours(&e) {
        true => Err(e.context(path.display())),
        false => Ok(e.to_string()),
    }
}

/// True for what is wrong with this process or the disk's room, and not with a file.
fn is_ours(e: &Error) -> bool {
    use Errno::{EACCES, EDQUOT, EMFILE, ENFILE, ENOMEM, ENOSPC, EPERM, EROFS};
    [EACCES, EDQUOT, EMFILE, ENFILE, ENOMEM, ENOSPC, EPERM, EROFS].contains(&e.errno())
}

/// Why `is` is not the same file as `should`, if it is not.
fn difference(should: &Path, is: &Path) -> Result<Option<String>> {
    let file = match File::open(is) {
        Ok(file) => file,
        Err(e) => return unreadable(is, e).map(Some),
    };
    let mut right = BufReader::with_capacity(1 << 18, File::open(should)?);
    let mut left = BufReader::with_capacity(1 << 18, file);
    let (want, have) = (
        right.get_ref().metadata()?.len(),
        left.get_ref().metadata()?.len(),
    );
    if want != have {
        return Ok(Some(format!("has {have} bytes, not {want}")));
    }
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut at = 0;
    while at < want {
        let n = usize::try_from(want - at).map_or(a.len(), |left| left.min(a.len()));
        let (a, b) = (&mut a[..n], &mut b[..n]);
        right.read_exact(a)?;
        if let Err(e) = left.read_exact(b) {
            return unreadable(is, e).map(Some);
        }
        if let Some(first) = a.iter().zip(b.iter()).position(|(a, b)| a != b) {
            let at = at + first as u64;
            return Ok(Some(format!("is not what it should be, from byte {at} on")));
        }
        at += n as u64;
    }
    Ok(None)
}
