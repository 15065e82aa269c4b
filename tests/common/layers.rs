//! Recipes of layers: what lies in a lower, with every kind of file and every kind of mark.

use super::posix::{acl, chmod, lchown, set_xattr, utimens};
use proptest::prelude::*;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// How a layer says that something of the layers below is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A character device 0:0; for a directory, `trusted.overlay.opaque`.
    Device,
    /// `trusted.overlay.whiteout` on an empty file; `trusted.overlay.opaque`.
    Trusted,
    /// The same in `user.overlay.`.
    User,
    /// `.wh.NAME` and `.wh..wh..opq`.
    Aufs,
    /// fuse-overlayfs's attribute for directories; its whiteouts are devices.
    Fuse,
}

/// One thing in a layer.
#[derive(Clone, Debug)]
pub enum Item {
    File {
        path: &'static str,
        len: usize,
        byte: u8,
        mode: u32,
        uid: u32,
    },
    Sparse {
        path: &'static str,
        hole: u64,
        len: usize,
    },
    Dir {
        path: &'static str,
        mode: u32,
        uid: u32,
    },
    Symlink {
        path: &'static str,
        target: &'static str,
    },
    Fifo {
        path: &'static str,
    },
    Socket {
        path: &'static str,
    },
    Dev {
        path: &'static str,
        major: u32,
        minor: u32,
    },
    Link {
        from: &'static str,
        to: &'static str,
    },
    Xattr {
        path: &'static str,
        name: &'static str,
        len: usize,
    },
    Acl {
        path: &'static str,
        default: bool,
    },
    Gone {
        path: &'static str,
        how: Mark,
    },
    Opaque {
        path: &'static str,
        how: Mark,
    },
}

/// Builds a layer in `dir`, which must exist. An item that finds its place taken is left out, so
/// that any list of items is a recipe.
pub fn build(dir: &Path, number: usize, items: &[Item]) {
    rustix::process::umask(rustix::fs::Mode::empty());
    for item in items {
        put(dir, item);
    }
    stamp(dir, dir, number);
}

fn free(dir: &Path, path: &str) -> Option<PathBuf> {
    let full = dir.join(path);
    let parent = full.parent().unwrap();
    if fs::create_dir_all(parent).is_err() || !fs::symlink_metadata(parent).ok()?.is_dir() {
        return None;
    }
    fs::symlink_metadata(&full).is_err().then_some(full)
}

fn special(path: &Path, kind: rustix::fs::FileType, dev: u64) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path,
        kind,
        rustix::fs::Mode::from_raw_mode(0o640),
        dev,
    )
    .unwrap();
}

fn put(dir: &Path, item: &Item) -> Option<()> {
    use rustix::fs::FileType;
    match *item {
        Item::File {
            path,
            len,
            byte,
            mode,
            uid,
        } => {
            let full = free(dir, path)?;
            fs::write(&full, content(byte, len)).unwrap();
            lchown(&full, uid, uid / 2).unwrap();
            chmod(&full, mode).unwrap();
        }
        Item::Sparse { path, hole, len } => {
            let mut file = fs::File::create(free(dir, path)?).unwrap();
            file.seek(SeekFrom::Start(hole)).unwrap();
            file.write_all(&content(b's', len)).unwrap();
            file.set_len(2 * hole + len as u64).unwrap();
        }
        Item::Dir { path, mode, uid } => {
            let full = free(dir, path)?;
            fs::create_dir(&full).unwrap();
            lchown(&full, uid, uid / 2).unwrap();
            chmod(&full, mode).unwrap();
        }
        Item::Symlink { path, target } => symlink(target, free(dir, path)?).unwrap(),
        Item::Fifo { path } => special(&free(dir, path)?, FileType::Fifo, 0),
        Item::Socket { path } => special(&free(dir, path)?, FileType::Socket, 0),
        Item::Dev { path, major, minor } => special(
            &free(dir, path)?,
            FileType::CharacterDevice,
            rustix::fs::makedev(major, minor),
        ),
        Item::Link { from, to } => {
            let (from, to) = (dir.join(from), free(dir, to)?);
            let m = fs::symlink_metadata(&from).ok()?;
            if !m.is_dir() && !is_mark(&from) {
                fs::hard_link(&from, &to).unwrap();
            }
        }
        Item::Xattr { path, name, len } => {
            let full = dir.join(path);
            let m = fs::symlink_metadata(&full).ok()?;
            if (m.is_file() || m.is_dir()) && !is_mark(&full) {
                set_xattr(&full, name.as_bytes(), &content(b'x', len), 0).unwrap();
            }
        }
        Item::Acl { path, default } => {
            let full = dir.join(path);
            let m = fs::symlink_metadata(&full).ok()?;
            if is_mark(&full) || !(m.is_dir() || m.is_file() && !default) {
                return None;
            }
            let name = if default { "default" } else { "access" };
            let name = format!("system.posix_acl_{name}");
            set_xattr(&full, name.as_bytes(), &acl(7, 5, 4, 5, 1), 0).unwrap();
        }
        Item::Gone { path, how } => gone(dir, path, how)?,
        Item::Opaque { path, how } => opaque(dir, path, how)?,
    }
    Some(())
}

