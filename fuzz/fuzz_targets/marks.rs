//! The codec of marks: what is written is read back, and what is read is written the same.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use vellum::vfs::NodeId;
use vellum::vfs::whiteout::{
    AUFS_PREFIX, AufsName, InoRecord, NAME_MAX, Redirect, aufs_name, is_private_xattr,
    xattr_on_disk, xattr_shown,
};

#[derive(Arbitrary, Debug)]
enum Input {
    /// A value or name as some layer has it.
    Raw(Vec<u8>),
    /// The same, behind one of the prefixes that mean something.
    Prefixed(u8, Vec<u8>),
    /// A redirect to be written.
    Path(Vec<Vec<u8>>),
    /// A record to be written.
    Ino(u64, u64, u64),
}

const PREFIXES: [&[u8]; 7] = [
    b".wh.",
    b".wh..wh.",
    b"trusted.overlay.",
    b"user.overlay.",
    b"trusted.overlay.overlay.",
    b"user.fuseoverlayfs.",
    b"/",
];

fuzz_target!(|input: Input| {
    match input {
        Input::Raw(bytes) => raw(&bytes),
        Input::Prefixed(n, bytes) => {
            raw(&[PREFIXES[usize::from(n) % PREFIXES.len()], &bytes].concat());
        }
        Input::Path(parts) => {
            let good = |p: &Vec<u8>| {
                !p.is_empty()
                    && p.len() <= NAME_MAX
                    && !p.iter().any(|b| matches!(b, 0 | b'/'))
                    && p != b"."
                    && p != b".."
            };
            if !parts.is_empty() && parts.iter().all(good) {
                let redirect = Redirect::Absolute(parts);
                assert_eq!(Redirect::parse(&redirect.to_value()), Some(redirect));
            }
        }
        Input::Ino(node, inode, layers) => {
            let record = InoRecord {
                node: NodeId(node),
                inode,
                layers,
            };
            assert_eq!(InoRecord::parse(&record.to_value()), Some(record));
        }
    }
});

fn raw(bytes: &[u8]) {
    if let Some(redirect) = Redirect::parse(bytes) {
        assert_eq!(redirect.to_value(), bytes);
        let parts = match redirect {
            Redirect::Absolute(parts) => parts,
            Redirect::Sibling(name) => vec![name],
        };
        for part in parts {
            assert!(!part.is_empty() && part != b"." && part != b"..");
            assert!(!part.contains(&b'/') && !part.contains(&0));
        }
    }
    if let AufsName::Whiteout(hidden) = aufs_name(bytes) {
        assert_eq!([AUFS_PREFIX, hidden].concat(), bytes);
        assert!(!hidden.is_empty() && hidden != b"." && hidden != b"..");
    }
    match InoRecord::parse(bytes) {
        Some(record) => assert_eq!(record.to_value(), bytes),
        None => assert_ne!(bytes.len(), 24),
    }
    xattrs(bytes);
}

fn xattrs(name: &[u8]) {
    if let Some(disk) = xattr_on_disk(name) {
        // what a program sets is never taken for a mark, and comes back by its name
        assert!(!is_private_xattr(&disk));
        assert_eq!(xattr_shown(&disk).as_deref(), Some(name));
    }
    match xattr_shown(name) {
        Some(shown) => {
            assert!(!is_private_xattr(name));
            assert_eq!(xattr_on_disk(&shown).as_deref(), Some(name));
        }
        None => assert!(is_private_xattr(name)),
    }
}
