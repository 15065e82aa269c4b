//! The marks of union file systems, as bytes: names of extended attributes, `.wh.` names,
//! redirects, and the record of a copied-up file's number. A codec, with no I/O.
//!
//! The overlay forms are those of the kernel's `Documentation/filesystems/overlayfs.rst`; the
//! `.wh.` forms those of AUFS and of the OCI image spec's layer changesets.

use super::attr::NodeId;

/// Prefix of an AUFS whiteout's name.
pub const AUFS_PREFIX: &[u8] = b".wh.";
/// AUFS's mark of an opaque directory: a file of this name in it.
pub const AUFS_OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own files in a layer begin so; they are never shown.
pub const AUFS_META: &[u8] = b".wh..wh.";

/// Longest name of a file, in bytes.
pub const NAME_MAX: usize = 255;

/// The two namespaces that overlay marks live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// `trusted.overlay.`: needs CAP_SYS_ADMIN in the first user namespace.
    Trusted,
    /// `user.overlay.`: overlayfs's `userxattr`.
    User,
}

impl Prefix {
    /// The prefix with its final dot.
    pub fn as_str(self) -> &'static str {
        match self {
            Prefix::Trusted => "trusted.overlay.",
            Prefix::User => "user.overlay.",
        }
    }

    /// The full name of mark `mark`.
    pub fn name(self, mark: &str) -> Vec<u8> {
        format!("{}{mark}", self.as_str()).into_bytes()
    }
}

/// What an AUFS-style name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AufsName<'a> {
    /// Not special.
    Plain,
    /// Hides this name in the layers below.
    Whiteout(&'a [u8]),
    /// Hides everything of this directory in the layers below.
    Opaque,
    /// AUFS's own business.
    Meta,
}

/// Reads a name the AUFS way.
pub fn aufs_name(name: &[u8]) -> AufsName<'_> {
    if name == AUFS_OPAQUE {
        return AufsName::Opaque;
    }
    if name.starts_with(AUFS_META) {
        return AufsName::Meta;
    }
    match name.strip_prefix(AUFS_PREFIX) {
        Some(rest) if !rest.is_empty() && rest != b"." && rest != b".." => AufsName::Whiteout(rest),
        _ => AufsName::Plain,
    }
}

/// True for an extended attribute that is a mark of a union file system and so never shown:
/// what the kernel's overlayfs hides, and fuse-overlayfs's own.
pub fn is_private_xattr(name: &[u8]) -> bool {
    OVERLAY_PREFIXES.iter().any(|p| {
        name.strip_prefix(*p)
            .is_some_and(|rest| !rest.starts_with(ESCAPE))
    }) || FOREIGN_PREFIXES.iter().any(|p| name.starts_with(p))
}

const OVERLAY_PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
const FOREIGN_PREFIXES: [&[u8]; 2] = [b"user.fuseoverlayfs.", b"trusted.fuseoverlayfs."];
/// A mark that a program in the mount sets (a nested overlay does) is kept with this in front,
/// as the kernel's overlayfs keeps it: `trusted.overlay.overlay.opaque`.
const ESCAPE: &[u8] = b"overlay.";

/// The attribute that keeps what programs call `name`; `None` for names that cannot be kept.
pub fn xattr_on_disk(name: &[u8]) -> Option<Vec<u8>> {
    if FOREIGN_PREFIXES.iter().any(|p| name.starts_with(p)) {
        return None;
    }
    for prefix in OVERLAY_PREFIXES {
        if let Some(rest) = name.strip_prefix(prefix) {
            return Some([prefix, ESCAPE, rest].concat());
        }
    }
    Some(name.to_vec())
}

/// What programs call the attribute `name`; `None` for the mount's own marks.
pub fn xattr_shown(name: &[u8]) -> Option<Vec<u8>> {
    if is_private_xattr(name) {
        return None;
    }
    for prefix in OVERLAY_PREFIXES {
        if let Some(rest) = name.strip_prefix(prefix) {
            return Some([prefix, &rest[ESCAPE.len()..]].concat());
        }
    }
    Some(name.to_vec())
}

/// Where a moved directory or a metadata-only copy has its lower part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// Path components from the root of the layers below.
    Absolute(Vec<Vec<u8>>),
    /// Another name in the same directory of the layers below.
    Sibling(Vec<u8>),
}

impl Redirect {
    /// Reads the value of a redirect attribute; `None` when it is none that overlayfs writes.
    pub fn parse(value: &[u8]) -> Option<Redirect> {
        let good = |c: &[u8]| {
            !c.is_empty() && c != b"." && c != b".." && c.len() <= NAME_MAX && !c.contains(&0)
        };
        match value.strip_prefix(b"/") {
            Some(path) => {
                let parts: Vec<Vec<u8>> = path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
                parts
                    .iter()
                    .all(|p| good(p))
                    .then_some(Redirect::Absolute(parts))
            }
            None if value.contains(&b'/') => None,
            None => good(value).then(|| Redirect::Sibling(value.to_vec())),
        }
    }

    /// The value of the attribute.
    pub fn to_value(&self) -> Vec<u8> {
        match self {
            Redirect::Absolute(parts) => {
                let mut out = Vec::new();
                for part in parts {
                    out.push(b'/');
                    out.extend_from_slice(part);
                }
                out
            }
            Redirect::Sibling(name) => name.clone(),
        }
    }
}

