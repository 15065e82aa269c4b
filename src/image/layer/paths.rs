//! Paths: names of a tar in their parts, and what OCI's marks among them say.
//!
//! A name leads down from the root of the image or is refused. `.wh.` at the front of a part is a
//! mark, never a file: so no part of a [`Path`] that is read or written begins so.

use super::{invalid, shown};
use crate::image::entry::Path;
use crate::vfs::Result;
use crate::vfs::whiteout::{AUFS_META, AUFS_OPAQUE, AUFS_PREFIX, AufsName, NAME_MAX, aufs_name};

/// The parts of a name. `./` in front, `//` and `/` at the end are left out, as everyone does. `/` alone
/// is the root, as umoci writes it.
pub fn parse(name: &[u8]) -> Result<Path> {
    if name.is_empty() {
        return Err(invalid("the name is empty"));
    }
    if name.first() == Some(&b'/') && name.len() > 1 {
        return Err(invalid(format!("{} is absolute", shown(name))));
    }
    let mut path = Path::new();
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(invalid(format!("{} has \"..\" in it", shown(name)))),
            _ => {
                check_part(part)?;
                path.push(part.into());
            }
        }
    }
    Ok(path)
}

fn check_part(part: &[u8]) -> Result<()> {
    if part.contains(&0) {
        return Err(invalid(format!("{} has a NUL in it", shown(part))));
    }
    // what a whiteout hides may be as long as any name; the mark itself is never a file
    let name = part.strip_prefix(AUFS_PREFIX).unwrap_or(part);
    if name.len() > NAME_MAX {
        let long = format!("{} is longer than {NAME_MAX} bytes", shown(name));
        return Err(invalid(long));
    }
    Ok(())
}

/// Checks a path of an entry to be written.
pub fn check(path: &Path) -> Result<()> {
    for part in path {
        check_part(part)?;
        if matches!(&**part, b"" | b"." | b"..") || part.contains(&b'/') {
            return Err(invalid(format!("{} is no name of a file", shown(part))));
        }
        if part.starts_with(AUFS_PREFIX) {
            return Err(invalid(format!("{} would be a whiteout", shown(part))));
        }
    }
    Ok(())
}

/// A path as the name of a tar's entry; the root has none.
pub fn join(path: &[Box<[u8]>]) -> Vec<u8> {
    path.join(&b'/')
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// A file.
    File(Path),
    /// The whiteout of a file there.
    Whiteout(Path),
    /// The opaque mark of a directory.
    Opaque(Path),
    /// Something of AUFS's own, which is no part of the image.
    Aufs,
}

/// Reads the marks in a path.
pub fn place(mut path: Path) -> Result<Place> {
    let Some(name) = path.pop() else {
        return Ok(Place::File(path));
    };
    if let Some(mark) = path.iter().find(|p| p.starts_with(AUFS_PREFIX)) {
        return match mark.starts_with(AUFS_META) && **mark != *AUFS_OPAQUE {
            true => Ok(Place::Aufs),
            false => Err(invalid(format!("something is below {}", shown(mark)))),
        };
    }
    match aufs_name(&name) {
        AufsName::Opaque => Ok(Place::Opaque(path)),
        AufsName::Meta => Ok(Place::Aufs),
        AufsName::Whiteout(hidden) => {
            path.push(hidden.into());
            Ok(Place::Whiteout(path))
        }
        AufsName::Plain if name.starts_with(AUFS_PREFIX) => {
            Err(invalid(format!("{} hides nothing", shown(&name))))
        }
        AufsName::Plain => {
            path.push(name);
            Ok(Place::File(path))
        }
    }
}

/// The file that a hard link names.
pub fn link_target(name: &[u8]) -> Result<Path> {
    match place(parse(name)?)? {
        Place::File(path) if path.is_empty() => Err(invalid("a hard link to the root")),
        Place::File(path) => Ok(path),
        _ => Err(invalid(format!("a hard link to the mark {}", shown(name)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(parts: &[&str]) -> Path {
        parts.iter().map(|p| p.as_bytes().into()).collect()
    }

    #[test]
    fn names_lead_down() {
        for name in ["a/b", "./a/b", "a/b/", "a//b", "././a/./b//"] {
            assert_eq!(parse(name.as_bytes()).unwrap(), path(&["a", "b"]), "{name}");
        }
        assert_eq!(parse(b"./").unwrap(), path(&[]));
        assert_eq!(parse(b"/").unwrap(), path(&[]));
        assert_eq!(parse(b"\xff").unwrap()[0][..], [0xff]);
        assert_eq!(parse(&[b'a'; 255]).unwrap()[0].len(), 255);
        let long = [b'a'; 256];
        for bad in [&b""[..], b"/a", b"..", b"a/../b", b"./..", b"a\0", &long] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn marks_are_no_files() {
        let at = |name: &str| place(parse(name.as_bytes()).unwrap());
        assert_eq!(at("a/.wh.b").unwrap(), Place::Whiteout(path(&["a", "b"])));
        assert_eq!(at("a/.wh..wh..opq").unwrap(), Place::Opaque(path(&["a"])));
        assert_eq!(at(".wh..wh..opq").unwrap(), Place::Opaque(path(&[])));
        assert_eq!(at(".wh..wh.plnk").unwrap(), Place::Aufs);
        assert_eq!(at(".wh..wh.plnk/1.2").unwrap(), Place::Aufs);
        assert_eq!(at("a/.what").unwrap(), Place::File(path(&["a", ".what"])));
        assert_eq!(at("./").unwrap(), Place::File(path(&[])));
        for bad in [".wh.", ".wh..", ".wh...", ".wh.a/b", ".wh..wh..opq/b"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hard_links_name_files() {
        assert_eq!(link_target(b"./a").unwrap(), path(&["a"]));
        for bad in [&b""[..], b"./", b"/a", b"../a", b".wh.a", b".wh..wh.plnk/1"] {
            assert!(link_target(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_written_is_checked_too() {
        assert!(check(&path(&["a", "b"])).is_ok());
        for bad in ["", ".", "..", "a/b", "a\0", ".wh.a"] {
            assert!(check(&path(&["a", bad])).is_err(), "{bad:?}");
        }
        assert_eq!(join(&path(&["a", "b"])), b"a/b");
    }
}
