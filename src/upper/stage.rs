//! Changing the upper: everything is made ready in the work directory, and appears in the tree,
//! or leaves it, by one system call.

use super::names::rename_to_free;
use super::open::remove_tree;
use super::{Upper, WhiteoutForm};
use crate::sys::{Loc, Owned, xattr};
use crate::vfs::error::Context;
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Random bytes in a name of the work directory.
const RANDOM: usize = 12;

/// A file that must not be there yet.
const NEW: OFlags = OFlags::CREATE
    .union(OFlags::EXCL)
    .union(OFlags::RDWR)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Something in the work directory that is not in the tree yet.
#[derive(Debug)]
#[must_use = "publish it or discard it"]
pub struct Staged {
    name: Vec<u8>,
    kind: Kind,
}

impl Staged {
    pub(super) fn new(name: Vec<u8>, kind: Kind) -> Staged {
        Staged { name, kind }
    }

    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// What has changed places with it.
    pub(super) fn now(self, kind: Kind) -> Staged {
        Staged { kind, ..self }
    }
}

/// What a change puts itself in the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nothing: the name must be free in the upper.
    Nothing,
    /// A whiteout.
    Whiteout,
    /// A file that is no directory.
    File,
    /// An empty directory.
    Dir,
}

impl Upper {
    /// A name in the work directory that is free and cannot be guessed.
    pub(super) fn fresh(&self) -> Result<Vec<u8>> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut name = Vec::with_capacity(1 + 2 * RANDOM);
        name.push(b'#');
        let mut random = self.random.lock();
        if random.len() < RANDOM {
            let mut bytes = [0u8; 20 * RANDOM]; // one call for many names
            let flags = rustix::rand::GetRandomFlags::empty();
            let n = rustix::rand::getrandom(&mut bytes, flags)?;
            random.extend(bytes.iter().take(n));
        }
        let kept = random.len().saturating_sub(RANDOM);
        for b in random.drain(kept..) {
            name.push(HEX[usize::from(b >> 4)]);
            name.push(HEX[usize::from(b & 15)]);
        }
        Ok(name)
    }

    /// Stages an empty regular file, open for reading and writing. `perm` is what
    /// [`Upper::own`] is to give it in the end.
    pub fn stage_file(&self, perm: u32) -> Result<(Staged, File)> {
        self.step("stage a file")?;
        let name = self.fresh()?;
        let mode = self.staged_mode(perm, Mode::RUSR | Mode::WUSR);
        let fd = rustix::fs::openat(self.work(), name.as_slice(), NEW, mode)
            .context(|| "staging a file")?;
        Ok((
            Staged {
                name,
                kind: Kind::File,
            },
            File::from(fd),
        ))
    }

    /// The mode that something is staged with.
    fn staged_mode(&self, perm: u32, else_: Mode) -> Mode {
        match self.made_by {
            Some(_) => Mode::from_raw_mode(perm & 0o1777),
            None => else_,
        }
    }

    /// Gives what was staged with `owned.perm` its owner and mode, as far as it has not got them.
    pub fn own(&self, at: Loc<'_>, owned: &Owned) -> Result<()> {
        let Some(made_by) = self.made_by else {
            return self.ownership().set(at, owned);
        };
        if (owned.uid, owned.gid) != made_by {
            at.chown(Some(owned.uid), Some(owned.gid))?;
        }
        // set-id bits are not made, or go with the owner
        match owned.kind {
            Kind::Symlink => Ok(()),
            _ if owned.perm & 0o6000 == 0 => Ok(()),
            _ => at.chmod(owned.perm),
        }
    }

    /// Stages a directory with these permissions, open for reading.
    pub fn stage_dir(&self, perm: u32) -> Result<(Staged, OwnedFd)> {
        let staged = self.stage(Kind::Dir, perm, 0, b"")?;
        match self
            .staged(&staged)
            .open(OFlags::RDONLY | OFlags::DIRECTORY)
        {
            Ok(fd) => Ok((staged, fd)),
            Err(e) => {
                self.discard(staged);
                Err(e)
            }
        }
    }

    /// Stages any kind of file. `perm` as for [`Upper::stage_file`]; `rdev` counts for devices,
    /// `target` for symlinks.
    pub fn stage(&self, kind: Kind, perm: u32, rdev: u64, target: &[u8]) -> Result<Staged> {
        self.step("stage")?;
        let name = self.fresh()?;
        let mode = self.staged_mode(perm, Mode::RUSR | Mode::WUSR);
        let node =
            |t: FileType, dev: u64| rustix::fs::mknodat(self.work(), name.as_slice(), t, mode, dev);
        match kind {
            Kind::File => node(FileType::RegularFile, 0),
            Kind::Dir => {
                let mode = self.staged_mode(perm, Mode::RWXU);
                rustix::fs::mkdirat(self.work(), name.as_slice(), mode)
            }
            Kind::Symlink => rustix::fs::symlinkat(target, self.work(), name.as_slice()),
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::Socket => node(FileType::Socket, 0),
            Kind::CharDev => node(FileType::CharacterDevice, rdev),
            Kind::BlockDev => node(FileType::BlockDevice, rdev),
        }
        .context(|| "staging a file")?;
        Ok(Staged { name, kind })
    }

    /// Stages a file as it would come to be in a directory with this default ACL: inside a staged
    /// directory that has it, so that the file system works the inheritance out.
    pub fn stage_under_acl(
        &self,
        default_acl: &[u8],
        kind: Kind,
        mode: u32,
        rdev: u64,
    ) -> Result<Staged> {
        self.step("stage under an ACL")?;
        let nest = self.stage(Kind::Dir, 0o700, 0, b"")?;
        let made = self.make_in_nest(&nest, default_acl, kind, mode, rdev);
        self.discard(nest);
        made
    }

    fn make_in_nest(
        &self,
        nest: &Staged,
        default_acl: &[u8],
        kind: Kind,
        mode: u32,
        rdev: u64,
    ) -> Result<Staged> {
        xattr::set(
            self.staged(nest),
            b"system.posix_acl_default",
            default_acl,
            0,
        )?;
        let dir = self.staged(nest).open(OFlags::PATH | OFlags::DIRECTORY)?;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let node = |t: FileType, dev: u64| rustix::fs::mknodat(&dir, c"new", t, mode, dev);
        match kind {
            Kind::File => node(FileType::RegularFile, 0),
            Kind::Dir => rustix::fs::mkdirat(&dir, c"new", mode),
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::Socket => node(FileType::Socket, 0),
            Kind::CharDev => node(FileType::CharacterDevice, rdev),
            Kind::BlockDev => node(FileType::BlockDevice, rdev),
            Kind::Symlink => Err(rustix::io::Errno::INVAL),
        }?;
        let name = self.fresh()?;
        rustix::fs::renameat(&dir, c"new", self.work(), name.as_slice())?;
        Ok(Staged { name, kind })
    }

    /// Stages another name of a file of the upper.
    pub fn stage_link(&self, of: Loc<'_>, kind: Kind) -> Result<Staged> {
        self.step("stage a link")?;
        let name = self.fresh()?;
        of.link(self.work(), &name)?;
        Ok(Staged { name, kind })
    }

    /// Where a staged file is.
    pub fn staged<'a>(&'a self, staged: &'a Staged) -> Loc<'a> {
        Loc::At(self.work(), &staged.name)
    }

    /// Throws a staged file away. Best effort: what stays is swept at the next mount.
    pub fn discard(&self, staged: Staged) {
        let removed = self
            .step("discard")
            .and_then(|()| remove_tree(self.work(), &staged.name, Some(staged.kind)));
        if let Err(e) = removed {
            log::warn!("work directory: {e}; left for the next mount to sweep");
        }
    }

    /// Puts a staged file into the tree.
    pub fn publish(
        &self,
        staged: Staged,
        dir: BorrowedFd<'_>,
        name: &[u8],
        over: Over,
    ) -> Result<()> {
        match self.put(&staged, dir, name, over) {
            Ok(true) => {
                self.discard(staged.now(Kind::CharDev));
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(e) => {
                self.discard(staged);
                Err(e.context("publishing"))
            }
        }
    }

    /// True if a whiteout is now where the staged file was.
    fn put(&self, staged: &Staged, dir: BorrowedFd<'_>, name: &[u8], over: Over) -> Result<bool> {
        let from = staged.name.as_slice();
        let mut over = over;
        // a directory cannot replace a whiteout, but change places with it
        let swap = (over, staged.kind) == (Over::Whiteout, Kind::Dir);
        if swap && self.form == WhiteoutForm::Aufs {
            self.free_name(dir, name)?;
            over = Over::Nothing;
        }
        self.step("publish")?;
        if over == Over::Nothing {
            rename_to_free((self.work(), from), (dir, name))?;
            return Ok(false);
        }
        let flags = match swap {
            true => RenameFlags::EXCHANGE,
            false => RenameFlags::empty(),
        };
        rustix::fs::renameat_with(self.work(), from, dir, name, flags)?;
        Ok(swap)
    }

    /// Renames within the tree, leaving a whiteout at the old name if asked, in one step where the
    /// file system can (RENAME_WHITEOUT); else the whiteout is there first, under the new name,
    /// and the two change places.
    pub fn rename(
        &self,
        from: (BorrowedFd<'_>, &[u8]),
        to: (BorrowedFd<'_>, &[u8]),
        kind: Kind,
        leave_whiteout: bool,
        over: Over,
    ) -> Result<()> {
        if self.form == WhiteoutForm::Aufs {
            return self.rename_by_name(from, to, kind, leave_whiteout, over);
        }
        let exchange = |flags| -> Result<()> {
            self.step("rename")?;
            Ok(rustix::fs::renameat_with(
                from.0, from.1, to.0, to.1, flags,
            )?)
        };
        if kind == Kind::Dir && over == Over::Whiteout {
            exchange(RenameFlags::EXCHANGE)?;
            if !leave_whiteout {
                self.step("drop a whiteout that hides nothing")?;
                rustix::fs::unlinkat(from.0, from.1, AtFlags::empty())?;
            }
            return Ok(());
        }
        if leave_whiteout && !self.rename_whiteout {
            match over {
                Over::Nothing => self.whiteout(to.0, to.1)?,
                Over::Whiteout => {}
                Over::File | Over::Dir => {
                    let kind = if over == Over::Dir {
                        Kind::Dir
                    } else {
                        Kind::File
                    };
                    self.replace_by_whiteout(to.0, to.1, kind)?;
                }
            }
            if self.form == WhiteoutForm::Xattr
                && self.mark(Loc::Fd(from.0.as_fd()), "opaque")?.is_none()
            {
                self.set_mark(Loc::Fd(from.0.as_fd()), "opaque", b"x")?;
            }
            return exchange(RenameFlags::EXCHANGE);
        }
        let mut flags = RenameFlags::empty();
        if leave_whiteout {
            flags |= RenameFlags::WHITEOUT;
        }
        if over == Over::Nothing {
            flags |= RenameFlags::NOREPLACE;
        }
        exchange(flags)
    }

    /// Lets two names of the tree change places.
    pub fn exchange(&self, a: (BorrowedFd<'_>, &[u8]), b: (BorrowedFd<'_>, &[u8])) -> Result<()> {
        self.step("exchange")?;
        Ok(rustix::fs::renameat_with(
            a.0,
            a.1,
            b.0,
            b.1,
            RenameFlags::EXCHANGE,
        )?)
    }

    /// Creates a regular file right in the tree, where nothing has to be covered, open for reading
    /// and writing. EEXIST if the name is taken. `mode` is final: the process runs with umask 0. The
    /// file system applies a default ACL and the setgid bit.
    pub fn create_file(&self, dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<File> {
        self.step("create")?;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        Ok(File::from(rustix::fs::openat(dir, name, NEW, mode)?))
    }

    /// The same for any other kind, which is not opened.
    pub fn create(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        kind: Kind,
        mode: u32,
        rdev: u64,
    ) -> Result<()> {
        self.step("create")?;
        let mode = Mode::from_raw_mode(mode & 0o7777);
        let node = |t: FileType, dev: u64| rustix::fs::mknodat(dir, name, t, mode, dev);
        match kind {
            Kind::Dir => rustix::fs::mkdirat(dir, name, mode)?,
            Kind::Fifo => node(FileType::Fifo, 0)?,
            Kind::Socket => node(FileType::Socket, 0)?,
            Kind::CharDev => node(FileType::CharacterDevice, rdev)?,
            Kind::BlockDev => node(FileType::BlockDevice, rdev)?,
            Kind::File | Kind::Symlink => return Err(Error::new(Errno::EINVAL)),
        }
        Ok(())
    }
}
