//! Extended attributes: how PAX records have them.
//!
//! `SCHILY.xattr.NAME` with the value as it is (star, GNU tar, docker), `LIBARCHIVE.xattr.NAME` with
//! the name percent-encoded and the value in base64 (bsdtar writes both), and ACLs as text.

use super::limits::{Limits, within};
use super::pax::Said;
use super::{acl, invalid, shown};
use crate::image::entry::Xattr;
use crate::vfs::Result;
use crate::vfs::error::Context;
use crate::vfs::whiteout::is_private_xattr;
use std::collections::BTreeMap;

const SCHILY: &str = "SCHILY.xattr.";
const LIBARCHIVE: &str = "LIBARCHIVE.xattr.";

/// Text ACLs, and the attributes that they are.
const ACLS: [(&str, &str); 2] = [
    ("SCHILY.acl.access", "system.posix_acl_access"),
    ("SCHILY.acl.default", "system.posix_acl_default"),
];

/// Marks of overlay file systems that say: what is below this directory does not show.
const OPAQUE: [&[u8]; 4] = [
    b"trusted.overlay.opaque",
    b"user.overlay.opaque",
    b"trusted.fuseoverlayfs.opaque",
    b"user.fuseoverlayfs.opaque",
];

/// Longest name of an attribute: Linux's `XATTR_NAME_MAX`.
const NAME_MAX: usize = 255;

/// What the records say of attributes.
#[derive(Debug, Default)]
pub struct Found {
    /// Sorted, each once, without an overlay's own.
    pub xattrs: Vec<Xattr>,
    /// An overlay has marked the directory opaque.
    pub opaque: bool,
}

/// All attributes of an entry.
pub fn find(said: &Said<'_>, limits: &Limits) -> Result<Found> {
    let mut all = BTreeMap::new();
    for (name, value) in said.below(LIBARCHIVE) {
        let decoded = percent(name).zip(base64(value));
        let (name, value) = decoded
            .ok_or_else(|| invalid(format!("{LIBARCHIVE}{}: no base64", name.escape_ascii())))?;
        all.insert(name, value);
    }
    for (name, value) in said.below(SCHILY) {
        all.insert(unescape(name), value.to_vec());
    }
    // GNU tar writes the attribute and the text; the text may have names, which say less
    for (record, name) in ACLS {
        if let Some(text) = said.get(record)
            && !all.contains_key(name.as_bytes())
            && let Some(value) = acl::from_text(text).context(|| record)?
        {
            all.insert(name.as_bytes().to_vec(), value);
        }
    }
    let mut found = Found::default();
    for (name, value) in all {
        if is_private_xattr(&name) {
            found.opaque |= OPAQUE.contains(&&*name) && value == b"y";
        } else {
            found.xattrs.push((name.into(), value.into()));
        }
    }
    check(&found.xattrs, limits)?;
    Ok(found)
}

/// Checks attributes that are read or to be written.
pub fn check(xattrs: &[Xattr], limits: &Limits) -> Result<()> {
    within(
        "xattrs_per_file",
        xattrs.len() as u64,
        limits.xattrs_per_file,
    )?;
    for (name, value) in xattrs {
        if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
            return Err(invalid(format!("{} names no attribute", shown(name))));
        }
        within("xattr_bytes", value.len() as u64, limits.xattr_bytes)
            .context(|| format!("attribute {}", shown(name)))?;
    }
    Ok(())
}

/// The key of the record that has the attribute.
pub fn key(name: &[u8]) -> Vec<u8> {
    let mut key = SCHILY.as_bytes().to_vec();
    for (i, byte) in name.iter().enumerate() {
        let next = name.get(i + 1..i + 3);
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            // others read no escapes, so there is none without need
            b'%' if matches!(next, Some(b"25" | b"3D")) => key.extend_from_slice(b"%25"),
            _ => key.push(*byte),
        }
    }
    key
}

/// GNU tar's escapes: a key ends at the first `=`, so one in the name is `%3D`.
fn unescape(mut name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let (byte, rest) = match name {
            [b'%', b'2', b'5', rest @ ..] => (b'%', rest),
            [b'%', b'3', b'D', rest @ ..] => (b'=', rest),
            _ => (*first, rest),
        };
        out.push(byte);
        name = rest;
    }
    out
}

/// Undoes percent-encoding; `None` if it is broken.
fn percent(mut name: &[u8]) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let mut out = Vec::with_capacity(name.len());
    while let Some((first, rest)) = name.split_first() {
        let (byte, rest) = match name {
            [b'%', high, low, rest @ ..] => {
                let byte = digit(*high)? << 4 | digit(*low)?;
                (u8::try_from(byte).ok()?, rest)
            }
            [b'%', ..] => return None,
            _ => (*first, rest),
        };
        out.push(byte);
        name = rest;
    }
    Some(out)
}

