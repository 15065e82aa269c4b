//! The two ends of a copy: looking a path up where it is to be looked up.

use crate::sys::{Loc, loc};
use crate::vfs::error::Context;
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Symlinks that are followed in the last place of a path; the kernel's own limit.
const LINKS: usize = 40;

/// A tree that paths are looked up in.
#[derive(Clone, Copy, Debug)]
pub enum Side<'r> {
    /// This machine: a relative path begins at the working directory.
    Here,
    /// The tree below a directory. Every path begins there, and neither `..` nor a symlink leads out.
    Root(BorrowedFd<'r>),
}

/// What is copied.
#[derive(Debug)]
pub struct Source {
    /// The file itself, by `O_PATH`.
    pub file: OwnedFd,
    /// The name that it was asked for by.
    pub name: Vec<u8>,
    /// It is a directory.
    pub is_dir: bool,
    /// What is in the directory is meant, not the directory.
    pub contents: bool,
}

/// What is at the destination.
#[derive(Debug)]
pub enum Dest {
    /// A directory.
    Dir(OwnedFd),
    /// Something else, in a directory.
    File(OwnedFd, Vec<u8>),
    /// Nothing of that name in a directory.
    Absent {
        /// The directory.
        dir: OwnedFd,
        /// The name.
        name: Vec<u8>,
        /// The path ends as that of a directory does.
        asserts_dir: bool,
    },
}

/// A path as it was written, taken apart.
struct Written {
    /// Without `.` and `..`, as docker takes them away: before anything is looked up.
    clean: Vec<u8>,
    name: Vec<u8>,
    asserts_dir: bool,
    contents: bool,
}

impl Side<'_> {
    /// Looks up what is to be copied. A symlink in the last place is itself copied, unless `follow` is
    /// set or the path ends with `/`.
    pub fn source(&self, path: &[u8], follow: bool) -> Result<Source> {
        let written = self.written(path)?;
        let flags = match follow || written.asserts_dir {
            true => OFlags::PATH,
            false => OFlags::PATH | OFlags::NOFOLLOW,
        };
        let file = self.open(&written.clean, flags)?;
        let st = Loc::Fd(file.as_fd()).stat()?;
        let is_dir = Kind::from_mode(st.st_mode) == Some(Kind::Dir);
        if written.asserts_dir && !is_dir {
            return Err(Error::new(Errno::ENOTDIR));
        }
        Ok(Source {
            file,
            contents: written.contents || written.name.is_empty(),
            name: written.name,
            is_dir,
        })
    }

    /// Looks up where it is to go. Symlinks are followed, also one whose target is not there yet.
    pub fn dest(&self, path: &[u8]) -> Result<Dest> {
        let written = self.written(path)?;
        let mut path = written.clean.clone();
        for _ in 0..LINKS {
            let (parent, name) = split(&path);
            if matches!(name, b"" | b"." | b"..") {
                return self
                    .open(&path, OFlags::PATH | OFlags::DIRECTORY)
                    .map(Dest::Dir);
            }
            let dir = self
                .open(parent, OFlags::PATH | OFlags::DIRECTORY)
                .context(|| {
                    let parent = String::from_utf8_lossy(parent);
                    format!("the directory {parent} to copy to")
                })?;
            let at = Loc::At(dir.as_fd(), name);
            let kind = match at.stat() {
                Err(e) if e.is(Errno::ENOENT) => {
                    let (name, asserts_dir) = (name.to_vec(), written.asserts_dir);
                    return Ok(Dest::Absent {
                        dir,
                        name,
                        asserts_dir,
                    });
                }
                other => Kind::from_mode(other?.st_mode),
            };
            match kind {
                Some(Kind::Dir) => {
                    return at.open(OFlags::PATH | OFlags::DIRECTORY).map(Dest::Dir);
                }
                Some(Kind::Symlink) => {
                    let target = at.readlink()?;
                    path = match target.first() {
                        Some(b'/') => target,
                        _ => [parent, b"/", &target].concat(),
                    };
                }
                _ if written.asserts_dir => return Err(Error::new(Errno::ENOTDIR)),
                _ => return Ok(Dest::File(dir, name.to_vec())),
            }
        }
        Err(Error::new(Errno::ELOOP))
    }

    /// Opens a path, following all symlinks but, if the flags say so, the last.
    pub fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        match self {
            Side::Here => {
                let flags = flags | OFlags::CLOEXEC;
                Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
            }
            Side::Root(root) => loc::open_in_root(*root, path, flags),
        }
    }

    fn written(&self, path: &[u8]) -> Result<Written> {
        use std::os::unix::ffi::OsStrExt;
        if path.is_empty() && matches!(self, Side::Here) {
            return Err(Error::because(Errno::EINVAL, "an empty path"));
        }
        let last = split(path).1;
        let contents = last == b"." || last == b"..";
        let mut parts: Vec<&[u8]> = Vec::new();
        let cwd;
        if matches!(self, Side::Here) && path.first() != Some(&b'/') {
            cwd = std::env::current_dir().context(|| "the working directory")?;
            add_parts(&mut parts, cwd.as_os_str().as_bytes());
        }
        add_parts(&mut parts, path);
        Ok(Written {
            clean: [b"/", parts.join(&b'/').as_slice()].concat(),
            name: parts.last().map(|name| name.to_vec()).unwrap_or_default(),
            asserts_dir: contents || path.last() == Some(&b'/'),
            // docker takes "x/.." for the name of a directory, "x/." for what is in one
            contents: last == b".",
        })
    }
}

