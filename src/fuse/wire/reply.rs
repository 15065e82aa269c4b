//! Answers, to bytes.

use super::abi::*;
use crate::vfs::{Attr, DirEntry, Error, NodeId, Result, StatFs, Time};
use nix::errno::Errno;
use std::time::Duration;
use zerocopy::{Immutable, IntoBytes};

/// A file as the kernel is to know it.
#[derive(Clone, Copy, Debug)]
pub(in crate::fuse) struct Shown<'a> {
    /// The node, by which the kernel will ask for it; `None`: there is no such file.
    pub node: NodeId,
    /// What `stat` shows.
    pub attr: Option<&'a Attr>,
    /// How long both may be believed.
    pub ttl: Duration,
}

/// The body of an answer, in memory that is already where the transport wants it.
#[derive(Debug)]
pub(in crate::fuse) struct Body<'b> {
    room: &'b mut [u8],
    used: usize,
}

impl<'b> Body<'b> {
    /// An empty body that can grow to the size of `room`.
    pub fn new(room: &'b mut [u8]) -> Body<'b> {
        Body { room, used: 0 }
    }

    /// Bytes said so far.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Says `bytes`.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let to = self
            .room
            .get_mut(self.used..)
            .and_then(|free| free.get_mut(..bytes.len()))
            .ok_or_else(|| Error::because(Errno::EIO, "an answer too long for its place"))?;
        to.copy_from_slice(bytes);
        self.used += bytes.len();
        Ok(())
    }

    fn put(&mut self, part: &(impl IntoBytes + Immutable)) -> Result<()> {
        self.bytes(part.as_bytes())
    }

    /// Says what `fill` puts into the next `size` bytes; it returns how many of them.
    pub fn fill<T>(
        &mut self,
        size: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<(usize, T)>,
    ) -> Result<T> {
        let free = self.room.get_mut(self.used..).unwrap_or_default();
        // less than asked for would be the end of the file
        let free = free
            .get_mut(..size as usize)
            .ok_or_else(|| Error::because(Errno::EIO, "more asked for than there is room"))?;
        let most = free.len();
        let (n, value) = fill(free)?;
        self.used += n.min(most);
        Ok(value)
    }

    /// A file that was found or made.
    pub fn entry(&mut self, shown: &Shown<'_>) -> Result<()> {
        self.put(&entry_out(shown))
    }

    /// Attributes.
    pub fn attr(&mut self, attr: &Attr, ttl: Duration) -> Result<()> {
        self.put(&AttrOut {
            attr_valid: ttl.as_secs(),
            attr_valid_nsec: ttl.subsec_nanos(),
            dummy: 0,
            attr: WireAttr::of(attr),
        })
    }

    /// Attributes, with when the file was made.
    pub fn statx(&mut self, attr: &Attr, btime: Option<Time>, ttl: Duration) -> Result<()> {
        let time = |t: Time| WireTime {
            tv_sec: t.sec,
            tv_nsec: t.nsec,
            reserved: 0,
        };
        let has_btime = if btime.is_some() { STATX_BTIME } else { 0 };
        self.put(&StatxOut {
            attr_valid: ttl.as_secs(),
            attr_valid_nsec: ttl.subsec_nanos(),
            flags: 0,
            spare: [0; 2],
            stat: WireStatx {
                mask: STATX_BASIC_STATS | has_btime,
                blksize: attr.blksize,
                attributes: 0,
                nlink: attr.nlink,
                uid: attr.uid,
                gid: attr.gid,
                mode: (attr.kind.mode() | attr.perm & 0o7777) as u16,
                spare0: 0,
                ino: attr.ino.0,
                size: attr.size,
                blocks: attr.blocks,
                attributes_mask: 0,
                atime: time(attr.atime),
                btime: time(btime.unwrap_or_default()),
                ctime: time(attr.ctime),
                mtime: time(attr.mtime),
                rdev_major: libc::major(attr.rdev),
                rdev_minor: libc::minor(attr.rdev),
                dev_major: 0,
                dev_minor: 0,
                spare2: [0; 14],
            },
        })
    }

    /// An open file; `backing`: what the kernel reads and writes by itself.
    pub fn opened(&mut self, open_flags: u32, backing: Option<i32>) -> Result<()> {
        // nodes own the open files, so a handle says nothing
        self.put(&OpenOut {
            fh: 0,
            open_flags,
            backing_id: backing.unwrap_or(0),
        })
    }

    /// How much was written or copied.
    pub fn written(&mut self, n: usize) -> Result<()> {
        let size = u32::try_from(n).unwrap_or(u32::MAX);
        self.put(&WriteOut { size, padding: 0 })
    }

    /// An offset that was looked for.
    pub fn offset(&mut self, offset: u64) -> Result<()> {
        self.put(&LseekOut { offset })
    }

    /// The value of an extended attribute, or a list of names, to a caller with room for `size`
    /// bytes; 0: only the length was asked for.
    pub fn sized(&mut self, size: u32, value: &[u8]) -> Result<()> {
        match u32::try_from(value.len()) {
            Ok(len) if size == 0 => self.put(&GetxattrOut {
                size: len,
                padding: 0,
            }),
            Ok(len) if len <= size => self.bytes(value),
            _ => Err(Error::new(Errno::ERANGE)),
        }
    }

    /// Statistics of the file system.
    pub fn statfs(&mut self, s: &StatFs) -> Result<()> {
        self.put(&StatfsOut {
            blocks: s.blocks,
            bfree: s.bfree,
            bavail: s.bavail,
            files: s.files,
            ffree: s.ffree,
            bsize: s.bsize,
            namelen: s.namelen,
            frsize: s.frsize,
            padding: 0,
            spare: [0; 6],
        })
    }
}