/// The value of the mark `origin`: the lower file that a file of the upper is a copy of, by its
/// handle. `struct ovl_fb` of the kernel's overlayfs; `None` for a handle that does not fit.
pub fn origin_value(uuid: &[u8; 16], kind: i32, handle: &[u8]) -> Option<Vec<u8>> {
    const VERSION: u8 = 0;
    const MAGIC: u8 = 0xfb;
    const HEAD: usize = 21;
    let len = u8::try_from(HEAD + handle.len()).ok()?;
    let kind = u8::try_from(kind).ok()?;
    let mut out = vec![
        VERSION,
        MAGIC,
        len,
        u8::from(cfg!(target_endian = "big")),
        kind,
    ];
    out.extend_from_slice(uuid);
    out.extend_from_slice(handle);
    Some(out)
}

/// Which number a copied-up file keeps.
///
/// Valid only in the very inode it was written to and over the very layers it was written for, so
/// that a copy of an upper, or other layers beneath it, never give two files one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InoRecord {
    /// The number shown.
    pub node: NodeId,
    /// The inode in the upper that the record belongs to.
    pub inode: u64,
    /// Fingerprint of the stack of layers.
    pub layers: u64,
}

impl InoRecord {
    /// The name of the attribute, after a [`Prefix`].
    pub const MARK: &'static str = "vellum.ino";

    /// 24 bytes, little-endian.
    pub fn to_value(&self) -> [u8; 24] {
        let mut out = [0; 24];
        out[..8].copy_from_slice(&self.node.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.inode.to_le_bytes());
        out[16..].copy_from_slice(&self.layers.to_le_bytes());
        out
    }

    /// Reads what [`InoRecord::to_value`] wrote.
    pub fn parse(value: &[u8]) -> Option<InoRecord> {
        let (words, []) = value.as_chunks::<8>() else {
            return None;
        };
        let [node, inode, layers] = words else {
            return None;
        };
        Some(InoRecord {
            node: NodeId(u64::from_le_bytes(*node)),
            inode: u64::from_le_bytes(*inode),
            layers: u64::from_le_bytes(*layers),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aufs_names() {
        assert_eq!(aufs_name(b"a"), AufsName::Plain);
        assert_eq!(aufs_name(b".wh.a"), AufsName::Whiteout(b"a"));
        assert_eq!(aufs_name(b".wh..wh..opq"), AufsName::Opaque);
        assert_eq!(aufs_name(b".wh..wh.plnk"), AufsName::Meta);
        assert_eq!(aufs_name(b".wh."), AufsName::Plain);
        assert_eq!(aufs_name(b".wh..."), AufsName::Plain);
        assert_eq!(aufs_name(b".wh..hidden"), AufsName::Whiteout(b".hidden"));
    }

    #[test]
    fn redirects() {
        let abs = Redirect::parse(b"/a/b").unwrap();
        assert_eq!(abs, Redirect::Absolute(vec![b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(abs.to_value(), b"/a/b");
        assert_eq!(
            Redirect::parse(b"a"),
            Some(Redirect::Sibling(b"a".to_vec()))
        );
        for bad in [
            &b""[..],
            b"/",
            b"//a",
            b"/a/",
            b"a/b",
            b".",
            b"..",
            b"/a/../b",
            b"a\0",
        ] {
            assert_eq!(Redirect::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn marks_of_programs_are_kept_apart_from_ours() {
        for name in [
            &b"trusted.overlay.opaque"[..],
            b"user.overlay.overlay.x",
            b"user.a",
        ] {
            let disk = xattr_on_disk(name).unwrap();
            assert!(!is_private_xattr(&disk));
            assert_eq!(xattr_shown(&disk).unwrap(), name);
        }
        assert_eq!(xattr_shown(b"trusted.overlay.opaque"), None);
        assert_eq!(xattr_on_disk(b"user.fuseoverlayfs.opaque"), None);
    }

    #[test]
    fn an_origin_is_written_as_the_kernel_does() {
        // as kernel overlayfs wrote it for an inode of an ext4 whose id is all zeros
        let handle = [0x42, 0x01, 0x9a, 0, 0x1b, 0xec, 0x78, 0x92];
        let value = origin_value(&[0; 16], 1, &handle).unwrap();
        assert_eq!(
            value[..5],
            [0, 0xfb, 0x1d, u8::from(cfg!(target_endian = "big")), 1]
        );
        assert_eq!((&value[5..21], &value[21..]), (&[0; 16][..], &handle[..]));
        assert_eq!(origin_value(&[0; 16], 1, &[0; 235]), None);
        assert_eq!(origin_value(&[0; 16], 256, &handle), None);
    }

    #[test]
    fn the_number_record_round_trips() {
        let r = InoRecord {
            node: NodeId(5),
            inode: 6,
            layers: 7,
        };
        assert_eq!(InoRecord::parse(&r.to_value()), Some(r));
        assert_eq!(InoRecord::parse(&[0; 23]), None);
        assert_eq!(InoRecord::parse(&[0; 25]), None);
    }
}
