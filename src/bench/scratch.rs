//! The one directory that everything is made in, and that is gone at the end.

use super::failure::{Failure, Result, Step};
use super::transfer::remove;
use std::cell::Cell;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory of its own. Dropping it removes it, unless something is still mounted beneath:
/// then removing would delete what others own, so it stays, and is named.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    next: Cell<u32>,
}

impl Scratch {
    /// Makes a new directory in `parent`.
    pub fn new(parent: &Path) -> Result<Scratch> {
        let parent = parent.canonicalize().at("find", parent)?;
        for n in 0..1000 {
            let path = parent.join(format!("vellum-bench.{}.{n}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {
                    let next = Cell::new(0);
                    return Ok(Scratch { path, next });
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Failure::from(e)).at("mkdir", &path),
            }
        }
        Err(Failure::new("no free name for a scratch directory"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new empty directory in it.
    pub fn dir(&self, what: &str) -> Result<PathBuf> {
        let n = self.next.get();
        self.next.set(n + 1);
        let path = self.path.join(format!("{what}-{n}"));
        fs::create_dir(&path).at("mkdir", &path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let gone = match mounts_beneath(&self.path) {
            Ok(mounts) if mounts.is_empty() => remove(&self.path),
            Ok(mounts) => Err(Failure::new(format!(
                "still mounted: {}",
                mounts.join(", ")
            ))),
            Err(e) => Err(e),
        };
        if let Err(e) = gone {
            eprintln!("vellum bench: {} is left behind: {e}", self.path.display());
        }
    }
}

/// The mountpoints at or beneath a directory, as the mount table spells them.
pub fn mounts_beneath(dir: &Path) -> Result<Vec<String>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let dir = dir.as_os_str().as_bytes();
    let beneath = |point: &&str| {
        let rest = point.as_bytes().strip_prefix(dir);
        rest.is_some_and(|r| r.is_empty() || r[0] == b'/')
    };
    let points = table.lines().filter_map(|l| l.split(' ').nth(4));
    Ok(points.filter(beneath).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gone_afterwards() {
        let s = Scratch::new(&std::env::temp_dir()).unwrap();
        let path = s.path().to_owned();
        fs::write(s.dir("x").unwrap().join("file"), b"x").unwrap();
        assert!(path.exists());
        drop(s);
        assert!(!path.exists());
    }

    #[test]
    fn mounts_are_found_by_whole_names() {
        assert!(
            mounts_beneath(Path::new("/proc"))
                .unwrap()
                .contains(&"/proc".to_owned())
        );
        assert!(mounts_beneath(Path::new("/pro")).unwrap().is_empty());
    }
}
