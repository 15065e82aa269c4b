//! A tree as entries.

use crate::image::changes::{Sink, entry_of};
use crate::image::entry::{Item, Path, show};
use crate::sys::{Loc, dir, loc};
use crate::vfs::error::Context;
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use rustix::fs::{OFlags, Stat};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

/// Gives the file `top`, and if it is a directory all that is in it, to `sink`, at `path`. Directories
/// come before what is in them, names in order; names of one file as hard links to the first. `into` is
/// the directory that the copy goes to, which cannot be a part of it. A socket is left out, with a
/// warning.
pub fn walk(
    top: BorrowedFd<'_>,
    path: Path,
    into: Option<BorrowedFd<'_>>,
    sink: Sink<'_>,
) -> Result<()> {
    let into = into.map(|dir| Loc::Fd(dir).stat()).transpose()?;
    let mut walk = Walk {
        into: into.as_ref().map(id),
        seen: HashMap::new(),
        path,
        sink,
    };
    walk.file(Loc::Fd(top))
}

struct Walk<'s> {
    into: Option<(u64, u64)>,
    seen: HashMap<(u64, u64), Path>,
    path: Path,
    sink: Sink<'s>,
}

fn id(st: &Stat) -> (u64, u64) {
    (st.st_dev, st.st_ino)
}

impl Walk<'_> {
    fn file(&mut self, at: Loc<'_>) -> Result<()> {
        let st = at.stat().context(|| show(&self.path))?;
        let is_dir = Kind::from_mode(st.st_mode) == Some(Kind::Dir);
        if is_dir && self.into == Some(id(&st)) {
            let why = "a directory cannot be copied into itself";
            return Err(Error::because(Errno::EINVAL, why)).context(|| show(&self.path));
        }
        self.give(at, &st).context(|| show(&self.path))?;
        if is_dir {
            self.dir(at)?;
        }
        Ok(())
    }

    fn give(&mut self, at: Loc<'_>, st: &Stat) -> Result<()> {
        let Some(mut entry) = entry_of(&self.path, at, st)? else {
            log::warn!("{}: a socket is left out", show(&self.path));
            return Ok(());
        };
        let nothing = &mut std::io::empty();
        if !matches!(entry.item, Item::Dir(_)) && st.st_nlink > 1 {
            if let Some(first) = self.seen.get(&id(st)) {
                entry.item = Item::Hardlink(first.clone());
                return (self.sink)(&entry, nothing);
            }
            self.seen.insert(id(st), self.path.clone());
        }
        match entry.item {
            Item::File(..) => {
                let mut file = File::from(at.open(OFlags::RDONLY)?);
                (self.sink)(&entry, &mut file)
            }
            _ => (self.sink)(&entry, nothing),
        }
    }

    fn dir(&mut self, at: Loc<'_>) -> Result<()> {
        let opened = match at {
            Loc::At(parent, name) => loc::open_dir(parent, name),
            Loc::Fd(fd) | Loc::Open(fd) => loc::open_dir(fd, b"."),
        };
        let opened = opened.context(|| show(&self.path))?;
        let mut names = BTreeSet::new();
        dir::for_each(opened.as_fd(), |entry| {
            names.insert(Box::<[u8]>::from(entry.name));
            Ok(())
        })
        .context(|| show(&self.path))?;
        for name in names {
            self.path.push(name.clone());
            self.file(Loc::At(opened.as_fd(), &name))?;
            self.path.pop();
        }
        Ok(())
    }
}
