//! ACLs: the text that tar has for them, turned into the kernel's attribute.
//!
//! Text: `user::rw-,user:lp:r--:7,group::r--,mask::r--,other::r--`, a named entry's number last or
//! in place of its name. The attribute: a version and 8 bytes for each entry, little-endian
//! (`posix_acl_xattr.h`). A name without a number means nothing in an image, so it is refused:
//! without the entry, the mask would give the group what was never its right.

use super::pax::decimal;
use super::{invalid, shown};
use crate::vfs::{Error, Result};
use nix::errno::Errno;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// The id of an entry that has none.
const NO_ID: u32 = u32::MAX;

/// Tag, id and permissions: sorted, they are in the kernel's order.
type Ace = (u16, u32, u16);

/// The attribute's value; `None` for an ACL that says no more than permission bits do.
pub fn from_text(text: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut aces = Vec::new();
    for entry in text.split(|b| matches!(b, b',' | b'\n')) {
        // GNU tar passes on what acl_to_text says, with remarks
        let entry = entry.split(|b| *b == b'#').next().unwrap_or_default();
        let entry = entry.trim_ascii();
        if !entry.is_empty() {
            aces.push(ace(entry)?);
        }
    }
    aces.sort_unstable();
    check(&aces)?;
    if aces.len() == 3 {
        return Ok(None);
    }
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, id, perm) in aces {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&perm.to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(Some(value))
}

fn ace(entry: &[u8]) -> Result<Ace> {
    let bad = || invalid(format!("{} is no entry of an ACL", shown(entry)));
    let fields: Vec<&[u8]> = entry.split(|b| *b == b':').collect();
    let (tag, who, perm, number) = match *fields.as_slice() {
        [tag, perm] => (tag, &b""[..], perm, None),
        [tag, who, perm] => (tag, who, perm, None),
        [tag, who, perm, number] => (tag, who, perm, Some(number)),
        _ => return Err(bad()),
    };
    let (own, named) = match tag {
        b"user" | b"u" => (USER_OBJ, Some(USER)),
        b"group" | b"g" => (GROUP_OBJ, Some(GROUP)),
        b"mask" | b"m" => (MASK, None),
        b"other" | b"o" => (OTHER, None),
        _ => return Err(bad()),
    };
    let perm = permissions(perm).ok_or_else(bad)?;
    if who.is_empty() && number.is_none() {
        return Ok((own, NO_ID, perm));
    }
    let named = named.ok_or_else(bad)?;
    let id = decimal(number.unwrap_or(who)).map_err(|_| {
        Error::because(
            Errno::EOPNOTSUPP,
            format!("{} names somebody without a number", shown(entry)),
        )
    })?;
    match u32::try_from(id) {
        Ok(id) if id != NO_ID => Ok((named, id, perm)),
        _ => Err(bad()),
    }
}

fn permissions(text: &[u8]) -> Option<u16> {
    let mut perm = 0;
    for letter in text {
        perm |= match letter {
            b'r' => 4,
            b'w' => 2,
            b'x' => 1,
            b'-' => 0,
            _ => return None,
        };
    }
    (!text.is_empty()).then_some(perm)
}

/// What the kernel asks of an ACL: each entry once, and a mask if anybody is named.
fn check(aces: &[Ace]) -> Result<()> {
    let twice = aces.windows(2).any(|w| match w {
        [a, b] => (a.0, a.1) == (b.0, b.1),
        _ => false,
    });
    let has = |tag| aces.iter().any(|a| a.0 == tag);
    let complete = has(USER_OBJ) && has(GROUP_OBJ) && has(OTHER);
    let masked = has(MASK) || !(has(USER) || has(GROUP));
    if twice || !complete || !masked {
        return Err(invalid(
            "an ACL that is not complete, or says a thing twice",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_kernels() {
        // as the kernel gave it after setfacl -m u:7:r,g:9:rw on a file of mode 0640
        let value = [
            &[2, 0, 0, 0][..],
            &[1, 0, 6, 0, 255, 255, 255, 255],
            &[2, 0, 4, 0, 7, 0, 0, 0],
            &[4, 0, 4, 0, 255, 255, 255, 255],
            &[8, 0, 6, 0, 9, 0, 0, 0],
            &[16, 0, 6, 0, 255, 255, 255, 255],
            &[32, 0, 0, 0, 255, 255, 255, 255],
        ]
        .concat();
        for text in [
            "user::rw-\nuser:7:r--\ngroup::r--\ngroup:9:rw-\nmask::rw-\nother::---\n",
            "other::---,mask::rw-,group:nine:rw-:9,group::r--,user:lp:r--:7,user::rw-",
            "u:rw,u:7:r,g:r,g:9:rw,m:rw,o:-",
            "user::rw-,user:7:r-- # effective,group::r--,group:9:rw-,mask::rw-,other::---",
        ] {
            assert_eq!(from_text(text.as_bytes()).unwrap(), Some(value.clone()));
        }
    }

    #[test]
    fn permission_bits_need_no_attribute() {
        let text = b"user::rw-,group::r--,other::r--";
        assert_eq!(from_text(text).unwrap(), None);
    }

    #[test]
    fn what_is_no_acl_is_refused() {
        let rest = ",group::r--,mask::r--,other::r--";
        for bad in [
            "user::rw-,user:lp:r--",
            "user::rw-,user::r--",
            "user::rwz",
            "user::",
            "user:4294967295:r--,user::r--",
            "who::r--",
            "user",
            "user:a:r--:7:8,user::r--",
            "mask:7:r--,user::r--",
            "user:7:r--",
        ] {
            assert!(
                from_text(format!("{bad}{rest}").as_bytes()).is_err(),
                "{bad}"
            );
        }
        let unmasked = b"user::rw-,user:7:r--,group::r--,other::r--";
        assert!(from_text(unmasked).is_err());
    }
}
