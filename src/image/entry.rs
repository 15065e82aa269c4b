//! One entry of a layer: what its tar says of a file, or of a missing one.

use crate::vfs::Time;
use serde::{Deserialize, Serialize};

/// A path from the root of the image, in its parts; the root has none. No part is empty, `.`, `..`
/// or longer than 255 bytes, and none has a `/` or a NUL in it.
pub type Path = Vec<Box<[u8]>>;

/// An extended attribute: its name and its value.
pub type Xattr = (Box<[u8]>, Box<[u8]>);

/// What every file has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the data: seconds since the epoch.
    pub mtime: i64,
    /// Nanoseconds after `mtime`.
    pub mtime_nsec: u32,
    /// Extended attributes, sorted by name, each name once. ACLs are among them, in the kernel's
    /// own form.
    pub xattrs: Vec<Xattr>,
}

impl Meta {
    /// The time of the last change.
    pub fn time(&self) -> Time {
        Time {
            sec: self.mtime,
            nsec: self.mtime_nsec,
        }
    }
}

/// What a layer says of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// There is a directory. What layers below have in it shows.
    Dir(Meta),
    /// There is a file of so many bytes, which follow.
    File(Meta, u64),
    /// There is a symlink to this.
    Symlink(Meta, Box<[u8]>),
    /// There is another name of the file at that path, which may be of a layer below.
    Hardlink(Path),
    /// There is a character device of this number, in the encoding of `st_rdev`.
    CharDev(Meta, u64),
    /// There is a block device.
    BlockDev(Meta, u64),
    /// There is a named pipe.
    Fifo(Meta),
    /// What layers below have there does not show.
    Whiteout,
    /// What layers below have in this directory does not show.
    Opaque,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where. For a whiteout, what it hides; for an opaque mark, the directory.
    pub path: Path,
    /// What.
    pub item: Item,
}

/// A path as people can read it: text as it is, other bytes and what would disturb a line escaped.
pub fn show(path: &[Box<[u8]>]) -> String {
    let names: Vec<String> = path.iter().map(|name| show_name(name)).collect();
    format!("/{}", names.join("/"))
}

fn show_name(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.chars().any(|c| c.is_control() || c == '\\') => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_on_one_line() {
        let path = |names: &[&[u8]]| -> Path { names.iter().map(|n| Box::from(*n)).collect() };
        assert_eq!(show(&path(&[])), "/");
        let text = path(&["ä b".as_bytes(), b"a\nb", b"\xff", b"c\\d"]);
        assert_eq!(show(&text), "/ä b/a\\nb/\\xff/c\\\\d");
    }
}
