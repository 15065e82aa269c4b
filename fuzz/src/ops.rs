//! Calls on an engine, as the kernel makes them: names are looked up before they are used, what
//! is in use is not forgotten, and what the kernel refuses by itself is not tried.

use arbitrary::Arbitrary;
use nix::errno::Errno;
use vellum::overlay::Engine;
use vellum::vfs::{Attr, Caller, Kind, NodeId, Result, SetAttr, SetTime, Time};

/// Calls of one plan at most.
pub const MOST: usize = 48;

const ROOT: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 0,
};

/// Few names, so that they meet.
const NAMES: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"e", b"gone", b"new", &[b'n'; 255]];

/// Names from the root down: at most three, in octal digits.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Path {
    digits: u16,
}

impl Path {
    fn names(self) -> Vec<&'static [u8]> {
        let depth = 1 + usize::from(self.digits >> 9) % 3;
        (0..depth)
            .map(|n| NAMES[usize::from(self.digits >> (3 * n)) & 7])
            .collect()
    }
}

/// A file: one that has a name, or one that an earlier call kept in use.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Target {
    Named(Path),
    Held(u8),
}

/// One call.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Op {
    Create(Path, u16),
    Mkdir(Path, u16),
    Mknod(Path, u8),
    Symlink(Path, Path),
    Link(Path, Path),
    Unlink(Path),
    Rmdir(Path),
    Rename(Path, Path, u8),
    Hold(Path),
    Write(Target, u16, u8),
    Truncate(Target, u16),
    Chmod(Target, u16),
    Chown(Target, u8),
    Touch(Target, u32),
    SetXattr(Target, u8, u8),
    RemoveXattr(Target, u8),
    Read(Target),
    Fsync(Target),
    Remount,
}

/// A run.
#[derive(Arbitrary, Clone, Debug)]
pub struct Plan {
    pub ops: Vec<Op>,
}

/// What the kernel would remember between calls.
#[derive(Default)]
pub struct Calls {
    held: Vec<Attr>,
    /// One entry a lookup that was not given back.
    lookups: Vec<NodeId>,
}

impl Calls {
    /// Makes one call. Any error is an answer, but for EIO: nothing beneath fails here.
    pub fn make(&mut self, e: &Engine, op: &Op) {
        if let Err(error) = self.call(e, op) {
            assert!(!error.is(Errno::EIO), "{op:?}: {error}");
            assert!(!error.is(Errno::ESTALE), "{op:?}: {error}");
        }
        if self.held.is_empty() {
            self.forget_all(e);
        }
    }

    /// Nothing is in use any more.
    pub fn forget_all(&mut self, e: &Engine) {
        self.held.clear();
        for id in self.lookups.drain(..).rev() {
            e.forget(id, 1);
        }
    }

    fn counted(&mut self, made: Result<Attr>) -> Result<()> {
        made.map(|attr| self.lookups.push(attr.ino))
    }

    fn call(&mut self, e: &Engine, op: &Op) -> Result<()> {
        match *op {
            Op::Create(at, mode) => {
                let (dir, name) = self.place(e, at)?;
                let made = e.create(&ROOT, dir, name, u32::from(mode) & 0o7777, 0o022);
                self.counted(made)
            }
            Op::Mkdir(at, mode) => {
                let (dir, name) = self.place(e, at)?;
                let made = e.mkdir(&ROOT, dir, name, u32::from(mode) & 0o7777, 0o022);
                self.counted(made)
            }
            Op::Mknod(at, what) => {
                let (dir, name) = self.place(e, at)?;
                let kinds = [libc::S_IFIFO, libc::S_IFSOCK, libc::S_IFCHR, libc::S_IFBLK];
                let kind = kinds[usize::from(what) % kinds.len()];
                let made = e.mknod(&ROOT, dir, name, kind | 0o600, 0, u64::from(what >> 2));
                self.counted(made)
            }
            Op::Symlink(at, to) => {
                let (dir, name) = self.place(e, at)?;
                let made = e.symlink(&ROOT, dir, name, &to.names().join(&b'/'));
                self.counted(made)
            }
            Op::Link(from, to) => self.link(e, from, to),
            Op::Unlink(at) => {
                let (dir, name) = self.place(e, at)?;
                e.unlink(dir, name)
            }
            Op::Rmdir(at) => {
                let (dir, name) = self.place(e, at)?;
                e.rmdir(dir, name)
            }
            Op::Rename(from, to, flags) => self.rename(e, from, to, flags),
            Op::Hold(at) => {
                let attr = self.walk(e, &at.names())?;
                self.held.push(attr);
                Ok(())
            }
            Op::Read(target) => {
                let attr = self.target(e, target)?;
                self.read(e, attr)
            }
            Op::Remount => Ok(()),
            _ => self.change(e, op),
        }
    }

