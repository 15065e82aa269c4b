//! The tree of an image, from the tables of its layers, lowest first.
//!
//! What a layer says of missing names is about the layers below it, wherever in its tar it says so;
//! so each table is gone through twice: for what it hides, then for what it adds. Besides:
//!
//! * A directory over a directory keeps what is in it; anything else replaces what was there.
//! * A directory that is missing on the way to an entry is made, as for root; one that a layer
//!   below has stays as it is. Where a layer below has something else there, the directory
//!   replaces it, as in a stack of directories.
//! * Within one layer, what it said before is not contradicted: a file where it has a directory
//!   with something in it, or something in what it says is a file, is an error.

use super::digest::Digest;
use super::entry::{Entry, Item, Meta, Path, show};
use super::table::{Row, Table};
use super::tree::{Content, Kind, Node, Tree};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::BTreeMap;
use std::io::{BufRead, Seek};

/// A tree under construction.
#[derive(Debug)]
pub struct Merge {
    layers: Vec<Digest>,
    /// By number, with the layer that said so last. What was removed has no names.
    nodes: Vec<(Node, u32)>,
}

impl Default for Merge {
    fn default() -> Merge {
        Merge::new()
    }
}

impl Merge {
    /// An image without layers: an empty directory.
    pub fn new() -> Merge {
        let root = Node {
            kind: Kind::Dir(BTreeMap::new()),
            meta: unnamed(),
            names: Vec::new(),
        };
        Merge {
            layers: Vec::new(),
            nodes: vec![(root, u32::MAX)],
        }
    }

    /// Puts a layer on top.
    pub fn add<R: BufRead + Seek>(&mut self, diff_id: Digest, table: &mut Table<R>) -> Result<()> {
        let layer = u32::try_from(self.layers.len()).map_err(|_| Errno::E2BIG)?;
        table.rows(|row| {
            self.hide(&row.entry);
            Ok(())
        })?;
        table.rows(|row| {
            let said = show(&row.entry.path);
            self.put(row, layer)
                .context(|| format!("layer {diff_id}, entry {said}"))
        })?;
        self.layers.push(diff_id);
        Ok(())
    }

    /// The tree.
    pub fn finish(self) -> Tree {
        number(self.layers, self.nodes)
    }

