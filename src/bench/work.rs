//! What every operation works on: chosen once from the tree, so each peer does the same work.

use super::failure::{Failure, Result};
use super::manifest::{Entry, Manifest, parent};
use super::rng::Rng;
use crate::vfs::Kind;
use std::collections::BTreeMap;
use std::ffi::CString;

/// Files deleted one by one.
const UNLINKED: usize = 300;
/// Small files copied up.
const COPIED: usize = 200;
/// Largest file that counts as small; the rows that read such files say it in words.
const SMALL: u64 = 128 << 10;
/// Entries that `rm -rf` removes, about.
const REMOVED: usize = 600;
/// Entries that are unpacked, about.
const UNPACKED: usize = 2000;

/// The names that the operations use. All paths are relative to the root of the tree.
#[derive(Debug, Default)]
pub struct Work {
    /// Every name in the tree, in random order.
    pub names: Vec<CString>,
    /// Every regular file, in random order.
    pub files: Vec<CString>,
    /// Those of them that are small, in the same order.
    pub small: Vec<CString>,
    /// Every directory, in random order.
    pub dirs: Vec<CString>,
    /// Names that do not exist, in directories that do, as many as there are files.
    pub absent: Vec<CString>,
    /// Regular files to delete.
    pub unlink: Vec<CString>,
    /// Small regular files to change.
    pub change: Vec<CString>,
    /// A directory to remove with all it holds, and how many entries that is.
    pub remove: Option<(CString, usize)>,
    /// What to unpack: names in the order of the archive.
    pub unpack: Vec<Vec<u8>>,
}

impl Work {
    /// Chooses.
    pub fn new(manifest: &Manifest, seed: u64) -> Result<Work> {
        let mut rng = Rng::new(seed, "work");
        let all: Vec<&Entry> = manifest.entries.iter().collect();
        let regular: Vec<&Entry> = manifest.of(Kind::File).collect();
        if regular.is_empty() {
            return Err(Failure::new("the tree has no regular file"));
        }
        let mut mixed = regular.clone();
        rng.shuffle(&mut mixed);
        let (files, small) = (paths(&mixed)?, paths(&only_small(&mixed))?);
        let mut names = paths(&all)?;
        rng.shuffle(&mut names);
        let single: Vec<&Entry> = regular.iter().copied().filter(|e| e.links == 0).collect();
        let dirs: Vec<&Entry> = manifest.of(Kind::Dir).collect();
        let mut dirs = paths(&dirs)?;
        // numbers of their own, so that what is chosen below stays what it was
        Rng::new(seed, "directories").shuffle(&mut dirs);
        Ok(Work {
            dirs,
            absent: absent(&regular, &mut rng)?,
            unlink: some(&single, UNLINKED, &mut rng)?,
            change: some(&only_small(&single), COPIED, &mut rng)?,
            remove: subtree(manifest)?,
            unpack: unpack(manifest),
            names,
            files,
            small,
        })
    }
}

fn only_small<'a>(of: &[&'a Entry]) -> Vec<&'a Entry> {
    of.iter().copied().filter(|e| e.size <= SMALL).collect()
}

fn paths(entries: &[&Entry]) -> Result<Vec<CString>> {
    entries.iter().map(|e| path(&e.path)).collect()
}

fn path(p: &[u8]) -> Result<CString> {
    CString::new(p).map_err(Failure::new)
}

fn some(of: &[&Entry], n: usize, rng: &mut Rng) -> Result<Vec<CString>> {
    let mut chosen = of.to_vec();
    rng.shuffle(&mut chosen);
    chosen.truncate(n);
    paths(&chosen)
}

/// A name that is not there beside each file.
fn absent(files: &[&Entry], rng: &mut Rng) -> Result<Vec<CString>> {
    let name = |(i, e): (usize, &&Entry)| {
        let mut p = parent(&e.path).to_vec();
        if !p.is_empty() {
            p.push(b'/');
        }
        p.extend_from_slice(format!("absent-{i}").as_bytes());
        path(&p)
    };
    let mut names = files
        .iter()
        .enumerate()
        .map(name)
        .collect::<Result<Vec<_>>>()?;
    rng.shuffle(&mut names);
    Ok(names)
}

/// The directory whose number of entries is nearest to what `rm -rf` is to remove.
fn subtree(manifest: &Manifest) -> Result<Option<(CString, usize)>> {
    let mut held: BTreeMap<&[u8], usize> = BTreeMap::new();
    for entry in &manifest.entries {
        let mut at = &*entry.path;
        while !at.is_empty() {
            if at != &*entry.path || entry.kind == Kind::Dir {
                *held.entry(at).or_default() += 1;
            }
            at = parent(at);
        }
    }
    let nearest = held.iter().min_by_key(|(_, n)| n.abs_diff(REMOVED));
    nearest.map(|(p, n)| Ok((path(p)?, *n))).transpose()
}

/// Whole directories, in order, until there is enough.
fn unpack(manifest: &Manifest) -> Vec<Vec<u8>> {
    let plain =
        |e: &&Entry| matches!(e.kind, Kind::File | Kind::Dir | Kind::Symlink) && e.links == 0;
    // every so many-th entry's directory would leave gaps: an archive is a run of neighbours
    let entries: Vec<&Entry> = manifest.entries.iter().filter(plain).collect();
    let skip = entries.len().saturating_sub(UNPACKED) / 2;
    entries
        .iter()
        .skip(skip)
        .take(UNPACKED)
        .map(|e| e.path.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let mut entries = Vec::new();
        let mut add = |path: String, kind, size| {
            entries.push(Entry {
                path: path.into_bytes(),
                kind,
                size,
                links: 0,
            });
        };
        for d in 0..10 {
            add(format!("d{d}"), Kind::Dir, 0);
            for f in 0..(d * 100) {
                add(format!("d{d}/f{f}"), Kind::File, f);
            }
        }
        add("large".to_string(), Kind::File, SMALL + 1);
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Manifest { entries }
    }

    #[test]
    fn same_seed_same_work() {
        let m = manifest();
        let (a, b) = (Work::new(&m, 1).unwrap(), Work::new(&m, 1).unwrap());
        assert_eq!(format!("{a:?}"), format!("{b:?}"));
        assert_ne!(a.names, Work::new(&m, 2).unwrap().names);
    }

    #[test]
    fn what_is_chosen_is_what_is_said() {
        let m = manifest();
        let w = Work::new(&m, 1).unwrap();
        assert_eq!(w.names.len(), m.entries.len());
        assert_eq!(w.files.len(), w.absent.len());
        assert_eq!(w.small.len() + 1, w.files.len());
        assert!(!w.small.contains(&c"large".to_owned()));
        assert_eq!((w.unlink.len(), w.change.len()), (UNLINKED, COPIED));
        let (dir, n) = w.remove.unwrap();
        assert_eq!((dir.as_c_str(), n), (c"d6", 601));
        assert!(w.absent.iter().all(|a| !w.names.contains(a)));
    }

    #[test]
    fn a_tree_without_files_is_refused() {
        assert!(Work::new(&Manifest::default(), 1).is_err());
    }
}
