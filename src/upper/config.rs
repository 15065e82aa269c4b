//! What the user says about the upper.

use crate::sys::Ownership;
use std::path::PathBuf;

/// Which namespace of extended attributes the marks go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserXattr {
    /// `trusted.` where it is permitted, else `user.`.
    #[default]
    Auto,
    /// `user.`, as overlayfs's mount option `userxattr`.
    On,
    /// `trusted.`, or no mount.
    Off,
}

/// What whiteouts and opaque directories are written down as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marks {
    /// As the upper's file system and the privilege at hand allow.
    #[default]
    Auto,
    /// A whiteout is a file with an attribute: as where devices cannot be made. For tests.
    Attributes,
    /// A whiteout is a device 0:0, and all else a name: as where there are no extended
    /// attributes. For tests.
    Devices,
    /// All are names: as where there are neither attributes nor devices. For tests.
    Names,
}

/// The upper and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpperConfig {
    /// The directory that takes the changes.
    pub upper: PathBuf,
    /// An empty directory on the same file system.
    pub work: PathBuf,
    /// Nothing is synced: fast, and after a crash the upper is to be thrown away.
    pub volatile: bool,
    /// A change of metadata alone copies no data up.
    pub metacopy: bool,
    /// A directory from a lower can be renamed; otherwise EXDEV.
    pub redirect: bool,
    /// Namespace of the marks.
    pub userxattr: UserXattr,
    /// What whiteouts and opaque directories are written down as.
    pub marks: Marks,
    /// POSIX ACLs are kept and inherited.
    pub acl: bool,
    /// Where owner, mode and type of files are kept.
    pub ownership: Ownership,
}

impl UpperConfig {
    /// The defaults for an upper and its work directory.
    pub fn new(upper: impl Into<PathBuf>, work: impl Into<PathBuf>) -> UpperConfig {
        UpperConfig {
            upper: upper.into(),
            work: work.into(),
            volatile: false,
            metacopy: true,
            redirect: true,
            userxattr: UserXattr::Auto,
            marks: Marks::Auto,
            acl: true,
            ownership: Ownership::Inode,
        }
    }
}