    /// What a layer's entry hides of the layers below.
    fn hide(&mut self, entry: &Entry) {
        match entry.item {
            Item::Whiteout => {
                if let Some((name, dir)) = entry.path.split_last()
                    && let Some(dir) = self.find(dir)
                {
                    self.remove(dir, name);
                }
            }
            Item::Opaque => {
                if let Some(dir) = self.find(&entry.path) {
                    self.clear(dir);
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, row: Row, layer: u32) -> Result<()> {
        let Entry { path, item } = row.entry;
        let (kind, meta) = match item {
            Item::Whiteout | Item::Opaque => return Ok(()),
            Item::Hardlink(target) => return self.link(&path, &target, layer),
            Item::Dir(meta) => (Kind::Dir(BTreeMap::new()), meta),
            Item::File(meta, size) => {
                let content = match row.content {
                    Content::Packed { offset, .. } => Content::Packed { layer, offset },
                    other => other,
                };
                (Kind::File { size, content }, meta)
            }
            Item::Symlink(meta, target) => (Kind::Symlink(target), meta),
            Item::CharDev(meta, rdev) => (Kind::CharDev(rdev), meta),
            Item::BlockDev(meta, rdev) => (Kind::BlockDev(rdev), meta),
            Item::Fifo(meta) => (Kind::Fifo, meta),
        };
        let is_dir = matches!(kind, Kind::Dir(_));
        let Some((name, dir)) = path.split_last() else {
            return self.describe(Tree::ROOT, is_dir, meta, layer);
        };
        let dir = self.make_dirs(dir, layer)?;
        if is_dir
            && let Some(there) = self.child(dir, name)
            && self.is_dir(there)
        {
            return self.describe(there, is_dir, meta, layer);
        }
        self.make_room(dir, name, layer)?;
        let names = Vec::new();
        let node = Node { kind, meta, names };
        self.insert(dir, name, node, layer)
    }

    /// New attributes of a directory.
    fn describe(&mut self, at: u32, is_dir: bool, meta: Meta, layer: u32) -> Result<()> {
        if !is_dir {
            return Err(Error::because(Errno::ENOTDIR, "the root is a directory"));
        }
        if let Some((node, said_by)) = self.nodes.get_mut(at as usize) {
            node.meta = meta;
            *said_by = layer;
        }
        Ok(())
    }

    fn link(&mut self, path: &Path, target: &Path, layer: u32) -> Result<()> {
        let missing = || {
            Error::because(
                Errno::ENOENT,
                format!("link to {}, which is not there", show(target)),
            )
        };
        let file = self.find(target).ok_or_else(missing)?;
        if self.is_dir(file) {
            let why = format!("link to {}, a directory", show(target));
            return Err(Error::because(Errno::EPERM, why));
        }
        let (name, dir) = path.split_last().ok_or(Errno::ENOTDIR)?;
        let dir = self.make_dirs(dir, layer)?;
        if self.child(dir, name) == Some(file) {
            return Ok(()); // it is that already, or a link to itself
        }
        self.make_room(dir, name, layer)?;
        self.name(dir, name, file)
    }

    /// The directory at `path`, made where it is missing.
    fn make_dirs(&mut self, path: &[Box<[u8]>], layer: u32) -> Result<u32> {
        let mut at = Tree::ROOT;
        for name in path {
            at = match self.child(at, name) {
                Some(child) if self.is_dir(child) => child,
                Some(child) if self.said_by(child) == layer => {
                    return Err(Error::because(
                        Errno::ENOTDIR,
                        format!("{} is no directory, the same layer says", show(path)),
                    ));
                }
                _ => {
                    self.remove(at, name);
                    let node = Node {
                        kind: Kind::Dir(BTreeMap::new()),
                        meta: unnamed(),
                        names: Vec::new(),
                    };
                    self.insert(at, name, node, layer)?;
                    self.child(at, name).ok_or(Errno::EIO)?
                }
            };
        }
        Ok(at)
    }

    /// Removes what a new entry replaces.
    fn make_room(&mut self, dir: u32, name: &[u8], layer: u32) -> Result<()> {
        if let Some(there) = self.child(dir, name)
            && self.is_dir(there)
            && self
                .children(there)
                .any(|child| self.said_by(child) == layer)
        {
            return Err(Error::because(
                Errno::EISDIR,
                "the same layer has something in a directory there",
            ));
        }
        self.remove(dir, name);
        Ok(())
    }

    fn insert(&mut self, dir: u32, name: &[u8], node: Node, layer: u32) -> Result<()> {
        let at = u32::try_from(self.nodes.len()).map_err(|_| Errno::E2BIG)?;
        self.nodes.push((node, layer));
        self.name(dir, name, at)
    }

    fn name(&mut self, dir: u32, name: &[u8], node: u32) -> Result<()> {
        if let Some(Kind::Dir(children)) = self.kind_mut(dir) {
            children.insert(name.into(), node);
        }
        let (node, _) = self.nodes.get_mut(node as usize).ok_or(Errno::EIO)?;
        node.names.push((dir, name.into()));
        Ok(())
    }

    fn remove(&mut self, dir: u32, name: &[u8]) {
        let removed = match self.kind_mut(dir) {
            Some(Kind::Dir(children)) => children.remove(name),
            _ => None,
        };
        let Some(at) = removed else {
            return;
        };
        if let Some((node, _)) = self.nodes.get_mut(at as usize) {
            node.names.retain(|(d, n)| (*d, &**n) != (dir, name));
        }
        self.clear(at);
    }

    /// Removes all that is in a directory.
    fn clear(&mut self, dir: u32) {
        let mut dirs = vec![dir];
        // not by recursion: how deep a tree is, a tar decides
        while let Some(dir) = dirs.pop() {
            let Some(Kind::Dir(children)) = self.kind_mut(dir) else {
                continue;
            };
            for (name, at) in std::mem::take(children) {
                if let Some((node, _)) = self.nodes.get_mut(at as usize) {
                    node.names.retain(|(d, n)| (*d, n) != (dir, &name));
                }
                dirs.push(at);
            }
        }
    }

    fn find(&self, path: &[Box<[u8]>]) -> Option<u32> {
        path.iter()
            .try_fold(Tree::ROOT, |at, name| self.child(at, name))
    }

    fn child(&self, dir: u32, name: &[u8]) -> Option<u32> {
        match &self.nodes.get(dir as usize)?.0.kind {
            Kind::Dir(children) => children.get(name).copied(),
            _ => None,
        }
    }

    fn children(&self, dir: u32) -> impl Iterator<Item = u32> + '_ {
        let children = self
            .nodes
            .get(dir as usize)
            .and_then(|(node, _)| match &node.kind {
                Kind::Dir(children) => Some(children.values().copied()),
                _ => None,
            });
        children.into_iter().flatten()
    }

    fn kind_mut(&mut self, at: u32) -> Option<&mut Kind> {
        self.nodes
            .get_mut(at as usize)
            .map(|(node, _)| &mut node.kind)
    }

    fn is_dir(&self, at: u32) -> bool {
        matches!(self.nodes.get(at as usize), Some((node, _)) if matches!(node.kind, Kind::Dir(_)))
    }

    fn said_by(&self, at: u32) -> u32 {
        self.nodes
            .get(at as usize)
            .map_or(u32::MAX, |(_, layer)| *layer)
    }
}

/// What a directory has that no layer describes.
fn unnamed() -> Meta {
    Meta {
        perm: 0o755,
        ..Meta::default()
    }
}

/// Numbers what is left, each directory before what is in it.
fn number(layers: Vec<Digest>, mut nodes: Vec<(Node, u32)>) -> Tree {
    let mut numbers: Vec<Option<u32>> = vec![None; nodes.len()];
    let mut order = vec![Tree::ROOT];
    numbers[0] = Some(0);
    let mut next = 0;
    while let Some(old) = order.get(next).copied() {
        next += 1;
        let Some(Kind::Dir(children)) = nodes.get(old as usize).map(|(node, _)| &node.kind) else {
            continue;
        };
        for child in children.values() {
            if let Some(number @ None) = numbers.get_mut(*child as usize) {
                *number = u32::try_from(order.len()).ok();
                order.push(*child);
            }
        }
    }
    let new = |old: u32| numbers.get(old as usize).copied().flatten();
    let renumbered = order.iter().filter_map(|old| {
        let (node, _) = nodes.get_mut(*old as usize)?;
        let kind = match std::mem::replace(&mut node.kind, Kind::Fifo) {
            Kind::Dir(children) => {
                let child = |(name, old)| new(old).map(|new| (name, new));
                Kind::Dir(children.into_iter().filter_map(child).collect())
            }
            other => other,
        };
        let names = std::mem::take(&mut node.names).into_iter();
        let mut names: Vec<_> = names
            .filter_map(|(dir, name)| new(dir).map(|d| (d, name)))
            .collect();
        names.sort(); // the first name's directory is the one with the lowest number
        let meta = std::mem::take(&mut node.meta);
        Some(Node { kind, meta, names })
    });
    let nodes = renumbered.collect();
    Tree { layers, nodes }
}

#[cfg(test)]
mod tests;
