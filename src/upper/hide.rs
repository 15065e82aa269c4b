//! Names that go: whiteouts, and what is taken out of the tree.

use super::names::rename_to_free;
use super::{Over, Staged, Upper, WhiteoutForm};
use crate::sys::Loc;
use crate::vfs::{Error, Kind, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use std::os::fd::BorrowedFd;

impl Upper {
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
                let staged = self.stage(Kind::File, 0o600, 0, b"")?;
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
        self.discard(Staged::new(aside, kind));
        Ok(())
    }

    /// Takes a directory out of the tree if there is nothing in it on disk; false if there is.
    pub fn remove_empty(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<bool> {
        self.step("remove")?;
        match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => Ok(false),
            other => Ok(other.map(|()| true)?),
        }
    }

    pub(super) fn replace_by_whiteout(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        kind: Kind,
    ) -> Result<()> {
        let work = self.work();
        let whiteout = self.stage_whiteout(dir)?;
        // a file makes room for what is renamed to its name; a directory does not
        let flags = match kind {
            Kind::Dir => RenameFlags::EXCHANGE,
            _ => RenameFlags::empty(),
        };
        let from = whiteout.name();
        match rustix::fs::renameat_with(work, from, dir, name, flags) {
            Ok(()) if kind != Kind::Dir => Ok(()),
            Ok(()) => {
                self.discard(whiteout.now(kind));
                Ok(())
            }
            Err(e) => {
                self.discard(whiteout);
                Err(e.into())
            }
        }
    }
}