/// Undoes base64, with or without padding; `None` if it is broken.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|b| *b != b'=').map_or(0, |i| i + 1);
    let text = text.get(..end)?;
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0;
        for letter in group {
            bits = bits << 6 | sextet(*letter)?;
        }
        // the bytes that are whole; a single letter makes none
        let bytes = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        out.extend_from_slice(bits.to_be_bytes().get(1..=bytes)?);
    }
    Some(out)
}

fn sextet(letter: u8) -> Option<u32> {
    Some(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::pax::{Records, append};
    use super::*;

    fn found(records: &[(&str, &[u8])]) -> Result<Found> {
        let mut text = Vec::new();
        for (key, value) in records {
            append(&mut text, key.as_bytes(), value);
        }
        let (mut own, global) = (Records::default(), Records::default());
        own.add(&text, 1 << 20)?;
        let limits = Limits {
            xattrs_per_file: 2,
            ..Limits::default()
        };
        find(
            &Said {
                own: &own,
                global: &global,
            },
            &limits,
        )
    }

    fn xattr(name: &str, value: &[u8]) -> Xattr {
        (name.as_bytes().into(), value.into())
    }

    #[test]
    fn attributes_of_both_forms() {
        let f = found(&[
            ("SCHILY.xattr.user.b", b"\0\n="),
            ("LIBARCHIVE.xattr.user.%61", b"AAEC/w"),
            ("LIBARCHIVE.xattr.user.b", b"eA=="),
        ]);
        let all = [
            xattr("user.a", b"\0\x01\x02\xff"),
            xattr("user.b", b"\0\n="),
        ];
        assert_eq!(f.unwrap().xattrs, all);
        let empty = found(&[("SCHILY.xattr.user.b", b"")]).unwrap();
        assert_eq!(empty.xattrs, [xattr("user.b", b"")]);
        for bad in [&b"A"[..], b"A*==", b"AAAAA"] {
            assert!(found(&[("LIBARCHIVE.xattr.user.a", bad)]).is_err());
        }
        assert!(found(&[("LIBARCHIVE.xattr.user.%6", b"AA")]).is_err());
        assert!(found(&[("LIBARCHIVE.xattr.user.%+6", b"AA")]).is_err());
    }

    #[test]
    fn an_overlays_own_are_left_out() {
        let f = found(&[
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.origin", b"x"),
        ]);
        let f = f.unwrap();
        assert!(f.opaque && f.xattrs.is_empty());
        let not = found(&[("SCHILY.xattr.trusted.overlay.opaque", b"x")]).unwrap();
        assert!(!not.opaque);
    }

    #[test]
    fn acls_become_attributes() {
        let text = b"user::rw-,user:7:r--,group::r--,mask::r--,other::r--";
        let f = found(&[("SCHILY.acl.access", text)]).unwrap();
        assert_eq!(&*f.xattrs[0].0, b"system.posix_acl_access");
        let f = found(&[
            ("SCHILY.acl.access", b"user:somebody:r--"),
            ("SCHILY.xattr.system.posix_acl_access", b"exact"),
        ]);
        assert_eq!(
            f.unwrap().xattrs,
            [xattr("system.posix_acl_access", b"exact")]
        );
    }

    #[test]
    fn limits_hold() {
        let long = format!("SCHILY.xattr.user.{}", "x".repeat(251));
        assert!(found(&[(&long, b"")]).is_err());
        assert!(found(&[("SCHILY.xattr.", b"")]).is_err());
        assert!(found(&[("SCHILY.xattr.user.a", &[0; 65537])]).is_err());
        let three = ["a", "b", "c"].map(|n| format!("SCHILY.xattr.user.{n}"));
        let three = three.each_ref().map(|n| (n.as_str(), &b""[..]));
        assert!(found(&three[..2]).is_ok());
        let error = found(&three).unwrap_err();
        assert!(error.reason().contains("xattrs_per_file"), "{error}");
    }

    #[test]
    fn keys_are_escaped_as_little_as_can_be() {
        for (name, escaped) in [
            ("user.a=b", "user.a%3Db"),
            ("user.50%", "user.50%"),
            ("user.%25", "user.%2525"),
            ("user.%%3D=", "user.%%253D%3D"),
            ("user.%=", "user.%%3D"),
        ] {
            let key = key(name.as_bytes());
            let rest = key.strip_prefix(SCHILY.as_bytes()).unwrap();
            assert_eq!(rest, escaped.as_bytes());
            assert_eq!(unescape(rest), name.as_bytes());
        }
    }
}
