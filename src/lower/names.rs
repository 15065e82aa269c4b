//! The names of a file that has several: which of them show, and where.
//!
//! A layer says where its own directories are; a layer above may hide one, put another in its
//! place, or have moved it, which a redirect says on the other side. So a directory of a layer is
//! looked for where the layer has it; only if it is not part of what is there, the layers above are
//! walked for redirects, once.

use super::dirs::DirsLower;
use super::links::{self, LinkMap};
use super::{Lower, path_of, resolve_dir};
use crate::vfs::{Attr, NodeId, Result};

/// A path from the root, in its parts.
type Path = Vec<Vec<u8>>;

impl DirsLower {
    /// Makes the link count that of the names which show: a layer above may hide some.
    pub(super) fn count_names(&self, attr: &mut Attr, layer: u16, ino: u64) -> Result<()> {
        if attr.nlink < 2 || layer == 0 {
            return Ok(());
        }
        if let Some(n) = self.shown.lock().get(&attr.ino) {
            attr.nlink = *n;
            return Ok(());
        }
        let shown = self.names_shown(layer, ino)?;
        for (dir, _) in &shown {
            self.forget(*dir, 1);
        }
        // a name that is in use shows; names outside the layer cannot be seen from here
        attr.nlink = u32::try_from(shown.len()).unwrap_or(u32::MAX).max(1);
        self.shown.lock().insert(attr.ino, attr.nlink);
        Ok(())
    }

    /// The names of an inode of a layer that show, with their directories, referenced.
    pub(super) fn names_shown(&self, layer: u16, ino: u64) -> Result<Vec<(NodeId, Box<[u8]>)>> {
        let mut shown = Vec::new();
        let none = Vec::new();
        for (path, name) in self.link_map(layer)?.get(&ino).unwrap_or(&none) {
            let Some(id) = self.find_part(layer, path)? else {
                continue;
            };
            let listing = self.dir(id).and_then(|dir| self.shares.listing(&dir));
            match listing.map(|l| l.find(name).is_some_and(|(_, e)| e.layer == layer)) {
                Ok(true) => shown.push((id, name.clone().into())),
                Ok(false) => self.forget(id, 1),
                Err(e) => {
                    self.forget(id, 1);
                    return Err(e);
                }
            }
        }
        Ok(shown)
    }

    fn link_map(&self, layer: u16) -> Result<&LinkMap> {
        let cell = &self.links[usize::from(layer)];
        if let Some(map) = cell.get() {
            return Ok(map);
        }
        let map = links::scan(&self.shares.stack.layers[usize::from(layer)])?;
        Ok(cell.get_or_init(|| map))
    }

    /// The directory of the tree that a layer's directory is part of, referenced.
    fn find_part(&self, layer: u16, path: &[Vec<u8>]) -> Result<Option<NodeId>> {
        match self.find_beneath(NodeId::ROOT, layer, path)? {
            Some(dir) => Ok(Some(dir)),
            None => self.find_moved(layer, path, self.moved()?),
        }
    }

    /// The same, among what is beneath directories with redirects.
    fn find_moved(&self, layer: u16, path: &[Vec<u8>], moved: &[Path]) -> Result<Option<NodeId>> {
        for top in moved {
            let Some(id) = resolve_dir(self, NodeId::ROOT, top)? else {
                continue;
            };
            let found = self.find_beneath(id, layer, path);
            self.forget(id, 1);
            if let Some(found) = found? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The same, beneath `top`, as far as it has a part of this layer that leads there.
    fn find_beneath(&self, top: NodeId, layer: u16, path: &[Vec<u8>]) -> Result<Option<NodeId>> {
        let Some(from) = self.part_path(top, layer)? else {
            return Ok(None);
        };
        let Some(rest) = path.strip_prefix(&*from) else {
            return Ok(None);
        };
        let Some(id) = resolve_dir(self, top, rest)? else {
            return Ok(None);
        };
        match self.part_path(id, layer) {
            Ok(Some(at)) if at == path => Ok(Some(id)),
            other => {
                self.forget(id, 1);
                other.map(|_| None)
            }
        }
    }

    /// Where a layer has its part of a directory of the tree.
    fn part_path(&self, dir: NodeId, layer: u16) -> Result<Option<Path>> {
        let dir = self.dir(dir)?;
        let part = dir.parts.iter().find(|part| part.layer == layer);
        Ok(part.map(|part| {
            let names = part.path.split(|b| *b == b'/').filter(|n| !n.is_empty());
            names.map(<[u8]>::to_vec).collect()
        }))
    }

    /// Every directory with a redirect that shows.
    fn moved(&self) -> Result<&[Path]> {
        if let Some(moved) = self.moved.get() {
            return Ok(moved);
        }
        let mut moved = Vec::new();
        // the lowest has nothing beneath it
        let layers = self
            .shares
            .stack
            .layers
            .split_last()
            .map_or(&[][..], |(_, l)| l);
        for (number, layer) in (0u16..).zip(layers) {
            for path in links::redirects(layer)? {
                let found = match self.find_beneath(NodeId::ROOT, number, &path)? {
                    None => self.find_moved(number, &path, &moved)?,
                    found => found,
                };
                if let Some(id) = found {
                    let path = path_of(self, id);
                    self.forget(id, 1);
                    moved.push(path?);
                }
            }
        }
        Ok(self.moved.get_or_init(|| moved))
    }
}
