//! Reading a real directory into a [`Tree`].

use super::posix::{lstat, xattrs};
use super::tree::{Entry, Tree};
use rustix::fs::{Mode, OFlags, RawDir};
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A name as `getdents` gives it: inode number, type, bytes.
pub type RawName = (u64, u32, Vec<u8>);

/// All entries of a directory, `.` and `..` too, in the order they come.
pub fn raw_names(dir: &Path) -> std::io::Result<Vec<RawName>> {
    let fd = rustix::fs::open(
        dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        Mode::empty(),
    )?;
    let mut buf = vec![MaybeUninit::uninit(); 32768];
    let mut raw = RawDir::new(fd, &mut buf);
    let mut out = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes().to_vec();
        out.push((entry.ino(), entry.file_type().as_raw_mode(), name));
    }
    Ok(out)
}

/// The tree under `root`.
pub fn tree(root: &Path) -> Tree {
    let mut out = Tree::default();
    out.0.insert(String::new(), entry(root));
    walk(root, "", &mut out);
    out
}

/// One file. What cannot be read of it is a fault of it.
pub fn entry(path: &Path) -> Entry {
    let st = match lstat(path) {
        Ok(st) => st,
        Err(e) => return Entry::broken(0, format!("lstat: errno {e}")),
    };
    let mut faults = Vec::new();
    let read = match st.st_mode & libc::S_IFMT {
        libc::S_IFREG => fs::read(path),
        libc::S_IFLNK => fs::read_link(path).map(|t| t.as_os_str().as_bytes().to_vec()),
        _ => Ok(Vec::new()),
    };
    let data = read.unwrap_or_else(|e| {
        faults.push(format!("read: {e}"));
        Vec::new()
    });
    let xattrs = xattrs(path).unwrap_or_else(|e| {
        faults.push(format!("xattrs: errno {e}"));
        Default::default()
    });
    let size = st.st_size as usize;
    if st.st_mode & libc::S_IFMT == libc::S_IFREG && size != data.len() {
        faults.push(format!("st_size {size}, {} bytes", data.len()));
    }
    Entry {
        mode: st.st_mode,
        uid: st.st_uid,
        gid: st.st_gid,
        nlink: st.st_nlink,
        ino: st.st_ino,
        rdev: st.st_rdev,
        mtime: (st.st_mtime, st.st_mtime_nsec as i64),
        data,
        xattrs,
        faults,
    }
}

fn walk(dir: &Path, at: &str, out: &mut Tree) {
    let mut dots = 0;
    let names = raw_names(dir).unwrap_or_else(|e| {
        let here = out.0.get_mut(at).unwrap();
        here.faults.push(format!("list: {e}"));
        Vec::new()
    });
    for (ino, kind, name) in names {
        if name == b"." || name == b".." {
            dots += 1;
            continue;
        }
        let path = dir.join(std::ffi::OsStr::from_bytes(&name));
        let shown = match at {
            "" => name.escape_ascii().to_string(),
            _ => format!("{at}/{}", name.escape_ascii()),
        };
        let mut entry = entry(&path);
        check_dirent(&mut entry, ino, kind);
        let is_dir = entry.mode & libc::S_IFMT == libc::S_IFDIR;
        if let Some(twice) = out.0.insert(shown.clone(), entry) {
            let entry = out.0.get_mut(&shown).unwrap();
            entry
                .faults
                .push(format!("listed twice, first as inode {}", twice.ino));
        }
        if is_dir {
            walk(&path, &shown, out);
        }
    }
    if dots != 2 {
        let here = out.0.get_mut(at).unwrap();
        here.faults.push(format!("{dots} of . and .. listed"));
    }
}

/// What the listing said must be what `stat` says.
pub fn check_dirent(entry: &mut Entry, d_ino: u64, d_type: u32) {
    if d_ino != entry.ino {
        entry
            .faults
            .push(format!("d_ino {d_ino} st_ino {}", entry.ino));
    }
    if d_type != entry.mode & libc::S_IFMT {
        entry
            .faults
            .push(format!("d_type {d_type:o} mode {:o}", entry.mode));
    }
}

/// Everything of a lower that must never change, ctime too: all but the time of access.
pub fn fingerprint(root: &Path) -> String {
    use std::fmt::Write;
    let tree = tree(root);
    let mut out = String::new();
    for (path, e) in &tree.0 {
        let at = root.join(path);
        let ctime = lstat(&at).map(|st| (st.st_ctime, st.st_ctime_nsec));
        writeln!(
            out,
            "{path} {:o} {}:{} n{} i{} {} {:?} {ctime:?} {:?} {:?}",
            e.mode,
            e.uid,
            e.gid,
            e.nlink,
            e.ino,
            e.rdev,
            e.mtime,
            e.xattrs,
            sha(&e.data)
        )
        .unwrap();
    }
    out
}

fn sha(data: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    Sha256::digest(data).to_vec()
}
