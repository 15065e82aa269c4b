//! Operations, and what each does to a [`Subject`]. `Debug` of a list of operations is Rust: a
//! shrunk failure is pasted into a test as it is.

use super::layers::content;
use super::posix::{OMIT, R, Stamp, acl};
use super::subject::{Name, Stat, Subject, join, list};
use super::tree::{View, time};
use std::collections::BTreeSet;

/// How a rename treats what is at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Plain,
    NoReplace,
    Exchange,
}

/// What `mknod` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Fifo,
    Socket,
    /// Not 0:0: to make that one is EPERM on a union mount, for it is a whiteout.
    Char,
    Block,
    File,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Stat {
        path: &'static str,
    },
    Create {
        path: &'static str,
        mode: u32,
    },
    Mkdir {
        path: &'static str,
        mode: u32,
    },
    Mknod {
        path: &'static str,
        node: Node,
    },
    Symlink {
        path: &'static str,
        target: &'static str,
    },
    Link {
        from: &'static str,
        to: &'static str,
    },
    Unlink {
        path: &'static str,
    },
    Rmdir {
        path: &'static str,
    },
    RmRf {
        path: &'static str,
    },
    Rename {
        from: &'static str,
        to: &'static str,
        how: How,
    },
    Write {
        path: &'static str,
        at: u64,
        len: usize,
        byte: u8,
    },
    Append {
        path: &'static str,
        len: usize,
        byte: u8,
    },
    Truncate {
        path: &'static str,
        len: u64,
    },
    Punch {
        path: &'static str,
        at: u64,
        len: u64,
    },
    Chmod {
        path: &'static str,
        mode: u32,
    },
    Chown {
        path: &'static str,
        uid: u32,
        gid: u32,
    },
    Utimens {
        path: &'static str,
        atime: Stamp,
        mtime: Stamp,
    },
    SetXattr {
        path: &'static str,
        name: &'static str,
        len: usize,
        flags: i32,
    },
    RemoveXattr {
        path: &'static str,
        name: &'static str,
    },
    SetAcl {
        path: &'static str,
        default: bool,
        mask: u16,
    },
    CopyRange {
        from: &'static str,
        at: u64,
        to: &'static str,
        to_at: u64,
        len: usize,
    },
    Hold {
        slot: usize,
        path: &'static str,
        write: bool,
    },
    Release {
        slot: usize,
    },
    HeldStat {
        slot: usize,
    },
    HeldRead {
        slot: usize,
    },
    HeldWrite {
        slot: usize,
        at: u64,
        len: usize,
        byte: u8,
    },
    HeldAppend {
        slot: usize,
        len: usize,
        byte: u8,
    },
    HeldTruncate {
        slot: usize,
        len: u64,
    },
    HeldPunch {
        slot: usize,
        at: u64,
        len: u64,
    },
    HeldChmod {
        slot: usize,
        mode: u32,
    },
    HeldSetXattr {
        slot: usize,
        len: usize,
    },
    HeldSync {
        slot: usize,
    },
    /// Lists a directory; after the first page, one name goes and one comes.
    ListAcross {
        path: &'static str,
        gone: &'static str,
        new: &'static str,
    },
}

/// Files held open at once.
pub const SLOTS: usize = 3;

/// What an operation lets its caller see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Number(usize),
    Bytes(Vec<u8>),
    Names(Vec<Name>),
    /// Everything of a stat that is defined, as text.
    Stat(String),
}

/// A stat as text. The size of a directory is its file system's own affair; so is the time of
/// access of what was only read (`relatime`), which is shown only where it was set just before.
fn seen(st: Stat, view: &View, atime: bool) -> Seen {
    let dir = st.kind() == libc::S_IFDIR;
    let size = if dir { 0 } else { st.size };
    let counted = if dir { view.dir_nlink } else { view.links };
    let nlink = if counted { st.nlink } else { 0 };
    let mut text = format!(
        "{:o} {}:{} n{nlink} size {size} dev {:x} mtime {}",
        st.mode,
        st.uid,
        st.gid,
        st.rdev,
        time(st.mtime, view)
    );
    if atime {
        text += &format!(" atime {}", time(st.atime, view));
    }
    Seen::Stat(text)
}

