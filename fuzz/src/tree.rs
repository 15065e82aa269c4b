//! The lower that all runs share: two small layers, with something of everything.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// Two layers on disk.
pub struct Lower {
    dir: tempfile::TempDir,
    before: Vec<String>,
}

impl Lower {
    /// Makes them.
    pub fn new() -> Lower {
        let dir = tempfile::tempdir().expect("a directory for the lower");
        lay(dir.path()).expect("a lower");
        let mut lower = Lower {
            dir,
            before: Vec::new(),
        };
        lower.before = lower.fingerprint();
        lower
    }

    /// Topmost first.
    pub fn layers(&self) -> Vec<PathBuf> {
        ["top", "base"].map(|l| self.dir.path().join(l)).into()
    }

    /// What it was when it was made.
    pub fn before(&self) -> &Vec<String> {
        &self.before
    }

    /// All that is in it: data, and all attributes but atime.
    pub fn fingerprint(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut todo = self.layers();
        while let Some(path) = todo.pop() {
            let m = fs::symlink_metadata(&path).expect("stat of the lower");
            let data = if m.is_file() {
                fs::read(&path).expect("read of the lower")
            } else {
                Vec::new()
            };
            let (path_text, mode, data) = (path.display(), m.mode(), data.escape_ascii());
            let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
            let (ino, links) = (m.ino(), m.nlink());
            out.push(format!(
                "{path_text} {ino} {mode:o} {links} {times:?} {data}"
            ));
            if m.is_dir() {
                let entries = fs::read_dir(&path).expect("listing of the lower");
                todo.extend(entries.map(|e| e.expect("entry of the lower").path()));
            }
        }
        out.sort();
        out
    }
}

impl Default for Lower {
    fn default() -> Lower {
        Lower::new()
    }
}

fn lay(dir: &Path) -> std::io::Result<()> {
    let write = |path: &str, data: &str| {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(path, data)
    };
    write("base/a/a", "base")?;
    write("base/a/b/c", "deep")?;
    write("base/a/c", "below")?;
    write("base/b", "one inode, two names")?;
    write("base/d/gone", "hidden by an opaque directory")?;
    write("top/a/a", "top")?;
    write("top/c/.wh.gone", "")?;
    write("top/d/.wh..wh..opq", "")?;
    write("top/d/a", "new")?;
    fs::hard_link(dir.join("base/b"), dir.join("base/a/d"))?;
    symlink("a/b", dir.join("base/e"))
}
