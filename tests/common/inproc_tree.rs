//! Reading the tree of an engine in this process.

use super::inproc::{InProcess, errno};
use super::posix::R;
use super::subject::join;
use super::tree::{Entry, Tree};
use super::walk::check_dirent;
use std::collections::BTreeMap;
use vellum::vfs::{Attr, Kind, NodeId};

/// An entry of a page: number, type, name, attributes, cookie.
pub(super) type Listed = (NodeId, Kind, Vec<u8>, Option<Attr>, u64);

impl InProcess {
    pub(super) fn read_all(&self, id: NodeId) -> R<Vec<u8>> {
        let mut out = Vec::new();
        let mut buf = [0; 5000];
        loop {
            let n = self
                .engine
                .read(id, out.len() as u64, &mut buf)
                .map_err(errno)?;
            if n == 0 {
                return Ok(out);
            }
            out.extend_from_slice(&buf[..n]);
        }
    }

    /// One page of a listing, as long as a small reader would ask for.
    pub(super) fn page(&mut self, dir: NodeId, cookie: u64, plus: bool) -> R<Vec<Listed>> {
        let mut out: Vec<Listed> = Vec::new();
        self.engine
            .readdir(dir, cookie, plus, &mut |e| {
                if out.len() == 3 {
                    return false;
                }
                out.push((e.ino, e.kind, e.name.to_vec(), e.attr, e.cookie));
                true
            })
            .map_err(errno)?;
        for entry in &out {
            if entry.3.is_some() {
                self.taken.push(entry.0);
            }
        }
        Ok(out)
    }

    fn walk(&mut self, dir: NodeId, at: &str, out: &mut Tree) {
        let mut cookie = 0;
        let mut dots = Vec::new();
        // one directory is listed with attributes, the next without
        let plus = out.0.len().is_multiple_of(2);
        let mut subdirs = Vec::new();
        loop {
            let page = match self.page(dir, cookie, plus) {
                Ok(page) => page,
                Err(e) => {
                    out.0
                        .get_mut(at)
                        .unwrap()
                        .faults
                        .push(format!("list: errno {e}"));
                    return;
                }
            };
            let Some(last) = page.last() else { break };
            cookie = last.4;
            for listed in page {
                if listed.2 == b"." || listed.2 == b".." {
                    dots.push(listed.0);
                    continue;
                }
                let path = join(at, &listed.2.escape_ascii().to_string());
                let (mut entry, id) = self.listed(dir, &listed);
                if let (Kind::Dir, Some(id)) = (listed.1, id) {
                    subdirs.push((id, path.clone()));
                }
                if out.0.contains_key(&path) {
                    entry.faults.push("listed twice".into());
                }
                out.0.insert(path, entry);
            }
        }
        if dots.len() != 2 || dots[0] != dir {
            out.0
                .get_mut(at)
                .unwrap()
                .faults
                .push(format!(". and .. are {dots:?}"));
        }
        for (id, path) in subdirs {
            self.walk(id, &path, out);
        }
    }

    /// What a listed name stands for.
    fn listed(
        &mut self,
        dir: NodeId,
        (ino, kind, name, attr, _): &Listed,
    ) -> (Entry, Option<NodeId>) {
        let found = match self.look(dir, name) {
            Ok(Some(found)) => found,
            other => {
                return (
                    Entry::broken(ino.0, format!("listed, lookup: {other:?}")),
                    None,
                );
            }
        };
        let mut entry = self.entry(&found);
        check_dirent(&mut entry, ino.0, kind.mode());
        if attr.is_some_and(|a| {
            Attr {
                atime: found.atime,
                blocks: found.blocks,
                ..a
            } != found
        }) {
            entry
                .faults
                .push(format!("listed with {attr:?}, found with {found:?}"));
        }
        (entry, Some(found.ino))
    }

    fn entry(&mut self, attr: &Attr) -> Entry {
        let id = attr.ino;
        let mut faults = Vec::new();
        // before anything is read: that moves the time of access
        match self.engine.getattr(id) {
            Ok(again)
                if again
                    == (Attr {
                        atime: again.atime,
                        // while the file system beneath writes data out, it counts none for a moment
                        blocks: again.blocks,
                        ..*attr
                    }) => {}
            other => faults.push(format!("lookup said {attr:?}, getattr {other:?}")),
        }
        let read = match attr.kind {
            Kind::File => self.read_all(id),
            Kind::Symlink => self.engine.readlink(id).map_err(errno),
            _ => Ok(Vec::new()),
        };
        let data = read.unwrap_or_else(|e| {
            faults.push(format!("read: errno {e}"));
            Vec::new()
        });
        if attr.kind == Kind::File && attr.size != data.len() as u64 {
            faults.push(format!("size {}, {} bytes", attr.size, data.len()));
        }
        let xattrs = self.xattrs(id).unwrap_or_else(|e| {
            faults.push(format!("xattrs: errno {e}"));
            BTreeMap::new()
        });
        Entry {
            mode: attr.kind.mode() | attr.perm,
            uid: attr.uid,
            gid: attr.gid,
            nlink: attr.nlink.into(),
            ino: id.0,
            rdev: attr.rdev,
            mtime: (attr.mtime.sec, attr.mtime.nsec.into()),
            data,
            xattrs,
            faults,
        }
    }

    fn xattrs(&self, id: NodeId) -> R<BTreeMap<Vec<u8>, Vec<u8>>> {
        let names = self.engine.listxattr(id).map_err(errno)?;
        names
            .split(|b| *b == 0)
            .filter(|n| !n.is_empty())
            .map(|n| Ok((n.to_vec(), self.engine.getxattr(id, n).map_err(errno)?)))
            .collect()
    }

    /// The whole tree, each directory listed in small pages.
    pub(super) fn whole_tree(&mut self) -> Tree {
        let mut out = Tree::default();
        let root = self.engine.getattr(NodeId::ROOT).unwrap();
        let entry = self.entry(&root);
        out.0.insert(String::new(), entry);
        self.walk(NodeId::ROOT, "", &mut out);
        self.give_back();
        out
    }
}
