//! Layers on id-mapped mounts, under options that map owners too.
//!
//! podman 4 gives both: it mounts the layers mapped, so that their owners are those to be shown, and it
//! names the map, by which the upper is to be kept. So such layers are read as if they had on disk what
//! the map shows as what they show.

use super::config::IdMaps;
use crate::lower::{Listing, Lower, Source};
use crate::vfs::error::Context;
use crate::vfs::{Attr, Kind, NodeId, Result, StatFs, Time};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::path::PathBuf;
use std::sync::Arc;

/// On disk, what no map shows.
const OF_NOBODY: u32 = u32::MAX - 1;

/// A tree of layers whose owners are as shown.
pub struct Mapped {
    lower: Arc<dyn Lower>,
    ids: IdMaps,
}

impl Mapped {
    /// The tree as on disk, if its owners are mapped before the maps get at them.
    pub fn unless_plain(
        lower: Arc<dyn Lower>,
        layers: &[PathBuf],
        ids: &IdMaps,
    ) -> Result<Arc<dyn Lower>> {
        let maps = !ids.uid.is_empty() || !ids.gid.is_empty();
        if !maps || layers.is_empty() || !all_mapped(layers)? {
            return Ok(lower);
        }
        log::debug!("the layers are on id-mapped mounts: the maps are for the upper");
        let ids = ids.clone();
        Ok(Arc::new(Mapped { lower, ids }))
    }

    fn unshow(&self, mut attr: Attr) -> Attr {
        let on_disk = |id: Result<Option<u32>>| id.unwrap_or(Some(OF_NOBODY));
        attr.uid = on_disk(self.ids.uid_on_disk(attr.uid)).unwrap_or(attr.uid);
        attr.gid = on_disk(self.ids.gid_on_disk(attr.gid)).unwrap_or(attr.gid);
        attr
    }
}

/// True if each layer is on a mount that maps ids.
fn all_mapped(layers: &[PathBuf]) -> Result<bool> {
    let table = "/proc/self/mountinfo";
    let text = std::fs::read(table).context(|| table)?;
    for layer in layers {
        let st = statx(CWD, layer, AtFlags::empty(), StatxFlags::MNT_ID)
            .context(|| format!("lower layer {}", layer.display()))?;
        if !is_mapped(&text, st.stx_mnt_id) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_mapped(mountinfo: &[u8], mount: u64) -> bool {
    let id = mount.to_string();
    mountinfo.split(|b| *b == b'\n').any(|line| {
        let mut fields = line.split(|b| *b == b' ');
        fields.next() == Some(id.as_bytes())
            && fields
                .nth(4)
                .is_some_and(|flags| flags.split(|b| *b == b',').any(|f| f == b"idmapped"))
    })
}

impl Lower for Mapped {
    fn attr(&self, id: NodeId) -> Result<Attr> {
        self.lower.attr(id).map(|attr| self.unshow(attr))
    }
    fn btime(&self, id: NodeId) -> Result<Option<Time>> {
        self.lower.btime(id)
    }
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<Option<Attr>> {
        let found = self.lower.lookup(dir, name)?;
        Ok(found.map(|attr| self.unshow(attr)))
    }
    fn contains(&self, dir: NodeId, name: &[u8]) -> Result<Option<Kind>> {
        self.lower.contains(dir, name)
    }
    fn list(&self, dir: NodeId) -> Result<Arc<Listing>> {
        self.lower.list(dir)
    }
    fn pin(&self, id: NodeId) -> Result<()> {
        self.lower.pin(id)
    }
    fn forget(&self, id: NodeId, n: u64) {
        self.lower.forget(id, n);
    }
    fn take_references(&self, id: NodeId) -> Result<Option<u64>> {
        self.lower.take_references(id)
    }
    fn place(&self, id: NodeId) -> Result<Option<(NodeId, Box<[u8]>)>> {
        self.lower.place(id)
    }
    fn links(&self, id: NodeId) -> Result<Vec<(NodeId, Box<[u8]>)>> {
        self.lower.links(id)
    }
    fn readlink(&self, id: NodeId) -> Result<Vec<u8>> {
        self.lower.readlink(id)
    }
    fn open(&self, id: NodeId) -> Result<Source> {
        self.lower.open(id)
    }
    fn is_stateless(&self) -> bool {
        self.lower.is_stateless()
    }
    fn list_xattr(&self, id: NodeId) -> Result<Vec<u8>> {
        self.lower.list_xattr(id)
    }
    /// The kernel maps the ids in an ACL as it maps owners.
    fn get_xattr(&self, id: NodeId, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.lower.get_xattr(id, name)?;
        Ok(match value {
            Some(acl) if name.starts_with(b"system.posix_acl_") => {
                Some(self.ids.acl_on_disk(&acl).unwrap_or(acl))
            }
            value => value,
        })
    }
    fn origin(&self, id: NodeId) -> Option<Vec<u8>> {
        self.lower.origin(id)
    }
    fn statfs(&self) -> Result<StatFs> {
        self.lower.statfs()
    }
    fn fingerprint(&self) -> u64 {
        self.lower.fingerprint()
    }
}

#[cfg(test)]
mod tests {
    use super::is_mapped;

    #[test]
    fn a_mapped_mount_is_known_by_its_flag() {
        let table = b"77 75 0:27 /l /m rw,relatime,idmapped - tmpfs tmpfs rw,idmapped\n\
                      78 75 0:27 /l /idmapped rw,relatime shared:1 - tmpfs idmapped rw,idmapped\n";
        assert!(is_mapped(table, 77));
        assert!(!is_mapped(table, 78));
        assert!(!is_mapped(table, 7));
    }
}
