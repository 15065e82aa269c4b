//! Requests, from bytes.

use super::abi::*;
use super::op::{Data, Forgotten, Name, NewMode, Op};
use crate::vfs::{Caller, Error, NodeId, Result, SetAttr, SetTime, Time};
use nix::errno::Errno;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fuse) struct Request<'a> {
    /// The kernel's number of the request, which the answer repeats.
    pub unique: u64,
    /// The node that it is about.
    pub node: NodeId,
    /// Who asks.
    pub who: Caller,
    /// What for.
    pub op: Op<'a>,
}

/// What follows a request's header.
#[derive(Clone, Copy, Debug)]
pub(in crate::fuse) struct Args<'a> {
    /// The structure of the operation; the rest too, where `rest` is not known yet.
    fixed: &'a [u8],
    rest: Option<&'a [u8]>,
}

impl<'a> Args<'a> {
    /// All in one piece, as `/dev/fuse` gives it.
    pub fn whole(bytes: &'a [u8]) -> Args<'a> {
        Args {
            fixed: bytes,
            rest: None,
        }
    }

    /// In the two places of a ring entry.
    pub fn split(fixed: &'a [u8], rest: &'a [u8]) -> Args<'a> {
        Args {
            fixed,
            rest: Some(rest),
        }
    }

    /// The structure of the operation.
    fn fixed<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T> {
        let (value, after) = T::read_from_prefix(self.fixed).map_err(|_| malformed("too short"))?;
        self.rest.get_or_insert(after);
        Ok(value)
    }

    /// What is left after the structure.
    fn rest(&self) -> &'a [u8] {
        self.rest.unwrap_or(self.fixed)
    }

    /// The next name: bytes up to a NUL.
    fn name(&mut self) -> Result<Name<'a>> {
        let rest = self.rest();
        let end = rest.iter().position(|b| *b == 0);
        let (name, after) = end
            .and_then(|end| rest.split_at_checked(end))
            .ok_or_else(|| malformed("a name without an end"))?;
        self.rest = after.get(1..);
        Ok(Name(name))
    }

    /// The next `len` bytes.
    fn data(&mut self, len: u32) -> Result<Data<'a>> {
        let (data, after) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest().split_at_checked(len))
            .ok_or_else(|| malformed("less data than it says"))?;
        self.rest = Some(after);
        Ok(Data(data))
    }
}

fn malformed(why: &str) -> Error {
    Error::because(Errno::EIO, format!("a request that makes no sense: {why}"))
}

impl InHeader {
    /// The header in front of `bytes`, and what follows it.
    pub fn parse(bytes: &[u8]) -> Result<(InHeader, &[u8])> {
        InHeader::read_from_prefix(bytes).map_err(|_| malformed("no header"))
    }

    /// How many bytes of a file's data this request, or the answer to it, carries; `rest` follows the header.
    pub fn data(&self, rest: &[u8]) -> u32 {
        match self.opcode {
            opcode::READ => ReadIn::read_from_prefix(rest).map_or(0, |(read, _)| read.size),
            opcode::WRITE => self
                .len
                .saturating_sub((size_of::<InHeader>() + size_of::<WriteIn>()) as u32),
            _ => 0,
        }
    }
}

