//! Between the engine's words and fuser's.

use crate::vfs::{Attr, Caller, Kind, NodeId, SetTime, Time};
use fuser::{FileAttr, FileType, INodeNo, Request, TimeOrNow};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who sent a request.
pub(super) fn caller(req: &Request) -> Caller {
    Caller {
        uid: req.uid(),
        gid: req.gid(),
        pid: req.pid(),
    }
}

/// The same, for requests that make no file: of a mount that may be id-mapped, the kernel leaves
/// the ids out of these. Who asks is then looked up by process; that costs a file of /proc, so it
/// is for where it matters. Nobody (`u32::MAX`), if the process cannot be found.
pub(super) fn known_caller(req: &Request) -> Caller {
    let mut who = caller(req);
    if who.uid == u32::MAX {
        who.uid = fs_uid(who.pid).unwrap_or(u32::MAX);
    }
    who
}

/// The user id with which a process uses files.
fn fs_uid(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let ids = status.lines().find_map(|l| l.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(3)?.parse().ok() // real, effective, saved, file system
}

/// The type of a file.
pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Dir => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDev => FileType::CharDevice,
        Kind::BlockDev => FileType::BlockDevice,
    }
}

/// Attributes, with `ino` as number of the node; the number that `stat` shows is the attribute's.
pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: (attr.perm & 0o7777) as u16,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        // the kernel's 32-bit encoding is the lower half of makedev's, for every device it has
        rdev: (attr.rdev & 0xffff_ffff) as u32,
        blksize: attr.blksize,
        flags: 0,
    }
}

/// The answer "there is no such name", which the kernel may remember: an entry without a node.
pub(super) fn no_entry() -> FileAttr {
    let nothing = Attr {
        ino: NodeId(0),
        kind: Kind::File,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        size: 0,
        blocks: 0,
        blksize: 0,
        atime: Time::default(),
        mtime: Time::default(),
        ctime: Time::default(),
    };
    file_attr(&nothing)
}

fn system_time(t: Time) -> SystemTime {
    let whole = Duration::from_secs(t.sec.unsigned_abs());
    let at = if t.sec >= 0 {
        UNIX_EPOCH.checked_add(whole)
    } else {
        UNIX_EPOCH.checked_sub(whole)
    };
    at.and_then(|at| at.checked_add(Duration::from_nanos(t.nsec.into())))
        .unwrap_or(UNIX_EPOCH)
}

/// A time from the kernel. fuser turns `-s` seconds and `n` nanoseconds, which is `n` *after* the
/// second, into a point `n` *before* it; here it is turned back.
pub(super) fn set_time(t: TimeOrNow) -> SetTime {
    let at = match t {
        TimeOrNow::Now => return SetTime::Now,
        TimeOrNow::SpecificTime(at) => at,
    };
    SetTime::At(match at.duration_since(UNIX_EPOCH) {
        Ok(after) => Time {
            sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nsec: after.subsec_nanos(),
        },
        Err(e) => Time {
            sec: 0i64.saturating_sub_unsigned(e.duration().as_secs()),
            nsec: e.duration().subsec_nanos(),
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn times_before_the_epoch_keep_their_nanoseconds() {
        // what fuser makes of sec = -2, nsec = 800,000,000
        let from_fuser = UNIX_EPOCH - Duration::new(2, 800_000_000);
        let at = Time {
            sec: -2,
            nsec: 800_000_000,
        };
        assert_eq!(
            set_time(TimeOrNow::SpecificTime(from_fuser)),
            SetTime::At(at)
        );
        // and out again: 1.2 seconds before the epoch
        let out = system_time(at);
        assert_eq!(
            UNIX_EPOCH.duration_since(out).unwrap(),
            Duration::new(1, 200_000_000)
        );
    }
}
