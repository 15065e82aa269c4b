//! The head of an entry: its header, with the extensions before it that say what a header cannot.

use super::header::Raw;
use super::limits::{Limits, within};
use super::pax::{Records, Said};
use super::{invalid, shown, sparse};
use crate::image::entry::{Meta, Xattr};
use crate::vfs::{Error, Result};
use nix::errno::Errno;

/// A header with what was said of the entry before it.
pub struct Head {
    /// The header.
    pub raw: Raw,
    /// The PAX records before it.
    pub own: Records,
    /// The name before it, as GNU has it.
    pub long_name: Option<Vec<u8>>,
    /// The target of a link before it, as GNU has it.
    pub long_target: Option<Vec<u8>>,
}

/// What an entry is, by its type and, in old tars, its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A file.
    File,
    /// Another name of a file.
    Hardlink,
    /// A symlink.
    Symlink,
    /// A character device.
    CharDev,
    /// A block device.
    BlockDev,
    /// A directory.
    Dir,
    /// A named pipe.
    Fifo,
}

impl Head {
    /// What is said of it by records.
    pub fn said<'a>(&'a self, global: &'a Records) -> Said<'a> {
        Said {
            own: &self.own,
            global,
        }
    }

    /// The name. Where there are several, that which docker takes: a sparse file's own, GNU's long
    /// one, the record, the header.
    pub fn name(&self, global: &Records) -> Vec<u8> {
        let said = self.said(global);
        sparse::name(&said)
            .or(self.long_name.as_deref())
            .or_else(|| said.get("path"))
            .map_or_else(|| self.raw.name(), <[u8]>::to_vec)
    }

    /// The target of a link.
    pub fn target(&self, said: &Said<'_>) -> Vec<u8> {
        self.long_target
            .as_deref()
            .or_else(|| said.get("linkpath"))
            .map_or_else(|| self.raw.target(), <[u8]>::to_vec)
    }

    /// Bytes of data in the tar, if it has data.
    pub fn stored(&self, global: &Records) -> Result<u64> {
        match self.said(global).number("size")? {
            Some(size) => Ok(size),
            None => self.raw.size(),
        }
    }

    /// What it is.
    pub fn what(&self, name: &[u8], stored: u64) -> Result<Type> {
        let slash = name.ends_with(b"/");
        Ok(match self.raw.kind() {
            // v7 has no type for a directory
            0 if slash => Type::Dir,
            b'0' | b'7' if slash && stored == 0 => Type::Dir,
            b'0' | b'7' | b'S' if slash => {
                return Err(invalid("a file whose name ends with a slash"));
            }
            0 | b'0' | b'7' | b'S' => Type::File,
            b'1' => Type::Hardlink,
            b'2' => Type::Symlink,
            b'3' => Type::CharDev,
            b'4' => Type::BlockDev,
            b'5' => Type::Dir,
            b'6' => Type::Fifo,
            other => {
                let other = [other];
                return Err(Error::because(
                    Errno::EOPNOTSUPP,
                    format!("its type '{}' is not known", other.escape_ascii()),
                ));
            }
        })
    }

    /// What every file has.
    pub fn meta(&self, said: &Said<'_>, xattrs: Vec<Xattr>) -> Result<Meta> {
        let (mtime, mtime_nsec) = match said.time("mtime")? {
            Some(time) => time,
            None => (self.raw.mtime()?, 0),
        };
        Ok(Meta {
            perm: self.raw.perm()?,
            uid: match said.number("uid")? {
                Some(uid) => uid,
                None => self.raw.uid()?,
            },
            gid: match said.number("gid")? {
                Some(gid) => gid,
                None => self.raw.gid()?,
            },
            mtime,
            mtime_nsec,
            xattrs,
        })
    }

    /// The number of a device. The records are star's, for those that are too large for a header.
    pub fn device(&self, said: &Said<'_>) -> Result<u64> {
        let (major, minor) = self.raw.device()?;
        Ok(libc::makedev(
            said.number("SCHILY.devmajor")?.unwrap_or(major),
            said.number("SCHILY.devminor")?.unwrap_or(minor),
        ))
    }
}

/// Checks the target of a symlink, which may be any text.
pub fn check_target(target: &[u8], limits: &Limits) -> Result<()> {
    if target.is_empty() || target.contains(&0) {
        return Err(invalid(format!(
            "a symlink to {}, which is no path",
            shown(target)
        )));
    }
    within("target_bytes", target.len() as u64, limits.target_bytes)
}
