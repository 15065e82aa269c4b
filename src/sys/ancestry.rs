//! Which directories lie inside which others, asked of many: the way up from each is walked only
//! as far as no other has gone before.

use super::loc::open_dir;
use crate::vfs::Result;
use crate::vfs::error::Context;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A directory, as it is reached through one mount.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    mount: u64,
    inode: Inode,
}

/// A directory, however it is reached.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Inode {
    dev: (u32, u32),
    ino: u64,
}

/// A directory, and what messages call it.
pub type Named<'a> = (&'a str, &'a Path);

/// What is known of the ways up.
#[derive(Default)]
pub struct Ancestry {
    /// From a directory to the one above it; the top is above itself.
    above: HashMap<Key, Key>,
    /// Every directory from the named one to the top.
    chains: HashMap<std::path::PathBuf, Vec<Inode>>,
}

impl Ancestry {
    /// Nothing known yet.
    pub fn new() -> Ancestry {
        Ancestry::default()
    }

    /// True if one of two directories lies inside the other, or they are the same.
    pub fn overlap(&mut self, a: Named<'_>, b: Named<'_>) -> Result<bool> {
        self.learn(a)?;
        self.learn(b)?;
        let (Some(a), Some(b)) = (self.chains.get(a.1), self.chains.get(b.1)) else {
            return Ok(false);
        };
        let inside = |dir: &[Inode], of: &[Inode]| of.first().is_some_and(|of| dir.contains(of));
        Ok(inside(a, b) || inside(b, a))
    }

    fn learn(&mut self, (what, path): Named<'_>) -> Result<()> {
        if self.chains.contains_key(path) {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let chain = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(crate::vfs::Error::from)
            .and_then(|fd| self.chain(fd))
            .context(|| format!("{what} {}", path.display()))?;
        self.chains.insert(path.to_owned(), chain);
        Ok(())
    }

    fn chain(&mut self, dir: OwnedFd) -> Result<Vec<Inode>> {
        let mut fd = dir;
        let mut key = key(fd.as_fd())?;
        let mut chain = vec![key.inode];
        while !self.above.contains_key(&key) {
            let up = open_dir(&fd, b"..")?;
            let parent = self::key(up.as_fd())?;
            self.above.insert(key, parent);
            if parent != key {
                chain.push(parent.inode);
            }
            (fd, key) = (up, parent);
        }
        while let Some(parent) = self.above.get(&key).copied() {
            if parent == key {
                break;
            }
            chain.push(parent.inode);
            key = parent;
        }
        Ok(chain)
    }
}

fn key(dir: BorrowedFd<'_>) -> Result<Key> {
    let wanted = StatxFlags::INO | StatxFlags::MNT_ID;
    let st = rustix::fs::statx(dir, c"", AtFlags::EMPTY_PATH, wanted)?;
    Ok(Key {
        mount: st.stx_mnt_id,
        inode: Inode {
            dev: (st.stx_dev_major, st.stx_dev_minor),
            ino: st.stx_ino,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn inside_is_seen_from_both_sides_and_after_others_were_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = |p: &str| dir.path().join(p);
        for p in ["a/b/c", "a/d", "ab"] {
            std::fs::create_dir_all(path(p)).unwrap();
        }
        let mut known = Ancestry::new();
        let mut overlap = |a: &str, b: &str| known.overlap(("x", &path(a)), ("y", &path(b)));
        assert!(overlap("a", "a/b/c").unwrap());
        assert!(overlap("a/b/c", "a").unwrap());
        assert!(overlap("a/d", "a/d").unwrap());
        assert!(!overlap("a/d", "a/b").unwrap());
        assert!(!overlap("a", "ab").unwrap());
        assert!(overlap("", "a/b/c").unwrap());
        let missing = overlap("a", "none").unwrap_err();
        assert!(missing.to_string().starts_with("y "), "{missing}");
    }
}