fn add_parts<'p>(parts: &mut Vec<&'p [u8]>, path: &'p [u8]) {
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
}

/// The directory and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(0) => (b"/", path.get(1..).unwrap_or_default()),
        Some(at) => {
            let (dir, name) = path.split_at(at);
            (dir, name.get(1..).unwrap_or_default())
        }
        None => (b".", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    fn bed() -> tempfile::TempDir {
        let bed = tempfile::tempdir().unwrap();
        let root = bed.path().join("root");
        fs::create_dir_all(root.join("dir/sub")).unwrap();
        fs::write(root.join("file"), "in").unwrap();
        fs::write(bed.path().join("file"), "out").unwrap();
        symlink("../../../file", root.join("dir/up")).unwrap();
        symlink("/dir", root.join("abs")).unwrap();
        symlink("/made/later", root.join("dangling")).unwrap();
        symlink("new", root.join("dir/fresh")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        bed
    }

    fn kind(dest: Result<Dest>) -> String {
        match dest {
            Ok(Dest::Dir(_)) => "dir".into(),
            Ok(Dest::File(_, name)) => format!("file {}", name.escape_ascii()),
            Ok(Dest::Absent { name, .. }) => format!("absent {}", name.escape_ascii()),
            Err(e) => format!("{:?}", e.errno()),
        }
    }

    #[test]
    fn a_destination_is_looked_up_within_its_root() {
        let bed = bed();
        let root = File::open(bed.path().join("root")).unwrap();
        let side = Side::Root(root.as_fd());
        for (path, want) in [
            ("/", "dir"),
            ("", "dir"),
            ("..", "dir"),
            ("dir", "dir"),
            ("/dir/", "dir"),
            ("abs", "dir"),
            ("abs/sub/", "dir"),
            ("file", "file file"),
            ("file/", "ENOTDIR"),
            ("file/x", "ENOTDIR"),
            // the link leads to the file in the root, not to the one beside it
            ("dir/up", "file file"),
            ("abs/up", "file file"),
            ("new", "absent new"),
            ("new/", "absent new"),
            ("abs/fresh", "absent new"),
            ("none/new", "ENOENT"),
            ("dangling", "ENOENT"),
            ("loop", "ELOOP"),
        ] {
            assert_eq!(kind(side.dest(path.as_bytes())), want, "{path}");
        }
    }

    #[test]
    fn a_source_is_looked_up_within_its_root() {
        let bed = bed();
        let root = File::open(bed.path().join("root")).unwrap();
        let side = Side::Root(root.as_fd());
        let source = |path: &str, follow| side.source(path.as_bytes(), follow);
        let up = source("dir/up", true).unwrap();
        assert_eq!(up.name, b"up");
        let st = Loc::Fd(up.file.as_fd()).stat().unwrap();
        assert_eq!(st.st_size, 2, "the file beside the root has three bytes");
        let link = source("dir/up", false).unwrap();
        let st = Loc::Fd(link.file.as_fd()).stat().unwrap();
        assert_eq!(Kind::from_mode(st.st_mode), Some(Kind::Symlink));
        for (path, name, is_dir, contents) in [
            ("/", "", true, true),
            ("dir", "dir", true, false),
            ("dir/.", "dir", true, true),
            ("abs", "abs", false, false),
            ("abs/", "abs", true, false),
            ("abs/.", "abs", true, true),
            ("dir/sub/..", "dir", true, false),
            ("dir/../file", "file", false, false),
        ] {
            let found = source(path, false).unwrap();
            let found = (&*found.name, found.is_dir, found.contents);
            assert_eq!(found, (name.as_bytes(), is_dir, contents), "{path}");
        }
        assert!(source("file/", false).unwrap_err().is(Errno::ENOTDIR));
        assert!(source("none", false).unwrap_err().is(Errno::ENOENT));
    }
}