impl Op {
    /// The slot of the file held open that it makes or uses.
    pub fn slot(&self) -> Option<usize> {
        match *self {
            Op::Hold { slot, .. }
            | Op::HeldStat { slot }
            | Op::HeldRead { slot }
            | Op::HeldWrite { slot, .. }
            | Op::HeldAppend { slot, .. }
            | Op::HeldTruncate { slot, .. }
            | Op::HeldPunch { slot, .. }
            | Op::HeldChmod { slot, .. }
            | Op::HeldSetXattr { slot, .. }
            | Op::HeldSync { slot } => Some(slot),
            _ => None,
        }
    }

    /// Does it.
    pub fn apply(&self, s: &mut dyn Subject, view: &View) -> R<Seen> {
        let nothing = |()| Seen::Nothing;
        match *self {
            Op::Stat { path } => s.stat(path).map(|st| seen(st, view, false)),
            Op::Create { path, mode } => s.create(path, mode).map(nothing),
            Op::Mkdir { path, mode } => s.mkdir(path, mode).map(nothing),
            Op::Mknod { path, node } => mknod(s, path, node).map(nothing),
            Op::Symlink { path, target } => {
                s.symlink(path, target)?;
                s.readlink(path).map(Seen::Bytes)
            }
            Op::Link { from, to } => s.link(from, to).map(nothing),
            Op::Unlink { path } => s.unlink(path).map(nothing),
            Op::Rmdir { path } => s.rmdir(path).map(nothing),
            Op::RmRf { path } => rm_rf(s, path).map(nothing),
            Op::Rename { from, to, how } => {
                let flags = match how {
                    How::Plain => 0,
                    How::NoReplace => libc::RENAME_NOREPLACE,
                    How::Exchange => libc::RENAME_EXCHANGE,
                };
                s.rename(from, to, flags).map(nothing)
            }
            Op::CopyRange {
                from,
                at,
                to,
                to_at,
                len,
            } => {
                regular(s, from)?;
                regular(s, to)?;
                s.copy_range(from, at, to, to_at, len).map(Seen::Number)
            }
            Op::ListAcross { path, gone, new } => list_across(s, path, gone, new),
            Op::Chmod { .. }
            | Op::Chown { .. }
            | Op::Utimens { .. }
            | Op::SetXattr { .. }
            | Op::RemoveXattr { .. }
            | Op::SetAcl { .. } => self.set(s, view),
            _ => self.data(s, view),
        }
    }

    fn set(&self, s: &mut dyn Subject, view: &View) -> R<Seen> {
        match *self {
            Op::Chmod { path, mode } => {
                if s.stat(path)?.kind() == libc::S_IFLNK {
                    return Err(libc::EOPNOTSUPP); // the kernel's answer, before any file system's
                }
                s.chmod(path, mode)?;
                s.stat(path).map(|st| seen(st, view, false))
            }
            Op::Chown { path, uid, gid } => {
                s.chown(path, uid, gid)?;
                s.stat(path).map(|st| seen(st, view, false))
            }
            Op::Utimens { path, atime, mtime } => {
                s.utimens(path, atime, mtime)?;
                s.stat(path).map(|st| seen(st, view, atime != OMIT))
            }
            Op::SetXattr {
                path,
                name,
                len,
                flags,
            } => {
                holds_xattrs(s, path)?;
                s.setxattr(path, name, &content(b'v', len), flags)?;
                s.getxattr(path, name).map(Seen::Bytes)
            }
            Op::RemoveXattr { path, name } => {
                holds_xattrs(s, path)?;
                s.removexattr(path, name).map(|()| Seen::Nothing)
            }
            Op::SetAcl {
                path,
                default,
                mask,
            } => {
                holds_xattrs(s, path)?;
                let name = match default {
                    true => "system.posix_acl_default",
                    false => "system.posix_acl_access",
                };
                s.setxattr(path, name, &acl(6, 7, 5, mask, 4), 0)?;
                s.stat(path).map(|st| seen(st, view, false))
            }
            _ => unreachable!("apply() sends no other here"),
        }
    }

