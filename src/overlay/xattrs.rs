//! Extended attributes.

use super::Engine;
use super::copyup::Need;
use crate::sys::xattr;
use crate::vfs::whiteout::{xattr_on_disk, xattr_shown};
use crate::vfs::{Caller, Error, NodeId, Result};
use nix::errno::Errno;
use std::borrow::Cow;

/// Attributes with ids in their values begin so.
const ACL: &[u8] = b"system.posix_acl_";

/// What a program may do that its caller may not.
const CAPABILITY: &[u8] = b"security.capability";

impl Engine {
    fn name_on_disk(&self, name: &[u8]) -> Result<Vec<u8>> {
        if self.config.noxattrs {
            return Err(Error::new(Errno::EOPNOTSUPP));
        }
        if name.is_empty() || name.len() > 255 {
            return Err(Error::new(Errno::ERANGE));
        }
        xattr_on_disk(name)
            .and_then(|name| self.ownership.xattr_on_disk(name))
            .ok_or(Error::new(Errno::EPERM))
    }

    /// The value of an attribute; ENODATA if there is none of that name.
    pub fn getxattr(&self, id: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        let disk = match self.name_on_disk(name) {
            Err(e) if e.is(Errno::EPERM) => return Err(Error::new(Errno::ENODATA)),
            other => other?,
        };
        let _ns = self.ns.read();
        let node = self.nodes.get(id);
        if name == CAPABILITY && node.as_ref().is_some_and(|n| n.state.lock().no_capability) {
            return Err(Error::new(Errno::ENODATA));
        }
        let value = match node {
            Some(node) if node.on_upper() => self.with_inode(&node, |l| xattr::get(l, &disk))?,
            _ => self.lower.get_xattr(id, &disk)?,
        };
        let value = value.ok_or(Error::new(Errno::ENODATA))?;
        Ok(match name.starts_with(ACL) {
            true => self.config.ids.acl_shown(&value),
            false => value,
        })
    }

    /// The names of all attributes, each ended by a NUL.
    pub fn listxattr(&self, id: NodeId) -> Result<Vec<u8>> {
        if self.config.noxattrs {
            return Err(Error::new(Errno::EOPNOTSUPP));
        }
        let _ns = self.ns.read();
        let list = match self.nodes.get(id) {
            Some(node) if node.on_upper() => self.with_inode(&node, xattr::list)?,
            _ => self.lower.list_xattr(id)?,
        };
        let mut shown = Vec::with_capacity(list.len());
        let shown_names = xattr::names(&list)
            .filter_map(xattr_shown)
            .filter_map(|name| self.ownership.xattr_shown(name));
        for name in shown_names {
            shown.extend_from_slice(&name);
            shown.push(0);
        }
        Ok(shown)
    }

    /// Sets an attribute; `flags` are `XATTR_CREATE` and `XATTR_REPLACE`.
    pub fn setxattr(
        &self,
        _who: &Caller,
        id: NodeId,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> Result<()> {
        let disk = self.name_on_disk(name)?;
        let value = match name.starts_with(ACL) {
            true => Cow::Owned(self.config.ids.acl_on_disk(value)?),
            false => Cow::Borrowed(value),
        };
        let node = self.copy_up(id, Need::Meta)?;
        let _ns = self.ns.read();
        self.writable()?.step("setxattr")?;
        if name.starts_with(b"security.") {
            node.state.lock().no_capability = false;
        }
        self.with_inode(&node, |l| xattr::set(l, &disk, &value, flags))?;
        node.state.lock().forget_inherited();
        Ok(())
    }

    /// Removes an attribute; ENODATA if there is none of that name.
    pub fn removexattr(&self, id: NodeId, name: &[u8]) -> Result<()> {
        let disk = self.name_on_disk(name)?;
        self.getxattr(id, name)?; // nothing is copied up for nothing
        let node = self.copy_up(id, Need::Meta)?;
        let _ns = self.ns.read();
        self.writable()?.step("removexattr")?;
        self.with_inode(&node, |l| xattr::remove(l, &disk))?;
        node.state.lock().forget_inherited();
        Ok(())
    }
}