impl<'a> Request<'a> {
    /// Makes sense of a request.
    pub fn parse(header: &InHeader, args: Args<'a>) -> Result<Request<'a>> {
        Ok(Request {
            unique: header.unique,
            node: NodeId(header.nodeid),
            who: Caller {
                uid: header.uid,
                gid: header.gid,
                pid: header.pid,
            },
            op: operation(header.opcode, args)?,
        })
    }
}

fn operation<'a>(code: u32, mut args: Args<'a>) -> Result<Op<'a>> {
    Ok(match code {
        opcode::LOOKUP => Op::Lookup { name: args.name()? },
        opcode::FORGET => Op::Forget {
            lookups: args.fixed::<ForgetIn>()?.nlookup,
        },
        opcode::BATCH_FORGET => forgotten(args)?,
        opcode::GETATTR => Op::Getattr,
        opcode::SETATTR => Op::Setattr(set_attr(&args.fixed()?)),
        opcode::READLINK => Op::Readlink,
        opcode::SYMLINK => Op::Symlink {
            name: args.name()?,
            target: args.name()?,
        },
        opcode::MKNOD => {
            let MknodIn {
                mode, rdev, umask, ..
            } = args.fixed()?;
            Op::Mknod {
                name: args.name()?,
                mode: NewMode { mode, umask },
                rdev,
            }
        }
        opcode::MKDIR => {
            let MkdirIn { mode, umask } = args.fixed()?;
            Op::Mkdir {
                name: args.name()?,
                mode: NewMode { mode, umask },
            }
        }
        opcode::UNLINK => Op::Unlink { name: args.name()? },
        opcode::RMDIR => Op::Rmdir { name: args.name()? },
        opcode::RENAME => {
            let to = args.fixed::<RenameIn>()?.newdir;
            rename(args, to, 0)?
        }
        opcode::RENAME2 => {
            let Rename2In { newdir, flags, .. } = args.fixed()?;
            rename(args, newdir, flags)?
        }
        opcode::LINK => {
            let file = NodeId(args.fixed::<LinkIn>()?.oldnodeid);
            Op::Link {
                file,
                name: args.name()?,
            }
        }
        opcode::OPEN => Op::Open {
            flags: args.fixed::<OpenIn>()?.flags,
        },
        opcode::CREATE => {
            let CreateIn { mode, umask, .. } = args.fixed()?;
            Op::Create {
                name: args.name()?,
                mode: NewMode { mode, umask },
            }
        }
        opcode::READ => {
            let ReadIn { offset, size, .. } = args.fixed()?;
            Op::Read { offset, size }
        }
        opcode::WRITE => {
            let WriteIn {
                offset,
                size,
                write_flags,
                ..
            } = args.fixed()?;
            let kill = write_flags & WRITE_KILL_SUIDGID != 0;
            Op::Write {
                offset,
                data: args.data(size)?,
                kill,
            }
        }
        opcode::STATFS => Op::Statfs,
        opcode::STATX => Op::Statx,
        opcode::TMPFILE => {
            let CreateIn { mode, umask, .. } = args.fixed()?;
            Op::Tmpfile {
                mode: NewMode { mode, umask },
            }
        }
        opcode::RELEASE => Op::Release,
        opcode::FLUSH => Op::Flush,
        opcode::FSYNC => Op::Fsync {
            data_only: data_only(&args.fixed()?),
        },
        opcode::FSYNCDIR => Op::Fsyncdir {
            data_only: data_only(&args.fixed()?),
        },
        opcode::SETXATTR => {
            let SetxattrIn { size, flags } = args.fixed()?;
            Op::Setxattr {
                name: args.name()?,
                value: args.data(size)?,
                flags,
            }
        }
        opcode::GETXATTR => {
            let size = args.fixed::<GetxattrIn>()?.size;
            Op::Getxattr {
                name: args.name()?,
                size,
            }
        }
        opcode::LISTXATTR => Op::Listxattr {
            size: args.fixed::<GetxattrIn>()?.size,
        },
        opcode::REMOVEXATTR => Op::Removexattr { name: args.name()? },
        opcode::OPENDIR => Op::Opendir,
        opcode::READDIR | opcode::READDIRPLUS => {
            let ReadIn { offset, size, .. } = args.fixed()?;
            Op::Readdir {
                offset,
                size,
                plus: code == opcode::READDIRPLUS,
            }
        }
        opcode::RELEASEDIR => Op::Releasedir,
        opcode::INTERRUPT => Op::Interrupt,
        opcode::DESTROY => Op::Destroy,
        opcode::IOCTL => Op::Ioctl,
        opcode::FALLOCATE => {
            let FallocateIn {
                offset,
                length,
                mode,
                ..
            } = args.fixed()?;
            Op::Fallocate {
                offset,
                length,
                mode,
            }
        }
        opcode::LSEEK => {
            let LseekIn { offset, whence, .. } = args.fixed()?;
            Op::Lseek { offset, whence }
        }
        opcode::COPY_FILE_RANGE => {
            let CopyFileRangeIn {
                off_in,
                nodeid_out,
                off_out,
                len,
                ..
            } = args.fixed()?;
            Op::CopyFileRange {
                offset: off_in,
                to: NodeId(nodeid_out),
                to_offset: off_out,
                len,
            }
        }
        opcode => Op::Unknown { opcode },
    })
}

fn rename(mut args: Args<'_>, to: u64, flags: u32) -> Result<Op<'_>> {
    let (name, to_name) = (args.name()?, args.name()?);
    Ok(Op::Rename {
        name,
        to: NodeId(to),
        to_name,
        flags,
    })
}

fn data_only(args: &FsyncIn) -> bool {
    args.fsync_flags & FSYNC_FDATASYNC != 0
}

fn set_attr(args: &SetattrIn) -> SetAttr {
    let is = |bit| args.valid & bit != 0;
    let time = |given, now, sec, nsec| {
        is(given).then(|| {
            if is(now) {
                SetTime::Now
            } else {
                SetTime::At(Time { sec, nsec })
            }
        })
    };
    SetAttr {
        mode: is(fattr::MODE).then_some(args.mode),
        uid: is(fattr::UID).then_some(args.uid),
        gid: is(fattr::GID).then_some(args.gid),
        size: is(fattr::SIZE).then_some(args.size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, args.atime, args.atimensec),
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, args.mtime, args.mtimensec),
    }
}

const FORGET_ONE: usize = size_of::<ForgetOne>();

