//! What the file system of an upper can keep: tried in the work directory, at every mount.

use super::open::sweep;
use super::{Marks, UpperConfig, UserXattr, WhiteoutForm};
use crate::sys::{Loc, xattr};
use crate::vfs::error::Context;
use crate::vfs::whiteout::Prefix;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use rustix::fs::{AtFlags, FileType, Mode, RenameFlags};
use std::os::fd::BorrowedFd;

/// What was found.
pub(super) struct Found {
    /// The namespace of the marks; `None`: there are no extended attributes.
    pub prefix: Option<Prefix>,
    /// What a whiteout is.
    pub form: WhiteoutForm,
    /// A rename can leave a whiteout behind by itself.
    pub rename_whiteout: bool,
    /// Owner and group of what root makes in the work directory, where nothing there (a default
    /// ACL, the setgid bit) changes its mode.
    pub made_by: Option<(u32, u32)>,
}

/// Tries what there is. The best form that works is taken, or the one that was asked for.
pub(super) fn probe(work: BorrowedFd<'_>, config: &UpperConfig) -> Result<Found> {
    let prefix = match config.marks {
        Marks::Auto | Marks::Attributes => probe_prefix(work, config)?,
        Marks::Devices | Marks::Names => None,
    };
    let form = match config.marks {
        Marks::Attributes => WhiteoutForm::Xattr,
        Marks::Names => WhiteoutForm::Aufs,
        Marks::Auto | Marks::Devices => probe_whiteout(work, prefix)?,
    };
    let rename_whiteout = form == WhiteoutForm::Device && renames(work, RenameFlags::WHITEOUT)?;
    if prefix.is_none() {
        without_attributes(config, form)?;
    }
    Ok(Found {
        prefix,
        form,
        rename_whiteout,
        made_by: match prefix {
            // others may not write to what has no permission to
            Some(Prefix::Trusted) if !config.ownership.is_overridden() => probe_maker(work)?,
            _ => None,
        },
    })
}

fn probe_maker(work: BorrowedFd<'_>) -> Result<Option<(u32, u32)>> {
    const ALL: u32 = 0o777;
    let dir = Loc::Fd(work).stat()?;
    if rustix::fs::mkdirat(work, c"probe", Mode::from_raw_mode(ALL)).is_err() {
        return Ok(None); // whoever needs to make one will hear why it cannot be
    }
    let made = Loc::At(work, b"probe").stat();
    rustix::fs::unlinkat(work, c"probe", AtFlags::REMOVEDIR)?;
    let made = made?;
    let as_asked = made.st_mode & 0o7777 == ALL && dir.st_mode & libc::S_ISGID == 0;
    Ok(as_asked.then_some((made.st_uid, made.st_gid)))
}

/// `None` where the file system keeps no attributes, and none of a certain kind were asked for.
fn probe_prefix(work: BorrowedFd<'_>, config: &UpperConfig) -> Result<Option<Prefix>> {
    let at = Loc::Fd(work);
    let tries = |prefix: Prefix| xattr::set(at, &prefix.name("opaque"), b"n", 0).map(|()| prefix);
    let found = match config.userxattr {
        UserXattr::On => tries(Prefix::User),
        UserXattr::Off => tries(Prefix::Trusted),
        UserXattr::Auto => match tries(Prefix::Trusted).or_else(|_| tries(Prefix::User)) {
            Err(e) if e.is(Errno::EOPNOTSUPP) => return Ok(None),
            other => other,
        },
    };
    let prefix = found.context(|| {
        format!(
            "upper directory {}: its file system does not keep the extended attributes that \
             overlay marks go to",
            config.upper.display()
        )
    })?;
    xattr::remove(at, &prefix.name("opaque"))?;
    Ok(Some(prefix))
}

fn probe_whiteout(work: BorrowedFd<'_>, prefix: Option<Prefix>) -> Result<WhiteoutForm> {
    let device =
        match rustix::fs::mknodat(work, c"probe", FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) => {
                rustix::fs::unlinkat(work, c"probe", AtFlags::empty())?;
                true
            }
            Err(_) => false,
        };
    Ok(match (device, prefix) {
        (true, Some(_)) => WhiteoutForm::Device,
        (false, Some(_)) => WhiteoutForm::Xattr,
        // a directory takes the place of a device by exchange alone
        (true, None) if renames(work, RenameFlags::EXCHANGE)? => WhiteoutForm::Device,
        (_, None) => WhiteoutForm::Aufs,
    })
}

/// True if the file system can rename so.
fn renames(work: BorrowedFd<'_>, flags: RenameFlags) -> Result<bool> {
    rustix::fs::mkdirat(work, c"probe", Mode::RWXU)?;
    if flags == RenameFlags::EXCHANGE {
        rustix::fs::mkdirat(work, c"moved", Mode::RWXU)?;
    }
    let renamed = rustix::fs::renameat_with(work, c"probe", work, c"moved", flags);
    sweep(work)?;
    Ok(renamed.is_ok())
}

/// Refuses what cannot be done without attributes, and says what is lost.
fn without_attributes(config: &UpperConfig, form: WhiteoutForm) -> Result<()> {
    let upper = config.upper.display();
    if config.ownership.is_overridden() {
        return Err(Error::because(
            Errno::EOPNOTSUPP,
            format!(
                "upper directory {upper}: owners are to be kept in extended attributes, and its \
                 file system keeps none"
            ),
        ));
    }
    let whiteouts = match form {
        WhiteoutForm::Aufs => "`.wh.` files, so names of more than 251 bytes cannot be removed",
        _ => "devices 0:0",
    };
    log::warn!(
        "upper directory {upper}: its file system keeps no extended attributes. Directories of a \
         layer cannot be renamed (EXDEV), a change of metadata copies the data too, files get \
         other inode numbers at the mount after their copy-up, and the kernel's overlayfs cannot use \
         this upper. Whiteouts are {whiteouts}"
    );
    Ok(())
}
