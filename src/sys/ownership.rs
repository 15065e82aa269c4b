//! Where owner, mode and type of files are kept: in the inode, or in an extended attribute.

use super::{Loc, xattr};
use crate::vfs::override_stat::OverrideStat;
use crate::vfs::{Kind, Result};
use nix::errno::Errno;
use rustix::fs::Stat;

/// Where owner, mode and type of files are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ownership {
    /// In the inode.
    #[default]
    Inode,
    /// In `security.fuseoverlayfs.override_stat`, which only root can change.
    Privileged,
    /// In `user.containers.override_stat`.
    User,
}

const PRIVILEGED: &[u8] = b"security.fuseoverlayfs.override_stat";
const CONTAINERS: &[u8] = b"user.containers.override_stat";
const OLD_USER: &[u8] = b"user.fuseoverlayfs.override_stat";

/// What `security.` attributes are kept as where the file's real ones are not ours to set.
const SECURITY: &[u8] = b"security.";
const KEPT_SECURITY: &[u8] = b"user.containers.override_security.";

/// What is to be kept of a file.
#[derive(Clone, Copy, Debug)]
pub struct Owned {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub perm: u32,
    /// Type.
    pub kind: Kind,
    /// Device number.
    pub rdev: u64,
}

impl Ownership {
    /// What the root of a layer says that the layer was written with.
    pub fn of_root(root: Loc<'_>) -> Result<Ownership> {
        for (name, found) in [
            (CONTAINERS, Ownership::User),
            (OLD_USER, Ownership::User),
            (PRIVILEGED, Ownership::Privileged),
        ] {
            if xattr::get(root, name)?.is_some() {
                return Ok(found);
            }
        }
        Ok(Ownership::Inode)
    }

    /// True if the inode does not tell.
    pub fn is_overridden(self) -> bool {
        self != Ownership::Inode
    }

    fn read(self, at: Loc<'_>) -> Result<Option<OverrideStat>> {
        let names: &[&[u8]] = match self {
            Ownership::Inode => return Ok(None),
            Ownership::Privileged => &[PRIVILEGED],
            Ownership::User => &[CONTAINERS, OLD_USER],
        };
        for name in names {
            if let Some(value) = xattr::get(at, name)? {
                return Ok(OverrideStat::parse(&value));
            }
        }
        Ok(None)
    }

    /// `stat`, with what is kept elsewhere put in its place.
    pub fn stat(self, at: Loc<'_>) -> Result<Stat> {
        self.shown(at, at.stat()?)
    }

    /// `st`, which is of `at`, with what is kept elsewhere put in its place.
    pub fn shown(self, at: Loc<'_>, mut st: Stat) -> Result<Stat> {
        if !self.is_overridden() || !can_carry(st.st_mode) {
            return Ok(st);
        }
        let Some(kept) = self.read(at)? else {
            return Ok(st);
        };
        st.st_uid = kept.uid;
        st.st_gid = kept.gid;
        let mut kind = st.st_mode & libc::S_IFMT;
        // a directory is one, whatever is written on it
        if let Some((other, rdev)) = kept.kind
            && kind == libc::S_IFREG
            && other != Kind::Dir
        {
            kind = other.mode();
            st.st_rdev = rdev;
        }
        st.st_mode = kind | kept.perm;
        Ok(st)
    }

    /// The type of a file that a directory shows as `kind`.
    pub fn kind(self, at: Loc<'_>, kind: Kind) -> Result<Kind> {
        if !self.is_overridden() || kind != Kind::File {
            return Ok(kind);
        }
        let kept = self.read(at)?.and_then(|kept| kept.kind);
        Ok(match kept {
            Some((other, _)) if other != Kind::Dir => other,
            _ => kind,
        })
    }

    /// The type that a new file gets on disk.
    pub fn kind_on_disk(self, kind: Kind) -> Kind {
        match kind {
            Kind::Fifo | Kind::Socket | Kind::CharDev | Kind::BlockDev if self.is_overridden() => {
                Kind::File
            }
            kind => kind,
        }
    }

    /// Keeps what `owned` says of a file. The owner of a symlink has no place but its inode.
    pub fn set(self, at: Loc<'_>, owned: &Owned) -> Result<()> {
        if !self.is_overridden() {
            at.chown(Some(owned.uid), Some(owned.gid))?;
            if owned.kind != Kind::Symlink {
                at.chmod(owned.perm)?;
            }
            return Ok(());
        }
        if owned.kind == Kind::Symlink {
            return Ok(());
        }
        let kept = OverrideStat {
            uid: owned.uid,
            gid: owned.gid,
            perm: owned.perm & 0o7777,
            kind: Some((owned.kind, owned.rdev)),
        };
        let name = match self {
            Ownership::Privileged => PRIVILEGED,
            _ => CONTAINERS,
        };
        // what the daemon itself needs to go on working with the file
        at.chmod(if owned.kind == Kind::Dir {
            0o700
        } else {
            0o600
        })?;
        xattr::set(at, name, &kept.to_value(), 0)
    }

    /// Changes some of it.
    pub fn change(
        self,
        at: Loc<'_>,
        uid: Option<u32>,
        gid: Option<u32>,
        perm: Option<u32>,
    ) -> Result<()> {
        if !self.is_overridden() {
            if uid.is_some() || gid.is_some() {
                at.chown(uid, gid)?;
            }
            return perm.map_or(Ok(()), |perm| at.chmod(perm));
        }
        let st = self.stat(at)?;
        let kind = Kind::from_mode(st.st_mode).ok_or(Errno::EIO)?;
        self.set(
            at,
            &Owned {
                uid: uid.unwrap_or(st.st_uid),
                gid: gid.unwrap_or(st.st_gid),
                perm: perm.unwrap_or(st.st_mode & 0o7777),
                kind,
                rdev: st.st_rdev,
            },
        )
    }

    /// The attribute that keeps what programs call `name`; `None` for names that are not theirs.
    pub fn xattr_on_disk(self, name: Vec<u8>) -> Option<Vec<u8>> {
        if !self.is_overridden() {
            return Some(name);
        }
        if is_own(&name) {
            return None;
        }
        match name.strip_prefix(SECURITY) {
            Some(rest) if self == Ownership::User => Some([KEPT_SECURITY, rest].concat()),
            _ => Some(name),
        }
    }

    /// What programs call the attribute `name`; `None` for what is not shown.
    pub fn xattr_shown(self, name: Vec<u8>) -> Option<Vec<u8>> {
        if !self.is_overridden() {
            return Some(name);
        }
        match name.strip_prefix(KEPT_SECURITY) {
            Some(rest) => Some([SECURITY, rest].concat()),
            None => (!is_own(&name)).then_some(name),
        }
    }
}

fn is_own(name: &[u8]) -> bool {
    name == PRIVILEGED || name.starts_with(b"user.containers.") || name == OLD_USER
}

/// `user.` attributes are for regular files and directories alone.
fn can_carry(mode: u32) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)
}
