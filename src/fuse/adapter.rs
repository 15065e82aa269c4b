//! What the adapter holds, and what several of its answers share.

use super::backing::BackingFile;
use super::init::Agreed;
use super::opens::{Answer, Opens, Way};
use super::options::{Allow, Io, MountOptions};
use super::wire::{Body, Listing, Op, Shown};
use crate::overlay::Engine;
use crate::vfs::{Attr, Caller, Error, NodeId, Result};
use fuser::{INodeNo, Notifier};
use nix::errno::Errno;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// The open of a file keeps the pages that the kernel has of it.
const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// The kernel reads and writes the backing file that the answer names.
const FOPEN_PASSTHROUGH: u32 = 1 << 7;

/// The engine, spoken to by the kernel: what all threads share.
pub(super) struct Adapter {
    pub(super) engine: Arc<Engine>,
    pub(super) options: MountOptions,
    pub(super) opens: Opens,
    /// The connection to the kernel.
    pub(super) device: Arc<OwnedFd>,
    /// What the kernel agreed to. Set once the session is there.
    pub(super) agreed: OnceLock<Agreed>,
    /// To tell the kernel what it cannot know. Set once the session is there.
    pub(super) notifier: OnceLock<Notifier>,
    owner: u32,
}

impl Adapter {
    pub(super) fn new(engine: Arc<Engine>, options: MountOptions, device: Arc<OwnedFd>) -> Adapter {
        Adapter {
            engine,
            options,
            opens: Opens::default(),
            device,
            agreed: OnceLock::new(),
            notifier: OnceLock::new(),
            owner: rustix::process::geteuid().as_raw(),
        }
    }

    pub(super) fn agreed(&self) -> Agreed {
        self.agreed.get().copied().unwrap_or_default()
    }

    pub(super) fn file(&self, node: NodeId) -> NodeId {
        self.opens.file(node)
    }

    pub(super) fn ttl(&self) -> Duration {
        self.options.timeout
    }

    pub(super) fn passthrough(&self) -> bool {
        self.options.io == Io::Passthrough
    }

    /// With `allow_root`, which the kernel does not know, others are kept out here. Not from what
    /// they have open.
    pub(super) fn admits(&self, who: &Caller, op: &Op<'_>) -> bool {
        self.options.allow != Allow::Root
            || who.uid == 0
            || who.uid == self.owner
            || matches!(
                op,
                Op::Read { .. }
                    | Op::Readdir { .. }
                    | Op::Write { .. }
                    | Op::Fsync { .. }
                    | Op::Fsyncdir { .. }
                    | Op::Release
                    | Op::Releasedir
                    | Op::Forget { .. }
                    | Op::BatchForget(_)
                    | Op::Interrupt
                    | Op::Destroy
            )
    }

    /// Says a found (or made) file, under the number that the kernel is to use.
    pub(super) fn entry(&self, body: &mut Body<'_>, attr: &Attr) -> Result<()> {
        body.entry(&Shown {
            node: self.opens.node(attr.ino),
            attr: Some(attr),
            ttl: self.ttl(),
        })
    }

    /// Says that there is no such name, which the kernel may remember: an entry without a node.
    pub(super) fn no_entry(&self, body: &mut Body<'_>) -> Result<()> {
        if self.ttl().is_zero() {
            return Err(Error::new(Errno::ENOENT));
        }
        body.entry(&Shown {
            node: NodeId(0),
            attr: None,
            ttl: self.ttl(),
        })
    }

    /// Says how a file was opened.
    pub(super) fn opened(&self, body: &mut Body<'_>, way: &Way) -> Result<()> {
        match way {
            Way::Backed { file, .. } => body.opened(FOPEN_PASSTHROUGH, Some(file.id())),
            Way::Cached if self.ttl().is_zero() => body.opened(0, None),
            Way::Cached => body.opened(FOPEN_KEEP_CACHE, None),
        }
    }

    /// The mode of a file may have lost its set-id bits: of a write, the kernel leaves that to us
    /// (FUSE_HANDLE_KILLPRIV_V2), and then goes on showing the mode that it knows.
    pub(super) fn mode_changed(&self, node: NodeId) {
        // a negative offset: the attributes only, so that no page is waited for
        let told = self
            .notifier
            .get()
            .map(|n| n.inval_inode(INodeNo(node.0), -1, 0));
        if let Some(Err(e)) = told {
            log::debug!("attributes of node {node:?} stay cached: {e}");
        }
    }

    /// Writes to a file that goes with set-id bits or capabilities have to come through us: into a
    /// backing file the kernel writes with our credentials, and root's writes leave them.
    fn privileged(&self, file: NodeId) -> bool {
        let set_id = |attr: Attr| attr.perm & (libc::S_ISUID | libc::S_ISGID) != 0;
        self.engine.getattr(file).is_ok_and(set_id)
            || self.engine.getxattr(file, b"security.capability").is_ok()
    }

    /// Decides how an open of `node` goes.
    pub(super) fn open_way(&self, node: NodeId, write: bool) -> Result<Way> {
        let file = self.opens.file(node);
        let backing = self.engine.backing(file, write)?;
        let privileged = write && self.privileged(file);
        let answer = self.opens.open(node, file, backing.upper, || {
            if privileged {
                return None;
            }
            // the kernel takes whole files only
            let own = backing.source.own_file()?;
            match BackingFile::register(&self.device, own) {
                Ok(file) => Some(file),
                Err(e) => {
                    log::debug!("no passthrough for node {}: {e}", file.0);
                    None
                }
            }
        });
        match answer {
            Answer::Go(way) => Ok(way),
            Answer::Again => Err(Error::new(Errno::ESTALE)),
        }
    }

    /// Says entries of a directory; with `plus`, what the kernel is to know of each file, which
    /// counts a lookup.
    pub(super) fn list(
        &self,
        dir: NodeId,
        offset: u64,
        (size, plus): (u32, bool),
        body: &mut Body<'_>,
    ) -> Result<()> {
        let mut taken = Vec::new();
        let mut list = Listing::new(body, size);
        let read = self.engine.readdir(dir, offset, plus, &mut |entry| {
            // `.` and `..` are no lookups, and have no node here
            let shown = Shown {
                node: entry.attr.map_or(NodeId(0), |attr| attr.ino),
                attr: entry.attr.as_ref(),
                ttl: self.ttl(),
            };
            let added = list.add(entry, plus.then_some(&shown));
            if added && entry.attr.is_some() {
                taken.push(entry.ino);
            }
            added
        });
        if read.is_err() {
            // none of the entries reaches the kernel
            for ino in taken {
                self.engine.forget(ino, 1);
            }
        }
        read
    }
}

/// True if a list of names has `trusted.` ones.
pub(super) fn has_trusted(list: &[u8]) -> bool {
    list.split(|b| *b == 0).any(|n| n.starts_with(b"trusted."))
}

/// As every file system: `trusted.` names are for who may read them.
pub(super) fn hide_trusted(list: &mut Vec<u8>) {
    let kept = list
        .split_inclusive(|b| *b == 0)
        .filter(|name| !name.starts_with(b"trusted."))
        .collect::<Vec<_>>()
        .concat();
    *list = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_names_are_left_out_of_a_list() {
        let mut list = b"user.a\0trusted.b\0security.c\0".to_vec();
        hide_trusted(&mut list);
        assert_eq!(list, b"user.a\0security.c\0");
    }
}
