//! What a copy says of its original: its number for us, its handle for the kernel's overlayfs.

use super::Engine;
use crate::sys::Loc;
use crate::upper::Upper;
use crate::vfs::whiteout::InoRecord;
use crate::vfs::{Attr, Kind, NodeId, Result};
use nix::errno::Errno;

impl Engine {
    /// Writes down which number a copy keeps.
    pub(super) fn record_number(
        &self,
        upper: &Upper,
        at: Loc<'_>,
        id: NodeId,
        kind: Kind,
    ) -> Result<()> {
        if !upper.keeps_marks() {
            return Ok(());
        }
        let record = InoRecord {
            node: id,
            inode: at.stat()?.st_ino,
            layers: self.lower.fingerprint(),
        };
        let set = upper.set_mark(at, InoRecord::MARK, &record.to_value());
        unless_it_has_no_room(set, kind)
    }

    /// Writes down the original's handle. As the kernel's overlayfs, not for one of several names:
    /// it may get another copy for another name.
    pub(super) fn record_origin(
        &self,
        upper: &Upper,
        at: Loc<'_>,
        id: NodeId,
        attr: &Attr,
    ) -> Result<()> {
        let one_of_several = attr.kind != Kind::Dir && attr.nlink > 1;
        if one_of_several || !upper.keeps_marks() {
            return Ok(());
        }
        match self.lower.origin(id) {
            Some(origin) => unless_it_has_no_room(upper.set_mark(at, "origin", &origin), attr.kind),
            None => Ok(()),
        }
    }
}

/// `user.` attributes are for files and directories only.
fn unless_it_has_no_room(set: Result<()>, kind: Kind) -> Result<()> {
    match set {
        Err(e) if e.is(Errno::EPERM) && !matches!(kind, Kind::File | Kind::Dir) => Ok(()),
        other => other,
    }
}