/// Entries of a directory, as many as the kernel has room for.
#[derive(Debug)]
pub(in crate::fuse) struct Listing<'l, 'b> {
    body: &'l mut Body<'b>,
    most: usize,
}

impl<'l, 'b> Listing<'l, 'b> {
    /// An empty listing of `size` bytes at most.
    pub fn new(body: &'l mut Body<'b>, size: u32) -> Listing<'l, 'b> {
        let most = body.room.len().min(body.used.saturating_add(size as usize));
        Listing { body, most }
    }

    /// Adds an entry, with what the kernel is to know of the file if it asked for that. False: no
    /// more room.
    pub fn add(&mut self, entry: &DirEntry<'_>, plus: Option<&Shown<'_>>) -> bool {
        const ALIGN: usize = 8;
        let before = self.body.used;
        let head = size_of::<Dirent>() + plus.map_or(0, |_| size_of::<EntryOut>());
        let len = (head + entry.name.len()).next_multiple_of(ALIGN);
        if before.saturating_add(len) > self.most {
            return false;
        }
        let dirent = Dirent {
            ino: entry.ino.0,
            off: entry.cookie,
            namelen: u32::try_from(entry.name.len()).unwrap_or(u32::MAX),
            kind: entry.kind.mode() >> 12, // DT_* are the type bits
        };
        let padding = [0; ALIGN];
        let said = plus
            .map_or(Ok(()), |shown| self.body.put(&entry_out(shown)))
            .and_then(|()| self.body.put(&dirent))
            .and_then(|()| self.body.bytes(entry.name))
            .and_then(|()| self.body.bytes(&padding[..before + len - self.body.used]));
        if said.is_err() {
            self.body.used = before;
        }
        said.is_ok()
    }
}

fn entry_out(shown: &Shown<'_>) -> EntryOut {
    EntryOut {
        nodeid: shown.node.0,
        generation: 0, // numbers are not used again
        entry_valid: shown.ttl.as_secs(),
        attr_valid: shown.ttl.as_secs(),
        entry_valid_nsec: shown.ttl.subsec_nanos(),
        attr_valid_nsec: shown.ttl.subsec_nanos(),
        attr: shown.attr.map_or(WireAttr::NONE, WireAttr::of),
    }
}

impl WireAttr {
    const NONE: WireAttr = WireAttr {
        ino: 0,
        size: 0,
        blocks: 0,
        atime: 0,
        mtime: 0,
        ctime: 0,
        atimensec: 0,
        mtimensec: 0,
        ctimensec: 0,
        mode: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    };

    fn of(attr: &Attr) -> WireAttr {
        WireAttr {
            ino: attr.ino.0,
            size: attr.size,
            blocks: attr.blocks,
            atime: attr.atime.sec,
            mtime: attr.mtime.sec,
            ctime: attr.ctime.sec,
            atimensec: attr.atime.nsec,
            mtimensec: attr.mtime.nsec,
            ctimensec: attr.ctime.nsec,
            mode: attr.kind.mode() | attr.perm & 0o7777,
            nlink: attr.nlink,
            uid: attr.uid,
            gid: attr.gid,
            // the kernel's 32-bit encoding is the lower half of makedev's, for every device it has
            rdev: (attr.rdev & 0xffff_ffff) as u32,
            blksize: attr.blksize,
            flags: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Kind;
    use zerocopy::FromBytes;

    fn entry(name: &[u8]) -> DirEntry<'_> {
        DirEntry {
            ino: NodeId(3),
            cookie: 4,
            kind: Kind::Dir,
            name,
            attr: None,
        }
    }

    #[test]
    fn a_listing_ends_where_the_kernel_has_no_more_room() {
        let mut room = [0xee; 200];
        let mut body = Body::new(&mut room);
        let mut list = Listing::new(&mut body, 64);
        assert!(list.add(&entry(b"123456789"), None)); // 24 + 9, in 40
        assert!(!list.add(&entry(b"1"), None)); // 32 more would be 72
        assert_eq!(body.len(), 40);
        let (dirent, after) = Dirent::read_from_prefix(&room).unwrap();
        assert_eq!(
            (dirent.ino, dirent.off, dirent.namelen, dirent.kind),
            (3, 4, 9, 4)
        );
        assert_eq!(&after[..16], b"123456789\0\0\0\0\0\0\0");
        assert_eq!(room[40], 0xee);
    }

    #[test]
    fn a_body_never_grows_beyond_its_place() {
        let mut room = [0; 8];
        let mut body = Body::new(&mut room);
        body.bytes(b"12345").unwrap();
        assert!(body.bytes(b"6789").is_err());
        assert_eq!(body.len(), 5);
        assert!(body.fill(4, |_| Ok((4, ()))).is_err());
        let got = body.fill(3, |free| Ok((free.len() + 1, free.len())));
        assert_eq!((got.unwrap(), body.len()), (3, 8));
    }

    #[test]
    fn attributes_are_as_long_as_the_kernel_expects() {
        assert_eq!(size_of::<WireAttr>(), 88);
        assert_eq!(size_of::<EntryOut>(), 128);
        assert_eq!(size_of::<AttrOut>(), 104);
        assert_eq!(size_of::<StatfsOut>(), 80);
        assert_eq!(size_of::<WireStatx>(), 256);
        assert_eq!(size_of::<StatxOut>(), 288);
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused() {
        let mut room = [0; 64];
        let mut body = Body::new(&mut room);
        assert!(body.sized(2, b"abc").unwrap_err().is(Errno::ERANGE));
        body.sized(0, b"abc").unwrap();
        assert_eq!(body.len(), size_of::<GetxattrOut>());
    }
}
