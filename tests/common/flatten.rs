//! The plain directory that a stack of layers stands for.
//!
//! Made the way an image is unpacked: the lowest layer first, each further one applied on top of
//! what is there. That shares no idea with looking names up from the top, which is the point.

use super::posix::{chmod, get_xattr, lchown, lstat, set_xattr, utimens, xattrs};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Fills the empty directory `out` with what `layers` (topmost first) show.
pub fn flatten(layers: &[PathBuf], out: &Path) {
    for layer in layers.iter().rev() {
        apply(layer, out);
    }
}

/// Applies one layer.
pub fn apply(layer: &Path, out: &Path) {
    let mut links = HashMap::new();
    apply_dir(layer, out, &mut links);
}

fn apply_dir(layer: &Path, out: &Path, links: &mut HashMap<u64, PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(layer).unwrap().map(|e| e.unwrap()).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    if is_opaque(layer) {
        for old in fs::read_dir(out).unwrap() {
            remove(&old.unwrap().path());
        }
    }
    // what hides the layers below must not hide what this layer has itself
    for entry in &entries {
        if let Some(name) = entry.file_name().as_bytes().strip_prefix(b".wh.") {
            remove(&out.join(OsString::from_vec(name.to_vec())));
        }
    }
    for entry in &entries {
        let (from, to) = (entry.path(), out.join(entry.file_name()));
        if entry.file_name().as_bytes().starts_with(b".wh.") {
            continue;
        }
        if is_whiteout(&from) {
            remove(&to);
        } else {
            apply_entry(&from, &to, links);
        }
    }
    copy_attributes(layer, out);
}

fn apply_entry(from: &Path, to: &Path, links: &mut HashMap<u64, PathBuf>) {
    let m = fs::symlink_metadata(from).unwrap();
    if m.is_dir() {
        if !fs::symlink_metadata(to).is_ok_and(|m| m.is_dir()) {
            remove(to);
            fs::create_dir(to).unwrap();
        }
        apply_dir(from, to, links);
        return;
    }
    remove(to);
    if let Some(first) = links.get(&m.ino()) {
        fs::hard_link(first, to).unwrap();
        return;
    }
    let kind = m.file_type();
    if kind.is_file() {
        fs::copy(from, to).unwrap();
    } else if kind.is_symlink() {
        symlink(fs::read_link(from).unwrap(), to).unwrap();
    } else {
        let file_type = rustix::fs::FileType::from_raw_mode(m.mode());
        let mode = rustix::fs::Mode::empty();
        rustix::fs::mknodat(rustix::fs::CWD, to, file_type, mode, m.rdev()).unwrap();
    }
    copy_attributes(from, to);
    if m.nlink() > 1 {
        links.insert(m.ino(), to.to_owned());
    }
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Err(_) => {}
        Ok(m) if m.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
    }
}

fn has(path: &Path, name: &str, value: &[u8]) -> bool {
    get_xattr(path, name.as_bytes()).is_ok_and(|v| v == value)
}

fn is_whiteout(path: &Path) -> bool {
    // kernel overlayfs lists a whiteout in a directory that only one layer has, and finds nothing
    let Ok(m) = fs::symlink_metadata(path) else {
        return true;
    };
    m.file_type().is_char_device() && m.rdev() == 0
        || m.is_file()
            && m.size() == 0
            && ["trusted.overlay.whiteout", "user.overlay.whiteout"]
                .iter()
                .any(|n| get_xattr(path, n.as_bytes()).is_ok())
}

fn is_opaque(dir: &Path) -> bool {
    let names = [
        "trusted.overlay.opaque",
        "user.overlay.opaque",
        "user.fuseoverlayfs.opaque",
    ];
    names.iter().any(|n| has(dir, n, b"y")) || dir.join(".wh..wh..opq").exists()
}

/// True for an attribute that is a union file system's own.
pub fn is_mark(name: &[u8]) -> bool {
    [
        &b"trusted.overlay."[..],
        b"user.overlay.",
        b"user.fuseoverlayfs.",
    ]
    .iter()
    .any(|p| name.starts_with(p))
}

/// Makes `to` have the owner, mode, attributes and times of `from`, and no attributes beyond.
pub fn copy_attributes(from: &Path, to: &Path) {
    let st = lstat(from).unwrap();
    for name in xattrs(to).unwrap().keys() {
        rustix::fs::lremovexattr(to, name.as_slice()).unwrap();
    }
    lchown(to, st.st_uid, st.st_gid).unwrap();
    if st.st_mode & libc::S_IFMT != libc::S_IFLNK {
        chmod(to, st.st_mode & 0o7777).unwrap();
    }
    for (name, value) in xattrs(from).unwrap() {
        if !is_mark(&name) {
            set_xattr(to, &name, &value, 0).unwrap();
        }
    }
    let time = |sec: i64, nsec: u64| (sec, nsec as i64);
    utimens(
        to,
        time(st.st_atime as i64, st.st_atime_nsec as u64),
        time(st.st_mtime as i64, st.st_mtime_nsec as u64),
    )
    .unwrap();
}