    /// Calls that change a file and no name.
    fn change(&mut self, e: &Engine, op: &Op) -> Result<()> {
        let set = |this: &mut Calls, target, set: SetAttr| {
            let attr = this.target(e, target)?;
            if set.size.is_some() && attr.kind != Kind::File {
                return Ok(());
            }
            e.setattr(&ROOT, attr.ino, &set).map(drop)
        };
        let none = SetAttr::default();
        match *op {
            Op::Write(target, offset, byte) => {
                let file = self.file(e, target)?;
                let data = [byte; 5];
                let done = e.write(file.ino, u64::from(offset), &data, byte & 1 == 1)?;
                assert_eq!(done, data.len());
                Ok(())
            }
            Op::Truncate(target, size) => {
                let size = Some(u64::from(size));
                set(self, target, SetAttr { size, ..none })
            }
            Op::Chmod(target, mode) => {
                let mode = Some(u32::from(mode) & 0o7777);
                set(self, target, SetAttr { mode, ..none })
            }
            Op::Chown(target, id) => {
                let uid = Some(u32::from(id));
                set(self, target, SetAttr { uid, ..none })
            }
            Op::Touch(target, sec) => {
                let sec = i64::from(sec as i32);
                let mtime = Some(SetTime::At(Time { sec, nsec: 5 }));
                set(self, target, SetAttr { mtime, ..none })
            }
            Op::SetXattr(target, name, value) => {
                let attr = self.target(e, target)?;
                e.setxattr(&ROOT, attr.ino, xattr(name), &[value], 0)
            }
            Op::RemoveXattr(target, name) => {
                let attr = self.target(e, target)?;
                e.removexattr(attr.ino, xattr(name))
            }
            Op::Fsync(target) => {
                let attr = self.target(e, target)?;
                e.fsync(attr.ino, false)
            }
            _ => unreachable!("{op:?} changes names"),
        }
    }

    /// Looks one name up after the other.
    fn walk(&mut self, e: &Engine, names: &[&[u8]]) -> Result<Attr> {
        let mut at = e.getattr(NodeId::ROOT)?;
        for name in names {
            if at.kind != Kind::Dir {
                return Err(Errno::ENOTDIR.into());
            }
            at = e.lookup(at.ino, name)?.ok_or(Errno::ENOENT)?;
            self.lookups.push(at.ino);
        }
        Ok(at)
    }

    /// The directory of a path, and the last name.
    fn place(&mut self, e: &Engine, path: Path) -> Result<(NodeId, &'static [u8])> {
        let names = path.names();
        let (name, dirs) = names.split_last().ok_or(Errno::EINVAL)?;
        let dir = self.walk(e, dirs)?;
        if dir.kind != Kind::Dir {
            return Err(Errno::ENOTDIR.into());
        }
        Ok((dir.ino, name))
    }

    fn target(&mut self, e: &Engine, target: Target) -> Result<Attr> {
        match target {
            Target::Named(path) => self.walk(e, &path.names()),
            Target::Held(n) => {
                let held = self.held.get(usize::from(n) % self.held.len().max(1));
                let held = *held.ok_or(Errno::EBADF)?;
                // in use: it never goes away
                let now = e.getattr(held.ino)?;
                assert_eq!((now.ino, now.kind), (held.ino, held.kind));
                Ok(now)
            }
        }
    }

    fn file(&mut self, e: &Engine, target: Target) -> Result<Attr> {
        let attr = self.target(e, target)?;
        match attr.kind {
            Kind::File => Ok(attr),
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn link(&mut self, e: &Engine, from: Path, to: Path) -> Result<()> {
        let file = self.walk(e, &from.names())?;
        let (dir, name) = self.place(e, to)?;
        let made = e.link(file.ino, dir, name)?;
        self.lookups.push(made.ino);
        assert_eq!(made.ino, file.ino, "a link is another file");
        assert!(made.nlink >= 2, "a linked file has {} links", made.nlink);
        Ok(())
    }

    fn rename(&mut self, e: &Engine, from: Path, to: Path, flags: u8) -> Result<()> {
        let (a, b) = (from.names(), to.names());
        if a.starts_with(&b) || b.starts_with(&a) {
            return Ok(()); // the kernel refuses, or has nothing to do
        }
        let moved = self.walk(e, &a)?;
        let ((dir, name), (to_dir, to_name)) = (self.place(e, from)?, self.place(e, to)?);
        let flags = [0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE][usize::from(flags) % 3];
        e.rename(dir, name, to_dir, to_name, flags)?;
        let now = self.walk(e, &b)?;
        assert_eq!(now.ino, moved.ino, "a moved file is another file");
        Ok(())
    }

    fn read(&mut self, e: &Engine, attr: Attr) -> Result<()> {
        match attr.kind {
            Kind::File => {
                let mut data = vec![0; attr.size as usize + 1];
                let done = e.read(attr.ino, 0, &mut data)?;
                assert_eq!(done as u64, attr.size, "size and data differ");
                Ok(())
            }
            Kind::Symlink => e.readlink(attr.ino).map(drop),
            _ => e.listxattr(attr.ino).map(drop),
        }
    }
}

fn xattr(n: u8) -> &'static [u8] {
    const NAMES: [&[u8]; 4] = [
        b"user.a",
        b"user.overlay.opaque",
        b"trusted.overlay.redirect",
        b"trusted.b",
    ];
    NAMES[usize::from(n) % NAMES.len()]
}