fn gone(dir: &Path, path: &str, how: Mark) -> Option<()> {
    match how {
        Mark::Device | Mark::Fuse => {
            let full = free(dir, path)?;
            special(&full, rustix::fs::FileType::CharacterDevice, 0);
        }
        Mark::Trusted | Mark::User => {
            let full = free(dir, path)?;
            let ns = namespace(how);
            let parent = full.parent().unwrap();
            let opaque = format!("{ns}.overlay.opaque");
            // in a directory that is opaque (`y`) the kernel looks for no such whiteouts
            if has(parent, &opaque, b"y") {
                return None;
            }
            set_xattr(parent, opaque.as_bytes(), b"x", 0).unwrap();
            fs::write(&full, b"").unwrap();
            set_xattr(&full, format!("{ns}.overlay.whiteout").as_bytes(), b"y", 0).unwrap();
        }
        Mark::Aufs => {
            let full = dir.join(path);
            let name = full.file_name()?.to_str()?.to_owned();
            let mark = full.with_file_name(format!(".wh.{name}"));
            fs::write(free(dir, mark.strip_prefix(dir).unwrap().to_str()?)?, b"").unwrap();
        }
    }
    Some(())
}

fn opaque(dir: &Path, path: &str, how: Mark) -> Option<()> {
    let full = dir.join(path);
    if !fs::symlink_metadata(&full).ok()?.is_dir() {
        return None;
    }
    let name = match how {
        Mark::Aufs => {
            fs::write(full.join(".wh..wh..opq"), b"").unwrap();
            return Some(());
        }
        Mark::Fuse => "user.fuseoverlayfs.opaque".to_owned(),
        _ => format!("{}.overlay.opaque", namespace(how)),
    };
    if !has(&full, &name, b"x") {
        set_xattr(&full, name.as_bytes(), b"y", 0).unwrap();
    }
    Some(())
}

fn namespace(how: Mark) -> &'static str {
    match how {
        Mark::User => "user",
        _ => "trusted",
    }
}

fn has(path: &Path, name: &str, value: &[u8]) -> bool {
    super::posix::get_xattr(path, name.as_bytes()).is_ok_and(|v| v == value)
}

/// True for a file that is a whiteout: nothing more may be done to it.
fn is_mark(path: &Path) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let m = fs::symlink_metadata(path).unwrap();
    m.file_type().is_char_device() && m.rdev() == 0
        || has(path, "trusted.overlay.whiteout", b"y")
        || has(path, "user.overlay.whiteout", b"y")
}

/// `len` bytes that differ from place to place, so that a shifted page shows.
pub fn content(byte: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| {
            byte.wrapping_add((i / 13) as u8)
                .wrapping_add((i >> 12) as u8)
        })
        .collect()
}

/// Gives every file of a layer a time that is its own, odd ones among them.
fn stamp(root: &Path, at: &Path, number: usize) {
    let m = fs::symlink_metadata(at).unwrap();
    if m.is_dir() {
        for entry in fs::read_dir(at).unwrap() {
            stamp(root, &entry.unwrap().path(), number);
        }
    }
    let rel = at.strip_prefix(root).unwrap().to_str().unwrap();
    let hash = rel.bytes().fold(17 + number as u64, |h, b| {
        h.wrapping_mul(31).wrapping_add(b.into())
    });
    let sec = match hash % 7 {
        0 => -5,            // before 1970
        1 => 4_102_444_800, // 2100
        2 => 0,
        _ => 1_000_000_000 + (hash % 100_000) as i64,
    };
    let stamp = (sec, (hash % 1_000_000_007) as i64 % 1_000_000_000);
    utimens(at, stamp, stamp).unwrap();
}

