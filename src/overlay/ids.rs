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

    /// The user on disk of what a user makes, `own` being who serves the mount. What that one makes and no
    /// range shows belongs to it on disk, as if made there: podman puts files into a container's root so.
    pub fn uid_of_made(&self, shown: u32, own: u32) -> Result<u32> {
        made(self.uid_on_disk(shown), shown, own)
    }

    /// The same for groups.
    pub fn gid_of_made(&self, shown: u32, own: u32) -> Result<u32> {
        made(self.gid_on_disk(shown), shown, own)
    }

    /// The group on disk for a group shown, as [`IdMaps::uid_on_disk`].
    pub fn gid_on_disk(&self, shown: u32) -> Result<Option<u32>> {
        on_disk(&self.gid, self.squash_gid, shown)
    }
}

/// Entries of an ACL that name a user or a group (`ACL_USER`, `ACL_GROUP`).
const ACL_USER: u16 = 0x02;
const ACL_GROUP: u16 = 0x08;

impl IdMaps {
    /// The value of a `system.posix_acl_*` attribute, with the ids in it as shown.
    pub fn acl_shown(&self, value: &[u8]) -> Vec<u8> {
        map_acl(value, &|tag, id| {
            Ok(match tag {
                ACL_USER => out(&self.uid, id),
                _ => out(&self.gid, id),
            })
        })
        .unwrap_or_else(|_| value.to_vec())
    }

    /// The same with ids as on disk. EOVERFLOW for an id outside every range.
    pub fn acl_on_disk(&self, value: &[u8]) -> Result<Vec<u8>> {
        map_acl(value, &|tag, id| {
            let map = if tag == ACL_USER {
                &self.uid
            } else {
                &self.gid
            };
            Ok(on_disk(map, None, id)?.unwrap_or(id))
        })
    }
}

/// A header of 4 bytes, then entries of 8: tag, permissions, id, all little-endian
/// (`linux/posix_acl_xattr.h`). What does not look so is left as it is, for the kernel to refuse.
fn map_acl(value: &[u8], map: &dyn Fn(u16, u32) -> Result<u32>) -> Result<Vec<u8>> {
    let mut mapped = value.to_vec();
    let Some((_, entries)) = mapped.split_first_chunk_mut::<4>() else {
        return Ok(mapped);
    };
    let (entries, _) = entries.as_chunks_mut::<8>();
    for [t0, t1, _, _, i0, i1, i2, i3] in entries {
        let tag = u16::from_le_bytes([*t0, *t1]);
        if tag == ACL_USER || tag == ACL_GROUP {
            let id = map(tag, u32::from_le_bytes([*i0, *i1, *i2, *i3]))?;
            [*i0, *i1, *i2, *i3] = id.to_le_bytes();
        }
    }
    Ok(mapped)
}

fn made(on_disk: Result<Option<u32>>, shown: u32, own: u32) -> Result<u32> {
    match on_disk {
        Err(_) if shown == own => Ok(own),
        id => Ok(id?.unwrap_or(own)),
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
        assert_eq!(maps().uid_of_made(100_009, 50).unwrap(), 9);
        assert_eq!(maps().uid_of_made(50, 50).unwrap(), 50);
        assert!(maps().uid_of_made(51, 50).unwrap_err().is(Errno::EOVERFLOW));
    }

    #[test]
    fn acls_name_ids_as_their_side_does() {
        let entry = |tag: u16, id: u32| {
            let mut e = tag.to_le_bytes().to_vec();
            e.extend(6u16.to_le_bytes());
            e.extend(id.to_le_bytes());
            e
        };
        let acl = |user: u32| {
            let nobody = u32::MAX;
            [
                2u32.to_le_bytes().to_vec(),
                entry(0x01, nobody),
                entry(ACL_USER, user),
                entry(ACL_GROUP, 7),
                entry(0x20, nobody),
            ]
            .concat()
        };
        assert_eq!(maps().acl_shown(&acl(9)), acl(100_009));
        assert_eq!(maps().acl_on_disk(&acl(100_009)).unwrap(), acl(9));
        let unmapped = maps().acl_on_disk(&acl(1)).unwrap_err();
        assert!(unmapped.is(Errno::EOVERFLOW));
        assert_eq!(maps().acl_shown(b"x"), b"x");
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