    fn data(&self, s: &mut dyn Subject, view: &View) -> R<Seen> {
        match *self {
            Op::Write {
                path,
                at,
                len,
                byte,
            } => through(s, path, |s, h| s.held_write(h, at, &content(byte, len))),
            Op::Append { path, len, byte } => {
                through(s, path, |s, h| s.held_append(h, &content(byte, len)))
            }
            Op::Truncate { path, len } => {
                through(s, path, |s, h| s.held_truncate(h, len).map(|()| 0))
            }
            Op::Punch { path, at, len } => {
                through(s, path, |s, h| s.held_punch(h, at, len).map(|()| 0))
            }
            Op::Hold { slot, path, write } => {
                regular(s, path)?;
                s.hold(slot, path, write).map(|()| Seen::Nothing)
            }
            Op::Release { slot } => s.release(slot).map(|()| Seen::Nothing),
            Op::HeldStat { slot } => s.held_stat(slot).map(|st| seen(st, view, false)),
            Op::HeldRead { slot } => s.held_read(slot).map(Seen::Bytes),
            Op::HeldWrite {
                slot,
                at,
                len,
                byte,
            } => s
                .held_write(slot, at, &content(byte, len))
                .map(Seen::Number),
            Op::HeldAppend { slot, len, byte } => {
                s.held_append(slot, &content(byte, len)).map(Seen::Number)
            }
            Op::HeldTruncate { slot, len } => s.held_truncate(slot, len).map(|()| Seen::Nothing),
            Op::HeldPunch { slot, at, len } => s.held_punch(slot, at, len).map(|()| Seen::Nothing),
            Op::HeldChmod { slot, mode } => s.held_chmod(slot, mode).map(|()| Seen::Nothing),
            Op::HeldSetXattr { slot, len } => s
                .held_setxattr(slot, "user.held", &content(b'h', len))
                .map(|()| Seen::Nothing),
            Op::HeldSync { slot } => s.held_sync(slot).map(|()| Seen::Nothing),
            _ => unreachable!("apply() sends no other here"),
        }
    }
}

fn mknod(s: &mut dyn Subject, path: &str, node: Node) -> R<()> {
    let (kind, rdev) = match node {
        Node::Fifo => (libc::S_IFIFO, 0),
        Node::Socket => (libc::S_IFSOCK, 0),
        Node::Char => (libc::S_IFCHR, rustix::fs::makedev(1, 3)),
        Node::Block => (libc::S_IFBLK, rustix::fs::makedev(7, 99)),
        Node::File => (libc::S_IFREG, 0),
    };
    s.mknod(path, kind | 0o660, rdev)
}

/// Data operations are for regular files; what a fifo or device does is no file system's affair.
fn regular(s: &mut dyn Subject, path: &str) -> R<()> {
    match s.stat(path)?.kind() {
        libc::S_IFREG => Ok(()),
        libc::S_IFDIR => Err(libc::EISDIR),
        _ => Err(libc::EINVAL),
    }
}

/// What attributes a symlink, fifo, socket or device may have is decided above the file system.
fn holds_xattrs(s: &mut dyn Subject, path: &str) -> R<()> {
    match s.stat(path)?.kind() {
        libc::S_IFREG | libc::S_IFDIR => Ok(()),
        _ => Err(libc::EPERM),
    }
}

/// Opens, does something, closes.
fn through(
    s: &mut dyn Subject,
    path: &str,
    what: impl FnOnce(&mut dyn Subject, usize) -> R<usize>,
) -> R<Seen> {
    regular(s, path)?;
    s.hold(SLOTS, path, true)?;
    let done = what(s, SLOTS);
    s.release(SLOTS)?;
    done.map(Seen::Number)
}

/// Removes a tree, as `rm -rf` does. The root stays.
pub fn rm_rf(s: &mut dyn Subject, path: &str) -> R<()> {
    if s.stat(path)?.kind() != libc::S_IFDIR {
        return s.unlink(path);
    }
    for (name, _) in list(s, path)? {
        rm_rf(s, &join(path, &name))?;
    }
    if path.is_empty() {
        Ok(())
    } else {
        s.rmdir(path)
    }
}

/// POSIX says: what is there all the time is listed, once; what comes or goes may be. So what is
/// compared is what was there all the time, each name as often as it was listed.
fn list_across(s: &mut dyn Subject, path: &str, gone: &str, new: &str) -> R<Seen> {
    let before: BTreeSet<Name> = list(s, path)?.into_iter().collect();
    s.list_open(path)?;
    let mut listed = s.list_some()?;
    let removed = s.unlink(&join(path, gone));
    let made = s.create(&join(path, new), 0o600);
    loop {
        let some = s.list_some()?;
        if some.is_empty() {
            break;
        }
        listed.extend(some);
    }
    let after: BTreeSet<Name> = list(s, path)?.into_iter().collect();
    assert!(
        listed
            .iter()
            .all(|n| before.contains(n) || after.contains(n)),
        "a name that never was: {listed:?}"
    );
    let stayed = |n: &Name| before.contains(n) && after.contains(n) && n.0 != gone;
    listed.retain(stayed);
    listed.sort();
    listed.push((format!("{removed:?} {made:?}"), 0));
    Ok(Seen::Names(listed))
}
