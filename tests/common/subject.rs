//! What operations can be done to: a directory, or an engine.

use super::posix::{R, Stamp};
use super::tree::Tree;

/// What `lstat` and `fstat` say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u64,
    pub size: u64,
    pub rdev: u64,
    pub atime: Stamp,
    pub mtime: Stamp,
}

impl Stat {
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }
}

/// A name and the type bits that the listing gives.
pub type Name = (String, u32);

/// The system calls. Paths are relative to the root, which is ""; every directory on the way must
/// be one (a symlink there is ENOTDIR), and a last symlink is not followed.
pub trait Subject {
    fn stat(&mut self, path: &str) -> R<Stat>;
    /// `O_CREAT | O_EXCL`.
    fn create(&mut self, path: &str, mode: u32) -> R<()>;
    fn mkdir(&mut self, path: &str, mode: u32) -> R<()>;
    /// `mode` with type bits.
    fn mknod(&mut self, path: &str, mode: u32, rdev: u64) -> R<()>;
    fn symlink(&mut self, path: &str, target: &str) -> R<()>;
    fn readlink(&mut self, path: &str) -> R<Vec<u8>>;
    fn link(&mut self, from: &str, to: &str) -> R<()>;
    fn unlink(&mut self, path: &str) -> R<()>;
    fn rmdir(&mut self, path: &str) -> R<()>;
    fn rename(&mut self, from: &str, to: &str, flags: u32) -> R<()>;
    fn chmod(&mut self, path: &str, mode: u32) -> R<()>;
    fn chown(&mut self, path: &str, uid: u32, gid: u32) -> R<()>;
    fn utimens(&mut self, path: &str, atime: Stamp, mtime: Stamp) -> R<()>;
    fn setxattr(&mut self, path: &str, name: &str, value: &[u8], flags: i32) -> R<()>;
    fn getxattr(&mut self, path: &str, name: &str) -> R<Vec<u8>>;
    fn removexattr(&mut self, path: &str, name: &str) -> R<()>;
    fn copy_range(&mut self, from: &str, at: u64, to: &str, to_at: u64, len: usize) -> R<usize>;

    /// Opens a regular file into a slot, for reading, or for reading and writing.
    fn hold(&mut self, slot: usize, path: &str, write: bool) -> R<()>;
    fn release(&mut self, slot: usize) -> R<()>;
    fn held_stat(&mut self, slot: usize) -> R<Stat>;
    fn held_read(&mut self, slot: usize) -> R<Vec<u8>>;
    fn held_write(&mut self, slot: usize, at: u64, data: &[u8]) -> R<usize>;
    /// Writes at the end, wherever that is (`O_APPEND`).
    fn held_append(&mut self, slot: usize, data: &[u8]) -> R<usize>;
    fn held_truncate(&mut self, slot: usize, len: u64) -> R<()>;
    fn held_punch(&mut self, slot: usize, at: u64, len: u64) -> R<()>;
    fn held_chmod(&mut self, slot: usize, mode: u32) -> R<()>;
    fn held_setxattr(&mut self, slot: usize, name: &str, value: &[u8]) -> R<()>;
    fn held_sync(&mut self, slot: usize) -> R<()>;

    /// Begins to list a directory, and gives some entries at a time, `.` and `..` left out; none
    /// at the end.
    fn list_open(&mut self, path: &str) -> R<()>;
    fn list_some(&mut self) -> R<Vec<Name>>;

    /// The whole tree.
    fn tree(&mut self) -> Tree;
}

/// Lists a whole directory.
pub fn list(s: &mut dyn Subject, path: &str) -> R<Vec<Name>> {
    s.list_open(path)?;
    let mut out = Vec::new();
    loop {
        let some = s.list_some()?;
        if some.is_empty() {
            return Ok(out);
        }
        out.extend(some);
    }
}

/// `path/name`.
pub fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.into(),
        _ => format!("{path}/{name}"),
    }
}
