//! One layer: a directory on disk, and the marks that stand in it.

use crate::sys::{Loc, dir, handle, loc, xattr};
use crate::vfs::error::Context;
use crate::vfs::whiteout::{Prefix, Redirect, origin_value};
use crate::vfs::{Kind, Result};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A layer, held open.
#[derive(Debug)]
pub struct Layer {
    /// Its root.
    pub root: OwnedFd,
    /// Where it was found; for messages only.
    pub path: PathBuf,
    /// The device that it is on, and the id of the file system there; asked once.
    fs: OnceLock<Option<(u64, [u8; 16])>>,
}

/// The marks on a directory of a layer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DirMarks {
    /// Nothing of the layers below shows.
    pub opaque: bool,
    /// Whiteouts in it may be files with an attribute (`overlay.opaque` = `x`).
    pub xwhiteouts: bool,
    /// Its lower part is elsewhere.
    pub redirect: Option<Redirect>,
}

impl Layer {
    /// Opens the directory `path`, following symlinks (podman's layers are named by them).
    pub fn open(path: &Path) -> Result<Layer> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .context(|| format!("lower layer {}", path.display()))?;
        // a layer that cannot be listed would show as an empty one
        dir::for_each(root.as_fd(), |_| Ok(()))
            .context(|| format!("lower layer {}: cannot be read", path.display()))?;
        Ok(Layer {
            root,
            path: path.to_owned(),
            fs: OnceLock::new(),
        })
    }

    /// The value of the mark `origin` for a file of this layer; `None` where the file system has no
    /// id or no handles. A wrong id would be worse than none: the kernel may take it for a mark
    /// of another layer.
    pub fn origin(&self, at: Loc<'_>) -> Result<Option<Vec<u8>>> {
        let fs = self.fs.get_or_init(|| {
            let root = Loc::Fd(self.root.as_fd());
            let dir = root.open(OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
            Some((root.stat().ok()?.st_dev, handle::fs_uuid(dir.as_fd()).ok()?))
        });
        match fs {
            Some((dev, uuid)) if at.stat()?.st_dev == *dev => {
                let (kind, bytes) = handle::of(at)?;
                Ok(origin_value(uuid, kind, &bytes))
            }
            _ => Ok(None),
        }
    }

    /// Opens the directory `path` (from the layer's root) as an anchor.
    pub fn dir(&self, path: &[u8]) -> Result<OwnedFd> {
        loc::open_beneath(self.root.as_fd(), path)
    }
}

/// Reads the marks on a directory: one system call when it has none.
pub fn dir_marks(fd: BorrowedFd<'_>) -> Result<DirMarks> {
    let at = Loc::Fd(fd);
    let list = xattr::list(at)?;
    let mut marks = DirMarks::default();
    for name in xattr::names(&list) {
        match name {
            b"trusted.overlay.opaque" | b"user.overlay.opaque" => {
                match xattr::get(at, name)?.as_deref() {
                    Some(b"y") => marks.opaque = true,
                    Some(b"x") => marks.xwhiteouts = true,
                    _ => {}
                }
            }
            b"user.fuseoverlayfs.opaque" | b"trusted.fuseoverlayfs.opaque" => {
                marks.opaque |= xattr::get(at, name)?.as_deref() == Some(b"y");
            }
            b"trusted.overlay.redirect" | b"user.overlay.redirect" => {
                marks.redirect = xattr::get(at, name)?.and_then(|v| Redirect::parse(&v));
            }
            _ => {}
        }
    }
    Ok(marks)
}

/// True for a file that stands for a missing one by an attribute (`overlay.whiteout`).
pub fn has_whiteout_xattr(at: Loc<'_>) -> Result<bool> {
    let list = xattr::list(at)?;
    Ok(xattr::names(&list)
        .any(|n| n == b"trusted.overlay.whiteout" || n == b"user.overlay.whiteout"))
}

/// Where the data of a metadata-only copy is: `Some(None)` says under the same name below.
pub fn metacopy(at: Loc<'_>) -> Result<Option<Option<Redirect>>> {
    let list = xattr::list(at)?;
    for prefix in [Prefix::Trusted, Prefix::User] {
        let mark = prefix.name("metacopy");
        if xattr::names(&list).any(|n| n == mark) {
            let redirect = xattr::get(at, &prefix.name("redirect"))?;
            return Ok(Some(redirect.and_then(|v| Redirect::parse(&v))));
        }
    }
    Ok(None)
}

/// What a name in one layer's directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerEntry {
    /// Nothing: look further down.
    Absent,
    /// It hides what is below.
    Whiteout,
    /// A file of this type.
    Present(Kind),
}

/// Looks at one name in one layer's directory, marks of every form understood.
pub fn entry(dir: BorrowedFd<'_>, name: &[u8]) -> Result<LayerEntry> {
    let at = Loc::At(dir, name);
    if let Some(st) = crate::vfs::error::absent_ok(at.stat())? {
        if crate::sys::loc::is_whiteout(&st) {
            return Ok(LayerEntry::Whiteout);
        }
        let attr = loc::attr_of(&st, crate::vfs::NodeId(0))?;
        if attr.kind == Kind::File && attr.size == 0 && has_whiteout_xattr(at)? {
            return Ok(LayerEntry::Whiteout);
        }
        return Ok(LayerEntry::Present(attr.kind));
    }
    let mut aufs = crate::vfs::whiteout::AUFS_PREFIX.to_vec();
    aufs.extend_from_slice(name);
    if aufs.len() <= crate::vfs::whiteout::NAME_MAX
        && crate::vfs::error::absent_ok(Loc::At(dir, &aufs).stat())?.is_some()
    {
        return Ok(LayerEntry::Whiteout);
    }
    Ok(LayerEntry::Absent)
}

/// True if AUFS's opaque mark stands in the directory.
pub fn aufs_opaque(dir: BorrowedFd<'_>) -> Result<bool> {
    let at = Loc::At(dir, crate::vfs::whiteout::AUFS_OPAQUE);
    Ok(crate::vfs::error::absent_ok(at.stat())?.is_some())
}
