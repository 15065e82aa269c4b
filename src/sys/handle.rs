//! What a file is called that no name leads to any more: its handle, and the id of its file system.

use super::Loc;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `MAX_HANDLE_SZ`
const LONGEST: usize = 128;

/// `FS_IOC_GETFSUUID` (Linux 6.9)
const GETFSUUID: libc::Ioctl = 0x8011_1500_u32 as libc::Ioctl;

#[repr(C)]
struct Buffer {
    len: u32,
    kind: i32,
    bytes: [u8; LONGEST],
}

/// A file's handle: its type and its bytes. EOPNOTSUPP where the file system gives none.
pub fn of(at: Loc<'_>) -> Result<(i32, Vec<u8>)> {
    let (dir, name, flags) = match at {
        Loc::At(dir, name) => (dir, name, 0),
        Loc::Fd(fd) | Loc::Open(fd) => (fd, &b""[..], libc::AT_EMPTY_PATH),
    };
    let name = CString::new(name).map_err(|_| Error::new(Errno::EINVAL))?;
    let mut handle = Buffer {
        len: LONGEST as u32,
        kind: 0,
        bytes: [0; LONGEST],
    };
    let mut mount = 0;
    // SAFETY: the buffer begins as `struct file_handle` does and says how much room follows; it,
    // the name and the number of the mount live through the call.
    #[allow(unsafe_code)]
    let done = unsafe {
        libc::name_to_handle_at(
            dir.as_raw_fd(),
            name.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount,
            flags,
        )
    };
    match (done, handle.bytes.get(..handle.len as usize)) {
        (0, Some(bytes)) => Ok((handle.kind, bytes.to_vec())),
        (0, None) => Err(Error::new(Errno::EOVERFLOW)),
        _ => Err(Error::new(Errno::last())),
    }
}

/// The id of the file system that an open directory is on; ENOTTY where it has none to tell.
pub fn fs_uuid(dir: BorrowedFd<'_>) -> Result<[u8; 16]> {
    let mut said = [0u8; 17];
    // SAFETY: the kernel writes a length and 16 bytes, which is what the buffer holds.
    #[allow(unsafe_code)]
    let done = unsafe { libc::ioctl(dir.as_raw_fd(), GETFSUUID, &raw mut said) };
    match said {
        _ if done != 0 => Err(Error::new(Errno::last())),
        [16, uuid @ ..] => Ok(uuid),
        _ => Err(Error::new(Errno::ENOTTY)),
    }
}
