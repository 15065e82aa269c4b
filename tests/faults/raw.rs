//! The few calls that have no safe wrapper.
#![allow(unsafe_code, reason = "mmap and file handles")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

/// A mapping of the first bytes of a file.
pub struct Map {
    at: *mut u8,
    len: usize,
}

impl Map {
    /// Maps `len` bytes, shared or private, for reading or also for writing.
    pub fn new(file: &File, len: usize, shared: bool, write: bool) -> Map {
        let prot = libc::PROT_READ | if write { libc::PROT_WRITE } else { 0 };
        let flags = if shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
        // SAFETY: a new mapping at an address that the kernel chooses
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, file.as_raw_fd(), 0) };
        assert!(
            at != libc::MAP_FAILED,
            "mmap: {}",
            io::Error::last_os_error()
        );
        Map { at: at.cast(), len }
    }

    pub fn get(&self, i: usize) -> u8 {
        assert!(i < self.len);
        // SAFETY: within the mapping; volatile, for others change it
        unsafe { self.at.add(i).read_volatile() }
    }

    pub fn set(&self, i: usize, byte: u8) {
        assert!(i < self.len);
        // SAFETY: within the mapping, which was made writable by whoever calls this
        unsafe { self.at.add(i).write_volatile(byte) }
    }

    pub fn sync(&self) {
        // SAFETY: our own mapping
        assert_eq!(
            unsafe { libc::msync(self.at.cast(), self.len, libc::MS_SYNC) },
            0
        );
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: our own mapping, not used after this
        assert_eq!(unsafe { libc::munmap(self.at.cast(), self.len) }, 0);
    }
}

#[repr(C)]
struct Handle {
    head: [u32; 2],
    body: [u8; 128],
}

/// Takes a file's handle, drops all caches, and opens the file by the handle.
pub fn reopen_by_handle(mount: &File, path: &std::path::Path) -> io::Result<File> {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut handle = Handle {
        head: [128, 0],
        body: [0; 128],
    };
    let (mut mount_id, at) = (0, (&raw mut handle).cast::<libc::file_handle>());
    // SAFETY: `handle` is as long as its head says; the name ends with a NUL
    let got =
        unsafe { libc::name_to_handle_at(libc::AT_FDCWD, name.as_ptr(), at, &raw mut mount_id, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    std::fs::write("/proc/sys/vm/drop_caches", "2")?;
    // SAFETY: the handle as the kernel filled it in
    let fd =
        unsafe { libc::open_by_handle_at(mount.as_raw_fd(), at, libc::O_RDONLY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has
    Ok(unsafe { File::from_raw_fd(fd) })
}
