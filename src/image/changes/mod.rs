//! What a container has changed: the difference between its image and what it shows.
//!
//! It is found by walking the upper alone, so it costs as much as was changed, however large the
//! image is. The upper says *where* to look; *what* there is, is asked of the mount, in which all
//! marks of an upper (whiteouts in each form, copies without data, moved directories) have become
//! what they mean. A name of the upper that the mount does not show stands for a removal.
//!
//! A directory that shows nothing of the image's directory of that name, because it is opaque or
//! was moved there, is listed whole.

mod entry;
mod layer;
mod names;
mod others;

pub use entry::{Packer, Sink, entry_of};
pub use layer::pack_layer;

use super::entry::Path;
use super::layer::LayerWriter;
use super::spill::Pages;
use crate::lower::dir_marks;
use crate::sys::{Loc, dir, loc};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::whiteout::{AUFS_OPAQUE, AufsName, aufs_name};
use crate::vfs::{Kind, Result};
use names::{Lister, Names};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

/// How a path differs from the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The image has nothing there.
    Added,
    /// The image has something else there.
    Changed,
    /// The image has something there that does not show.
    Deleted,
}

impl How {
    /// `A`, `C` or `D`, as docker says it.
    pub fn letter(self) -> char {
        match self {
            How::Added => 'A',
            How::Changed => 'C',
            How::Deleted => 'D',
        }
    }
}

/// One change.
#[derive(Debug)]
pub struct Change<'c> {
    /// In what way.
    pub how: How,
    /// Where.
    pub path: &'c Path,
    /// The directory in the mount that holds it.
    pub dir: BorrowedFd<'c>,
    /// It is a directory, and the image's directory of that name does not show in it.
    pub hides: bool,
}

impl Change<'_> {
    /// Where it is in the mount.
    pub fn at(&self) -> Loc<'_> {
        match self.path.last() {
            Some(name) => Loc::At(self.dir, name),
            None => Loc::Fd(self.dir),
        }
    }
}

/// The image beneath, as far as changes are told by it.
pub trait Image {
    /// What `dir` has under `name`: its number, and whether it is a directory.
    fn child(&self, dir: u32, name: &[u8]) -> Result<Option<(u32, bool)>>;

    /// Every name of the file that has this number in a mount of the image; none if it is not the
    /// image's.
    fn names(&self, ino: u64) -> Result<Vec<Path>>;
}

/// Calls `each` for every change, directories before what is in them, names in order. `upper` and
/// `mount` are the roots of a container's upper and of its mount. What is to be remembered meanwhile is in
/// `pages`.
pub fn changes(
    upper: BorrowedFd<'_>,
    mount: BorrowedFd<'_>,
    image: &dyn Image,
    pages: &Pages,
    each: &mut dyn FnMut(&Change<'_>) -> Result<()>,
) -> Result<()> {
    let mut walk = Walk {
        image,
        each,
        lister: Lister::new(pages),
        path: Path::new(),
    };
    walk.partial(upper, mount, super::tree::Tree::ROOT)
}

/// Writes the tree at `root` into a tar, as if all of it had been added; names in order, so that the
/// same tree is the same tar. What is to be remembered meanwhile is in `pages`.
pub fn pack_whole<W: Write>(
    root: BorrowedFd<'_>,
    writer: &mut LayerWriter<W>,
    pages: &Pages,
) -> Result<()> {
    let at = Loc::Fd(root);
    if let Some(entry) = entry_of(&Path::new(), at, &at.stat()?).context(|| "/")? {
        writer.add(&entry, &mut std::io::empty())?;
    }
    let mut packer = Packer::new(pages)?;
    let mut walk = Walk {
        image: &Nothing,
        each: &mut |change| packer.pack(change, &mut |entry, data| writer.add(entry, data)),
        lister: Lister::new(pages),
        path: Path::new(),
    };
    walk.whole(root)
}

/// An image without anything in it.
struct Nothing;

impl Image for Nothing {
    fn child(&self, _: u32, _: &[u8]) -> Result<Option<(u32, bool)>> {
        Ok(None)
    }

    fn names(&self, _: u64) -> Result<Vec<Path>> {
        Ok(Vec::new())
    }
}

struct Walk<'w> {
    image: &'w dyn Image,
    each: &'w mut dyn FnMut(&Change<'_>) -> Result<()>,
    lister: Lister,
    path: Path,
}