fn forgotten(mut args: Args<'_>) -> Result<Op<'_>> {
    let count = args.fixed::<BatchForgetIn>()?.count;
    let len = u32::try_from(FORGET_ONE)
        .ok()
        .and_then(|one| count.checked_mul(one));
    let Data(list) = args.data(len.ok_or_else(|| malformed("more nodes than there are"))?)?;
    Ok(Op::BatchForget(Forgotten(list)))
}

impl<'a> Forgotten<'a> {
    /// Each node with the number of lookups that it loses.
    pub fn each(self) -> impl Iterator<Item = (NodeId, u64)> + use<'a> {
        self.0
            .chunks_exact(FORGET_ONE)
            .filter_map(|one| ForgetOne::read_from_bytes(one).ok())
            .map(|one| (NodeId(one.nodeid), one.nlookup))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    fn header(opcode: u32) -> InHeader {
        InHeader {
            len: 0,
            opcode,
            unique: 7,
            nodeid: 5,
            uid: 1,
            gid: 2,
            pid: 3,
            padding: 0,
        }
    }

    /// What both transports make of the same request.
    fn both(opcode: u32, fixed: &[u8], rest: &[u8], then: impl Fn(Result<Op<'_>>)) {
        let whole = [fixed, rest].concat();
        let header = header(opcode);
        then(Request::parse(&header, Args::whole(&whole)).map(|r| r.op));
        // a ring entry has room for the largest structure
        let mut place = fixed.to_vec();
        place.resize(128, 0xee);
        then(Request::parse(&header, Args::split(&place, rest)).map(|r| r.op));
    }

    #[test]
    fn names_follow_the_structure() {
        let to = Rename2In {
            newdir: 9,
            flags: 1,
            padding: 0,
        };
        both(opcode::RENAME2, to.as_bytes(), b"old\0new\0", |op| {
            let want = Op::Rename {
                name: Name(b"old"),
                to: NodeId(9),
                to_name: Name(b"new"),
                flags: 1,
            };
            assert_eq!(op.unwrap(), want);
        });
    }

    #[test]
    fn without_a_structure_names_come_first() {
        both(opcode::SYMLINK, b"", b"link\0to\0", |op| {
            let want = Op::Symlink {
                name: Name(b"link"),
                target: Name(b"to"),
            };
            assert_eq!(op.unwrap(), want);
        });
    }

    #[test]
    fn data_is_as_long_as_it_says() {
        let write = WriteIn {
            fh: 0,
            offset: 4096,
            size: 4,
            write_flags: WRITE_KILL_SUIDGID,
            lock_owner: 0,
            flags: 0,
            padding: 0,
        };
        both(opcode::WRITE, write.as_bytes(), b"data and more", |op| {
            let want = Op::Write {
                offset: 4096,
                data: Data(b"data"),
                kill: true,
            };
            assert_eq!(op.unwrap(), want);
        });
        both(opcode::WRITE, write.as_bytes(), b"dat", |op| {
            assert!(op.unwrap_err().reason().contains("less data"));
        });
    }

    #[test]
    fn a_batch_names_each_node() {
        let count = BatchForgetIn { count: 2, dummy: 0 };
        let list = [
            ForgetOne {
                nodeid: 3,
                nlookup: 1,
            },
            ForgetOne {
                nodeid: 4,
                nlookup: 9,
            },
        ];
        both(
            opcode::BATCH_FORGET,
            count.as_bytes(),
            list.as_bytes(),
            |op| {
                let Ok(Op::BatchForget(nodes)) = op else {
                    panic!("{op:?}");
                };
                let nodes: Vec<_> = nodes.each().collect();
                assert_eq!(nodes, [(NodeId(3), 1), (NodeId(4), 9)]);
            },
        );
        let absurd = BatchForgetIn {
            count: u32::MAX,
            dummy: 0,
        };
        both(
            opcode::BATCH_FORGET,
            absurd.as_bytes(),
            list.as_bytes(),
            |op| {
                assert!(op.is_err());
            },
        );
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let header = header(opcode::MKNOD);
        assert!(Request::parse(&header, Args::whole(b"short")).is_err());
        let whole = [&[0; size_of::<MknodIn>()][..], b"no end"].concat();
        assert!(Request::parse(&header, Args::whole(&whole)).is_err());
        assert!(InHeader::parse(b"short").is_err());
    }

    #[test]
    fn times_before_the_epoch_keep_their_nanoseconds() {
        let mut set = SetattrIn::read_from_bytes(&[0; size_of::<SetattrIn>()]).unwrap();
        set.valid = fattr::ATIME | fattr::MTIME | fattr::MTIME_NOW;
        (set.atime, set.atimensec) = (-2, 800_000_000);
        let got = set_attr(&set);
        let at = Time {
            sec: -2,
            nsec: 800_000_000,
        };
        assert_eq!(got.atime, Some(SetTime::At(at)));
        assert_eq!(got.mtime, Some(SetTime::Now));
        assert_eq!(got.mode, None);
    }
}
