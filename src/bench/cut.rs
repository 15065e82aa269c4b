//! Cutting one tree into a stack of layers that, merged, shows that tree again.
//!
//! Every file goes to a random layer. Beneath some lies an older version, which must not be
//! seen; some names exist in a lower layer only to be whited out above; some directories are
//! opaque over others. So each peer has to do what an image asks of it, and a wrong merge shows.

use super::failure::{Failure, Result, Step, go_on};
use super::manifest::{self, Entry, Manifest, parent};
use super::rng::Rng;
use super::transfer::Copier;
use crate::sys::{Loc, xattr};
use crate::vfs::Kind;
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a stack has of what an image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Of 100 files, how many have an older version beneath.
    pub shadowed: usize,
    /// For 100 files, how many deleted ones there are.
    pub deleted: usize,
    /// Of 100 directories without subdirectories, how many are opaque.
    pub opaque: usize,
}

impl Mix {
    /// As images are.
    pub const USUAL: Mix = Mix {
        shadowed: 10,
        deleted: 5,
        opaque: 5,
    };

    /// Without whiteouts and opaque directories, for those who do not know them.
    #[must_use]
    pub fn without_marks(self) -> Mix {
        Mix {
            deleted: 0,
            opaque: 0,
            ..self
        }
    }
}

/// A stack of layers on disk.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Topmost first.
    pub layers: Vec<PathBuf>,
    /// The same tree in layers without whiteouts and opaque directories, where a peer needs that.
    pub bare: Vec<PathBuf>,
    /// Files with an older version beneath.
    pub shadowed: usize,
    /// Whiteouts.
    pub whiteouts: usize,
    /// Opaque directories.
    pub opaque: usize,
}

/// What goes where, before anything is written.
struct Plan {
    mix: Mix,
    /// Layer of every file that is no directory, by its place in the manifest.
    home: HashMap<usize, usize>,
    /// Paths with contents that must stay hidden, and their layers.
    hidden: Vec<(usize, Vec<u8>)>,
    whiteouts: Vec<(usize, Vec<u8>)>,
    opaque: Vec<(usize, Vec<u8>)>,
    shadowed: usize,
    /// Layers that need a directory.
    dirs: BTreeMap<Vec<u8>, BTreeSet<usize>>,
}

/// Cuts the tree at `source` into `depth` layers, made in `out` as `0` (topmost), `1`, ...
pub fn cut(
    source: &Path,
    manifest: &Manifest,
    depth: usize,
    (mix, seed): (Mix, u64),
    out: &Path,
) -> Result<Stack> {
    if depth == 0 {
        return Err(Failure::new("a stack needs at least one layer"));
    }
    let plan = Plan::new(manifest, depth, mix, seed);
    let layers: Vec<PathBuf> = (0..depth).map(|i| out.join(i.to_string())).collect();
    for (i, layer) in layers.iter().enumerate() {
        go_on()?;
        plan.write(source, manifest, i, layer)
            .at("cut into", layer)?;
    }
    Ok(Stack {
        layers,
        bare: Vec::new(),
        shadowed: plan.shadowed,
        whiteouts: plan.whiteouts.len(),
        opaque: plan.opaque.len(),
    })
}

impl Plan {
    fn new(manifest: &Manifest, depth: usize, mix: Mix, seed: u64) -> Plan {
        let mut plan = Plan {
            mix,
            home: HashMap::new(),
            hidden: Vec::new(),
            whiteouts: Vec::new(),
            opaque: Vec::new(),
            shadowed: 0,
            dirs: BTreeMap::new(),
        };
        let mut rng = Rng::new(seed, &format!("cut {depth}"));
        plan.spread(manifest, depth, &mut rng);
        if depth > 1 {
            plan.delete(manifest, depth, &mut rng);
            plan.cover(manifest, depth, &mut rng);
        }
        plan
    }

    /// Gives every file its layer, and some an older version beneath.
    fn spread(&mut self, manifest: &Manifest, depth: usize, rng: &mut Rng) {
        let mut together: HashMap<u64, usize> = HashMap::new();
        for (i, entry) in manifest.entries.iter().enumerate() {
            let layer = rng.below(depth);
            if entry.kind == Kind::Dir {
                self.need(&entry.path, layer);
                continue;
            }
            // all names of one file are in one layer, else they would be several files
            let layer = match entry.links {
                0 => layer,
                ino => *together.entry(ino).or_insert(layer),
            };
            self.home.insert(i, layer);
            self.need(parent(&entry.path), layer);
            if layer + 1 < depth && rng.chance(self.mix.shadowed) {
                let beneath = layer + 1 + rng.below(depth - layer - 1);
                self.hide(beneath, entry.path.clone());
                self.shadowed += 1;
            }
        }
    }