impl Walk<'_> {
    /// A directory that shows the image's, number `below`, and what the upper has.
    fn partial(&mut self, upper: BorrowedFd<'_>, mount: BorrowedFd<'_>, below: u32) -> Result<()> {
        let mut names = names_in(upper, mount, &mut self.lister)?;
        while let Some(name) = names.next()? {
            let there = self.image.child(below, &name)?;
            self.path.push(name.clone());
            let done = match absent_ok(Loc::At(mount, &name).stat())? {
                None if there.is_none() => Ok(()), // a whiteout of nothing
                None => self.say(How::Deleted, mount, false),
                Some(st) if Kind::from_mode(st.st_mode) == Some(Kind::Dir) => {
                    self.dir((upper, mount), &name, there)
                }
                Some(_) => self.say(how(there), mount, false),
            };
            done.context(|| super::entry::show(&self.path))?;
            self.path.pop();
        }
        Ok(())
    }

    fn dir(
        &mut self,
        (upper, mount): (BorrowedFd<'_>, BorrowedFd<'_>),
        name: &[u8],
        there: Option<(u32, bool)>,
    ) -> Result<()> {
        let below = there
            .filter(|(_, is_dir)| *is_dir)
            .map(|(number, _)| number);
        let shown = loc::open_dir(mount, name)?;
        let own = loc::open_dir(upper, name)?;
        let alone = is_whole(own.as_fd(), shown.as_fd())?;
        self.say(how(there), mount, alone && below.is_some())?;
        match below.filter(|_| !alone) {
            Some(below) => self.partial(own.as_fd(), shown.as_fd(), below),
            None => self.whole(shown.as_fd()),
        }
    }

    /// A directory of which the image has nothing.
    fn whole(&mut self, mount: BorrowedFd<'_>) -> Result<()> {
        let mut names = self
            .lister
            .names(|tell| dir::for_each(mount, |entry| tell(entry.name)))?;
        while let Some(name) = names.next()? {
            let st = Loc::At(mount, &name).stat()?;
            self.path.push(name.clone());
            self.say(How::Added, mount, false)?;
            if Kind::from_mode(st.st_mode) == Some(Kind::Dir) {
                self.whole(loc::open_dir(mount, &name)?.as_fd())?;
            }
            self.path.pop();
        }
        Ok(())
    }

    fn say(&mut self, how: How, dir: BorrowedFd<'_>, hides: bool) -> Result<()> {
        (self.each)(&Change {
            how,
            path: &self.path,
            dir,
            hides,
        })
    }
}

fn how(there: Option<(u32, bool)>) -> How {
    there.map_or(How::Added, |_| How::Changed)
}

/// The names that a directory of the upper is about. A name that begins with `.wh.` may be a mark,
/// or a file's: the mount shows the latter.
fn names_in(upper: BorrowedFd<'_>, mount: BorrowedFd<'_>, lister: &mut Lister) -> Result<Names> {
    let shows = |name: &[u8]| absent_ok(Loc::At(mount, name).stat()).map(|st| st.is_some());
    lister.names(|tell| {
        dir::for_each(upper, |entry| match aufs_name(entry.name) {
            AufsName::Plain => tell(entry.name),
            _ if shows(entry.name)? => tell(entry.name),
            AufsName::Whiteout(hidden) => tell(hidden),
            AufsName::Opaque | AufsName::Meta => Ok(()),
        })
    })
}

/// True if a directory of the upper shows nothing of the image's directory of that name.
fn is_whole(upper: BorrowedFd<'_>, mount: BorrowedFd<'_>) -> Result<bool> {
    let marks = dir_marks(upper)?;
    Ok(marks.opaque || marks.redirect.is_some() || has_opaque_name(upper, mount)?)
}

/// AUFS's opaque mark, in an upper without extended attributes.
fn has_opaque_name(upper: BorrowedFd<'_>, mount: BorrowedFd<'_>) -> Result<bool> {
    let there = |dir| absent_ok(Loc::At(dir, AUFS_OPAQUE).stat()).map(|st| st.is_some());
    Ok(there(upper)? && !there(mount)?)
}
