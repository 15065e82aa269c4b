//! Owners, as on disk and as shown.

use super::config::{IdMaps, IdRange};
use crate::vfs::{Attr, Error, Result};
use nix::errno::Errno;

/// What an id outside every range is shown as, as in the kernel.
const OVERFLOW_ID: u32 = 65534;

impl IdMaps {
    /// Shows the owners of `attr`.
    pub fn show(&self, attr: &mut Attr) {
        attr.uid = self.squash_uid.unwrap_or_else(|| out(&self.uid, attr.uid));
        attr.gid = self.squash_gid.unwrap_or_else(|| out(&self.gid, attr.gid));
    }

    /// The user on disk for a user shown. `None`: all users are squashed to one, so there is
    /// nothing to set. EOVERFLOW for an id outside every range.
    pub fn uid_on_disk(&self, shown: u32) -> Result<Option<u32>> {
        on_disk(&self.uid, self.squash_uid, shown)
    }

    /// The group on disk for a group shown, as [`IdMaps::uid_on_disk`].
    pub fn gid_on_disk(&self, shown: u32) -> Result<Option<u32>> {
        on_disk(&self.gid, self.squash_gid, shown)
    }
}

fn out(map: &[IdRange], id: u32) -> u32 {
    if map.is_empty() {
        return id;
    }
    map.iter()
        .find_map(|r| {
            let n = id.checked_sub(r.disk)?;
            (n < r.len).then(|| r.shown.checked_add(n))?
        })
        .unwrap_or(OVERFLOW_ID)
}

fn on_disk(map: &[IdRange], squash: Option<u32>, id: u32) -> Result<Option<u32>> {
    if squash.is_some() {
        return Ok(None);
    }
    if map.is_empty() {
        return Ok(Some(id));
    }
    map.iter()
        .find_map(|r| {
            let n = id.checked_sub(r.shown)?;
            (n < r.len).then(|| r.disk.checked_add(n))?
        })
        .map(Some)
        .ok_or_else(|| Error::because(Errno::EOVERFLOW, format!("id {id} is not mapped")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> IdMaps {
        IdMaps {
            uid: vec![
                IdRange {
                    disk: 0,
                    shown: 100_000,
                    len: 10,
                },
                IdRange {
                    disk: 1000,
                    shown: 0,
                    len: 1,
                },
            ],
            ..IdMaps::default()
        }
    }

    #[test]
    fn ranges_map_both_ways() {
        assert_eq!(out(&maps().uid, 9), 100_009);
        assert_eq!(out(&maps().uid, 10), OVERFLOW_ID);
        assert_eq!(out(&maps().uid, 1000), 0);
        assert_eq!(maps().uid_on_disk(100_009).unwrap(), Some(9));
        assert_eq!(maps().uid_on_disk(0).unwrap(), Some(1000));
        assert!(maps().uid_on_disk(1).unwrap_err().is(Errno::EOVERFLOW));
        assert_eq!(maps().gid_on_disk(7).unwrap(), Some(7));
    }

    #[test]
    fn squashed_owners_have_nothing_to_set() {
        let maps = IdMaps {
            squash_uid: Some(0),
            ..IdMaps::default()
        };
        assert_eq!(maps.uid_on_disk(5).unwrap(), None);
    }
}