/// Marks that a recipe may use.
pub const ALL_MARKS: &[Mark] = &[
    Mark::Device,
    Mark::Trusted,
    Mark::User,
    Mark::Aufs,
    Mark::Fuse,
];
/// Marks that the kernel's overlayfs reads, too.
pub const KERNEL_MARKS: &[Mark] = &[Mark::Device, Mark::Trusted];

/// The same with `userxattr`.
pub const USER_MARKS: &[Mark] = &[Mark::Device, Mark::User];

/// A random layer over the paths that operations use.
pub fn any_layer(marks: &'static [Mark]) -> impl Strategy<Value = Vec<Item>> {
    use super::random::any_path;
    let mode = prop::sample::select(&[0o644u32, 0o600, 0o755, 0o4755, 0o2755, 0o444, 0o1777][..]);
    let dir_mode = prop::sample::select(&[0o755u32, 0o700, 0o2755, 0o1777, 0o2750, 0o555][..]);
    let uid = prop::sample::select(&[0u32, 1000, 2_000_000_000][..]);
    let mark = prop::sample::select(marks);
    let len = prop::sample::select(&[0usize, 5, 4096, 9000][..]);
    let name = prop::sample::select(&["user.a", "user.b", "trusted.t", "security.s"][..]);
    let item = prop_oneof![
        6 => (any_path(), len, 97u8..123, mode, uid.clone())
            .prop_map(|(path, len, byte, mode, uid)| Item::File { path, len, byte, mode, uid }),
        5 => (any_path(), dir_mode, uid).prop_map(|(path, mode, uid)| Item::Dir { path, mode, uid }),
        1 => (any_path(), any_path()).prop_map(|(path, target)| Item::Symlink { path, target }),
        1 => any_path().prop_map(|path| Item::Fifo { path }),
        1 => any_path().prop_map(|path| Item::Socket { path }),
        1 => any_path().prop_map(|path| Item::Dev { path, major: 1, minor: 7 }),
        1 => any_path().prop_map(|path| Item::Sparse { path, hole: 20_000, len: 5000 }),
        3 => (any_path(), any_path()).prop_map(|(from, to)| Item::Link { from, to }),
        2 => (any_path(), name, 0usize..40).prop_map(|(path, name, len)| Item::Xattr { path, name, len }),
        1 => (any_path(), any::<bool>()).prop_map(|(path, default)| Item::Acl { path, default }),
        2 => (any_path(), mark.clone()).prop_map(|(path, how)| Item::Gone { path, how }),
        2 => (any_path(), mark).prop_map(|(path, how)| Item::Opaque { path, how }),
    ];
    prop::collection::vec(item, 0..14)
}

/// A random stack, topmost layer first.
pub fn any_stack(marks: &'static [Mark]) -> impl Strategy<Value = Vec<Vec<Item>>> {
    prop::collection::vec(any_layer(marks), 1..4).prop_map(move |mut layers| {
        // the kernel looks for whiteouts by attribute "except in the lowermost layer", where they
        // hide nothing; there it lists them
        if marks != ALL_MARKS
            && let Some(lowest) = layers.last_mut()
        {
            let by_attr = |i: &Item| {
                matches!(
                    i,
                    Item::Gone {
                        how: Mark::Trusted | Mark::User,
                        ..
                    }
                )
            };
            lowest.retain(|i| !by_attr(i));
        }
        if marks == USER_MARKS {
            for layer in &mut layers {
                // of a directory, this mark is one in `trusted.`
                layer.retain(|i| {
                    !matches!(
                        i,
                        Item::Opaque {
                            how: Mark::Device,
                            ..
                        }
                    )
                });
            }
        }
        layers
    })
}

/// A random stack for kernel overlayfs as the reference. Only the topmost layer has hard links:
/// of a lower one, it counts the names that a layer above hides.
pub fn reference_stack() -> impl Strategy<Value = Vec<Vec<Item>>> {
    any_stack(KERNEL_MARKS).prop_map(|mut layers| {
        for layer in layers.iter_mut().skip(1) {
            layer.retain(|i| !matches!(i, Item::Link { .. }));
        }
        // nor whiteouts by attribute: a directory of one layer that has one is never empty to it
        for layer in &mut layers {
            layer.retain(|i| {
                !matches!(
                    i,
                    Item::Gone {
                        how: Mark::Trusted,
                        ..
                    }
                )
            });
        }
        layers
    })
}
