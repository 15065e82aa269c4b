//! Changing the upper: everything is made ready in the work directory, and appears in the tree,
//! or leaves it, by one system call.

use super::names::rename_to_free;
use super::open::remove_tree;
use super::{Upper, WhiteoutForm};
use crate::sys::{Loc, xattr};
use crate::vfs::error::Context;
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

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
        let mut bytes = [0u8; 12];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let mut name = b"#".to_vec();
        for b in bytes {
            name.extend_from_slice(format!("{b:02x}").as_bytes());
        }
        Ok(name)
    }

    /// Stages an empty regular file, open for reading and writing.
    pub fn stage_file(&self) -> Result<(Staged, File)> {
        self.step("stage a file")?;
        let name = self.fresh()?;
        let fd = rustix::fs::openat(
            self.work(),
            name.as_slice(),
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::RUSR | Mode::WUSR,
        )
        .context(|| "staging a file")?;
        Ok((
            Staged {
                name,
                kind: Kind::File,
            },
            File::from(fd),
        ))
    }

    /// Stages any other kind of file. `rdev` counts for devices, `target` for symlinks.
    pub fn stage(&self, kind: Kind, rdev: u64, target: &[u8]) -> Result<Staged> {
        self.step("stage")?;
        let name = self.fresh()?;
        let mode = Mode::RUSR | Mode::WUSR;
        let node =
            |t: FileType, dev: u64| rustix::fs::mknodat(self.work(), name.as_slice(), t, mode, dev);
        match kind {
            Kind::File => node(FileType::RegularFile, 0),
            Kind::Dir => rustix::fs::mkdirat(self.work(), name.as_slice(), Mode::RWXU),
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
        let nest = self.stage(Kind::Dir, 0, b"")?;
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
                self.discard(Staged {
                    kind: Kind::CharDev,
                    ..staged
                });
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

    /// Says in the upper that `name` is missing. The name must be free there.
    pub fn whiteout(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        match self.form {
            WhiteoutForm::Device => {
                self.step("whiteout")?;
                self.link_whiteout(dir, name)
            }
            WhiteoutForm::Aufs => self.whiteout_by_name(dir, name),
            WhiteoutForm::Xattr => {
                let staged = self.stage_whiteout(dir)?;
                self.publish(staged, dir, name, Over::Nothing)
            }
        }
    }

    /// Whiteouts are names of one inode, as the kernel's overlayfs makes them: a link costs a
    /// fraction of an inode. When that inode is not there, or has all the names it can have, the
    /// whiteout is an inode of its own, and the one that the next are names of.
    fn link_whiteout(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let shared = Loc::At(self.work(), b"whiteout");
        match shared.link(dir, name) {
            Err(e) if e.is(Errno::ENOENT) || e.is(Errno::EMLINK) => {}
            done => return done,
        }
        let device = FileType::CharacterDevice;
        rustix::fs::mknodat(dir, name, device, Mode::empty(), 0)?;
        let aside = self.fresh()?;
        let renewed = Loc::At(dir, name).link(self.work(), &aside).and_then(|()| {
            let work = self.work();
            Ok(rustix::fs::renameat(
                work,
                aside.as_slice(),
                work,
                c"whiteout",
            )?)
        });
        if let Err(e) = renewed {
            log::debug!("the next whiteout is an inode of its own, too: {e}");
        }
        Ok(())
    }

    fn stage_whiteout(&self, dir: BorrowedFd<'_>) -> Result<Staged> {
        match self.form {
            WhiteoutForm::Device => {
                self.step("stage")?;
                let name = self.fresh()?;
                self.link_whiteout(self.work(), &name)?;
                Ok(Staged::new(name, Kind::CharDev))
            }
            WhiteoutForm::Aufs => Err(Error::because(
                Errno::EIO,
                "a whiteout that is a name beside it is not staged",
            )),
            WhiteoutForm::Xattr => {
                if self.mark(Loc::Fd(dir), "opaque")?.is_none() {
                    self.set_mark(Loc::Fd(dir), "opaque", b"x")?;
                }
                let staged = self.stage(Kind::File, 0, b"")?;
                self.set_mark(self.staged(&staged), "whiteout", b"y")?;
                Ok(staged)
            }
        }
    }

    /// Takes a name out of the tree, leaving a whiteout in its place if asked. A directory goes
    /// with all that is in it (whiteouts: the caller saw that nothing else is).
    pub fn remove(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        kind: Kind,
        leave_whiteout: bool,
    ) -> Result<()> {
        if leave_whiteout && self.form == WhiteoutForm::Aufs {
            self.whiteout_by_name(dir, name)?;
        }
        self.step("remove")?;
        let work = self.work();
        if leave_whiteout && self.form != WhiteoutForm::Aufs {
            return self.replace_by_whiteout(dir, name, kind);
        }
        if kind != Kind::Dir {
            return Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?);
        }
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {}
            other => return Ok(other?),
        }
        let aside = self.fresh()?;
        rename_to_free((dir, name), (work, &aside))?;
        self.discard(Staged { name: aside, kind });
        Ok(())
    }

    fn replace_by_whiteout(&self, dir: BorrowedFd<'_>, name: &[u8], kind: Kind) -> Result<()> {
        let work = self.work();
        let whiteout = self.stage_whiteout(dir)?;
        let exchanged = rustix::fs::renameat_with(
            work,
            whiteout.name.as_slice(),
            dir,
            name,
            RenameFlags::EXCHANGE,
        );
        match exchanged {
            Ok(()) => {
                self.discard(Staged {
                    name: whiteout.name,
                    kind,
                });
                Ok(())
            }
            Err(e) => {
                self.discard(whiteout);
                Err(e.into())
            }
        }
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

    /// Creates a file right in the tree, where nothing has to be covered. `mode` is final: the
    /// process runs with umask 0. The file system applies a default ACL and the setgid bit.
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
            Kind::File => node(FileType::RegularFile, 0)?,
            Kind::Dir => rustix::fs::mkdirat(dir, name, mode)?,
            Kind::Fifo => node(FileType::Fifo, 0)?,
            Kind::Socket => node(FileType::Socket, 0)?,
            Kind::CharDev => node(FileType::CharacterDevice, rdev)?,
            Kind::BlockDev => node(FileType::BlockDevice, rdev)?,
            Kind::Symlink => return Err(Error::new(Errno::EINVAL)),
        }
        Ok(())
    }
}