    /// Adds files that a higher layer deleted.
    fn delete(&mut self, manifest: &Manifest, depth: usize, rng: &mut Rng) {
        let dirs: Vec<&Entry> = manifest.of(Kind::Dir).collect();
        let n = manifest.entries.len() * self.mix.deleted / 100;
        for i in 0..n.min(dirs.len() * 50) {
            let Some(dir) = dirs.get(rng.below(dirs.len())) else {
                return;
            };
            let mut path = dir.path.clone();
            path.extend_from_slice(format!("/deleted-{i}.old").as_bytes());
            let above = rng.below(depth - 1);
            let beneath = above + 1 + rng.below(depth - above - 1);
            self.hide(beneath, path.clone());
            self.need(&dir.path, above);
            self.whiteouts.push((above, path));
        }
    }

    /// Makes some directories opaque, with something beneath that they hide.
    fn cover(&mut self, manifest: &Manifest, depth: usize, rng: &mut Rng) {
        if !rustix::process::geteuid().is_root() {
            return; // the mark is a trusted attribute
        }
        let with_subdirs: BTreeSet<&[u8]> =
            manifest.of(Kind::Dir).map(|e| parent(&e.path)).collect();
        for dir in manifest.of(Kind::Dir) {
            if with_subdirs.contains(&*dir.path) || !rng.chance(self.mix.opaque) {
                continue;
            }
            // everything that is to be seen must lie at the mark or above it
            let Some(lowest) = self.dirs.get(&dir.path).and_then(|l| l.last().copied()) else {
                continue;
            };
            if lowest + 1 < depth {
                let mut path = dir.path.clone();
                path.extend_from_slice(b"/covered.old");
                self.hide(lowest + 1 + rng.below(depth - lowest - 1), path);
                self.opaque.push((lowest, dir.path.clone()));
            }
        }
    }

    fn hide(&mut self, layer: usize, path: Vec<u8>) {
        self.need(parent(&path), layer);
        self.hidden.push((layer, path));
    }

    /// Records that `layer` must have the directory, and so all above it.
    fn need(&mut self, dir: &[u8], layer: usize) {
        let mut at = dir;
        while !at.is_empty() {
            if !self.dirs.entry(at.to_vec()).or_default().insert(layer) {
                return;
            }
            at = parent(at);
        }
    }

    fn write(&self, source: &Path, manifest: &Manifest, layer: usize, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        let (src, dst) = (manifest::open(source)?, manifest::open(to)?);
        let mut copier = Copier::new(src.as_fd(), dst.as_fd());
        let here = |e: &Entry| self.dirs.get(&e.path).is_some_and(|l| l.contains(&layer));
        for dir in manifest.of(Kind::Dir).filter(|e| here(e)) {
            copier.copy(dir)?;
        }
        for (i, entry) in manifest.entries.iter().enumerate() {
            if self.home.get(&i) == Some(&layer) {
                let path = OsStr::from_bytes(&entry.path);
                copier.copy(entry).at("copy", Path::new(path))?;
            }
        }
        self.marks(dst.as_fd(), layer)?;
        for dir in manifest.of(Kind::Dir).filter(|e| here(e)) {
            copier.finish(&dir.path)?;
        }
        copier.finish(b"")
    }

    fn marks(&self, layer_root: BorrowedFd<'_>, layer: usize) -> Result<()> {
        let of = |list: &'_ [(usize, Vec<u8>)]| -> Vec<Vec<u8>> {
            list.iter()
                .filter(|(l, _)| *l == layer)
                .map(|(_, p)| p.clone())
                .collect()
        };
        for path in of(&self.hidden) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(layer_root, &*path, flags, Mode::from_raw_mode(0o644))?;
            File::from(fd).write_all(b"an old version that nobody may see\n")?;
        }
        for path in of(&self.whiteouts) {
            let none = Mode::empty();
            rustix::fs::mknodat(layer_root, &*path, FileType::CharacterDevice, none, 0)
                .step("make a whiteout")?;
        }
        for path in of(&self.opaque) {
            xattr::set(
                Loc::At(layer_root, &path),
                b"trusted.overlay.opaque",
                b"y",
                0,
            )?;
        }
        Ok(())
    }
}
