//! Attributes of a name in an open directory: getxattrat(2) and listxattrat(2), Linux 6.13. They walk one name, where
//! the magic path that does for older kernels has five.
#![allow(unsafe_code, reason = "these calls have no safe wrapper yet")]

use rustix::io::Errno;
use rustix::path::Arg;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// `SYS_getxattrat`: one number on every architecture but alpha.
const GETXATTRAT: libc::c_long = 464;
/// `SYS_listxattrat`: the same.
const LISTXATTRAT: libc::c_long = 465;

/// The kernel said that it has none of these.
static MISSING: AtomicBool = AtomicBool::new(false);

/// `struct xattr_args`.
#[repr(C)]
struct Args {
    value: u64,
    size: u32,
    flags: u32,
}

/// The length of the value, which `buf` has then; the last name is not followed. `None`: not here.
pub fn get(
    dir: BorrowedFd<'_>,
    file: &[u8],
    name: &[u8],
    buf: &mut [u8],
) -> Option<Result<usize, Errno>> {
    let args = Args {
        value: buf.as_mut_ptr() as u64,
        size: u32::try_from(buf.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    call(|| {
        file.into_with_c_str(|file| {
            name.into_with_c_str(|name: &CStr| {
                // SAFETY: the strings end with NUL, the structure has the kernel's layout, and its value is the
                // buffer, which is as long as it says; all live until the call returns.
                Ok(unsafe {
                    libc::syscall(
                        GETXATTRAT,
                        dir.as_raw_fd(),
                        file.as_ptr(),
                        libc::AT_SYMLINK_NOFOLLOW,
                        name.as_ptr(),
                        &raw const args,
                        size_of::<Args>(),
                    )
                })
            })
        })
    })
}

/// The length of the names, which `buf` has then; the last name is not followed. `None`: not here.
pub fn list(dir: BorrowedFd<'_>, file: &[u8], buf: &mut [u8]) -> Option<Result<usize, Errno>> {
    call(|| {
        file.into_with_c_str(|file| {
            // SAFETY: the name ends with NUL and the buffer is as long as it says; both live until the call returns.
            Ok(unsafe {
                libc::syscall(
                    LISTXATTRAT,
                    dir.as_raw_fd(),
                    file.as_ptr(),
                    libc::AT_SYMLINK_NOFOLLOW,
                    buf.as_mut_ptr(),
                    buf.len(),
                )
            })
        })
    })
}

fn call(call: impl FnOnce() -> Result<libc::c_long, Errno>) -> Option<Result<usize, Errno>> {
    if MISSING.load(Ordering::Relaxed) {
        return None;
    }
    let done = call().and_then(|n| {
        let last = || Errno::from_raw_os_error(nix::errno::Errno::last_raw());
        usize::try_from(n).map_err(|_| last())
    });
    match done {
        Err(Errno::NOSYS) => {
            MISSING.store(true, Ordering::Relaxed);
            None
        }
        // seccomp filters from before them answer so; if it is the file's own, the other way says it again
        Err(Errno::PERM) => None,
        done => Some(done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{Loc, xattr};
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    #[test]
    fn a_name_in_a_directory_has_what_its_path_has() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("f"), "").unwrap();
        std::os::unix::fs::symlink("f", path("link")).unwrap();
        let long = vec![b'v'; 1000];
        for (name, value) in [("user.a", &b"1"[..]), ("user.long", &long)] {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(path("f"), name, value, flags).unwrap();
        }
        let fd = File::open(dir.path()).unwrap();
        let at = |name| Loc::At(fd.as_fd(), name);
        let file = at(b"f");
        let open = File::open(path("f")).unwrap();
        let list = xattr::list(file).unwrap();
        assert_eq!(list, xattr::list(Loc::Open(open.as_fd())).unwrap());
        assert_eq!(list, xattr::list(Loc::Fd(open.as_fd())).unwrap());
        assert!(xattr::names(&list).any(|n| n == b"user.long"));
        for (name, value) in [
            ("user.a", Some(&b"1"[..])),
            ("user.long", Some(&long)),
            ("user.b", None),
        ] {
            let got = xattr::get(file, name.as_bytes()).unwrap();
            assert_eq!(got.as_deref(), value, "{name}");
        }
        // the link itself has none, and is not followed
        assert!(!xattr::list(at(b"link")).unwrap().starts_with(b"user."));
        assert_eq!(xattr::get(at(b"link"), b"user.a").unwrap(), None);
        let missing = xattr::get(at(b"none"), b"user.a").unwrap_err();
        assert!(missing.is(nix::errno::Errno::ENOENT), "{missing}");
        // a buffer that is too small
        if let Some(done) = get(fd.as_fd(), b"f", b"user.long", &mut [0; 10]) {
            assert_eq!(done, Err(Errno::RANGE));
        }
    }
}
