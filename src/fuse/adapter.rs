//! What the adapter holds, and what several of its answers share.

use super::convert::{file_attr, file_type, no_entry};
use super::init::Agreed;
use super::opens::{Answer, Opens, Way};
use super::options::{Io, MountOptions};
use crate::overlay::Engine;
use crate::vfs::{Attr, Error, NodeId, Result};
use fuser::{
    FileHandle, FopenFlags, Generation, INodeNo, Notifier, ReplyDirectoryPlus, ReplyEntry,
    ReplyXattr,
};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use threadpool::ThreadPool;

/// All our handles: nodes own the open files, so a handle says nothing.
pub(super) const NO_HANDLE: FileHandle = FileHandle(0);
pub(super) const FIRST_GENERATION: Generation = Generation(0);

/// Threads for what may take long.
const SLOW_THREADS: usize = 16;

/// The engine, spoken to by the kernel.
///
/// Few threads read requests. What a disk or a copy may hold up is passed on to others, so that
/// those few are always there for a look-up.
pub(super) struct Adapter {
    pub(super) shared: Arc<Shared>,
    slow: ThreadPool,
}

impl Deref for Adapter {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Adapter {
    pub(super) fn new(engine: Arc<Engine>, options: MountOptions) -> Adapter {
        Adapter {
            shared: Arc::new(Shared {
                engine,
                options,
                agreed: OnceLock::new(),
                opens: Opens::default(),
                notifier: OnceLock::new(),
            }),
            slow: ThreadPool::with_name("slow".into(), SLOW_THREADS),
        }
    }

    /// Does what may take long.
    pub(super) fn slowly(&self, work: impl FnOnce(&Shared) + Send + 'static) {
        let shared = self.shared.clone();
        self.slow.execute(move || work(&shared));
    }

    /// Does what takes long only if not `quick`.
    pub(super) fn soon(&self, quick: bool, work: impl FnOnce(&Shared) + Send + 'static) {
        if quick {
            work(&self.shared);
        } else {
            self.slowly(work);
        }
    }
}

/// What all threads share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) options: MountOptions,
    pub(super) agreed: OnceLock<Agreed>,
    pub(super) opens: Opens,
    /// To tell the kernel what it cannot know. Set once the session is there.
    pub(super) notifier: OnceLock<Notifier>,
}

impl Shared {
    pub(super) fn agreed(&self) -> Agreed {
        self.agreed.get().copied().unwrap_or_default()
    }

    pub(super) fn file(&self, ino: INodeNo) -> NodeId {
        self.opens.file(NodeId(ino.0))
    }

    pub(super) fn ttl(&self) -> Duration {
        self.options.timeout
    }

    /// A found (or made) file, under the number that the kernel is to use.
    pub(super) fn entry(&self, reply: ReplyEntry, attr: &Attr) {
        let node = self.opens.node(attr.ino);
        let mut shown = file_attr(attr);
        shown.ino = INodeNo(node.0);
        // fuser shows the node's number as inode number; an alias is asked again for the right one
        let attr_ttl = if node == attr.ino {
            self.ttl()
        } else {
            Duration::ZERO
        };
        reply.entry_with_ttls(&attr_ttl, &self.ttl(), &shown, FIRST_GENERATION);
    }

    pub(super) fn flags(&self) -> FopenFlags {
        if self.options.timeout.is_zero() {
            FopenFlags::empty()
        } else {
            FopenFlags::FOPEN_KEEP_CACHE
        }
    }

    /// The mode of a file may have lost its set-id bits: of a write, the kernel leaves that to us
    /// (FUSE_HANDLE_KILLPRIV_V2), and then goes on showing the mode that it knows.
    pub(super) fn mode_changed(&self, ino: INodeNo) {
        // a negative offset: the attributes only, so that no page is waited for
        let told = self.notifier.get().map(|n| n.inval_inode(ino, -1, 0));
        if let Some(Err(e)) = told {
            log::debug!("attributes of node {ino:?} stay cached: {e}");
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
    pub(super) fn open_way(
        &self,
        node: NodeId,
        write: bool,
        register: impl FnOnce(&std::fs::File) -> std::io::Result<fuser::BackingId>,
    ) -> Result<Way> {
        let file = self.opens.file(node);
        let backing = self.engine.backing(file, write)?;
        let privileged = write && self.privileged(file);
        let answer = self.opens.open(node, file, backing.upper, || {
            if privileged {
                return None;
            }
            match register(&backing.file) {
                Ok(id) => Some(id),
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

    /// Fills a listing with entries and their attributes, each of which counts a lookup.
    pub(super) fn list_plus(
        &self,
        ino: INodeNo,
        offset: u64,
        reply: &mut ReplyDirectoryPlus,
    ) -> Result<()> {
        let mut taken = Vec::new();
        let read = self
            .engine
            .readdir(self.file(ino), offset, true, &mut |entry| {
                let attr = entry.attr.as_ref().map_or_else(
                    || {
                        let mut dot = no_entry();
                        dot.kind = file_type(entry.kind);
                        dot
                    },
                    file_attr,
                );
                let full = reply.add(
                    INodeNo(entry.ino.0),
                    entry.cookie,
                    OsStr::from_bytes(entry.name),
                    &self.ttl(),
                    &attr,
                    FIRST_GENERATION,
                );
                if !full && entry.attr.is_some() {
                    taken.push(entry.ino);
                }
                !full
            });
        if read.is_err() {
            // none of the entries reaches the kernel
            for ino in taken {
                self.engine.forget(ino, 1);
            }
        }
        read
    }

    pub(super) fn passthrough(&self) -> bool {
        self.options.io == Io::Passthrough
    }

    pub(super) fn sized(reply: ReplyXattr, size: u32, value: &[u8]) {
        match u32::try_from(value.len()) {
            Ok(len) if size == 0 => reply.size(len),
            Ok(len) if len <= size => reply.data(value),
            _ => reply.error(fuser::Errno::ERANGE),
        }
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
