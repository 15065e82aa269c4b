//! Mounting: by mount(2) where that is permitted, else by `fusermount3`.

use super::options::{Allow, MountOptions};
use crate::sys::process::receive_fd;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): a number that no later mount gets again.
const MNT_ID_UNIQUE: u32 = 0x4000;

/// A mount of ours.
#[derive(Debug)]
pub(super) struct Mounted {
    /// The connection to the kernel.
    pub device: Arc<OwnedFd>,
    /// Where, absolute.
    pub path: PathBuf,
    /// Which mount it is.
    pub id: u64,
}

/// Mounts on `mountpoint`.
pub(super) fn mount(mountpoint: &Path, options: &MountOptions, read_only: bool) -> Result<Mounted> {
    let path = std::path::absolute(mountpoint)?;
    let dir = rustix::fs::openat(
        CWD,
        &path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .context(|| format!("mountpoint {}", path.display()))?;
    let mut flags = options.flags;
    if read_only {
        flags |= MsFlags::MS_RDONLY;
    }
    let device = match direct(dir.as_fd(), options, flags) {
        Err(e) if e.is(Errno::EPERM) => {
            log::debug!("mount(2) is not permitted; asking fusermount3");
            by_helper(&path, options, flags)?
        }
        other => other.context(|| format!("mount {}", path.display()))?,
    };
    let id = mount_id(&path)?;
    Ok(Mounted {
        device: Arc::new(device),
        path,
        id,
    })
}

/// The number of the mount that `path` leads to. Sends the file system no message.
pub(super) fn mount_id(path: &Path) -> Result<u64> {
    let fd = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .context(|| path.display().to_string())?;
    mount_id_of(fd.as_fd())
}

/// The number of the mount that `fd` is in.
pub(super) fn mount_id_of(fd: BorrowedFd<'_>) -> Result<u64> {
    let at = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let both = StatxFlags::MNT_ID | StatxFlags::from_bits_retain(MNT_ID_UNIQUE);
    let st = rustix::fs::statx(fd, c"", at, both)?;
    Ok(st.stx_mnt_id)
}

fn open_device() -> Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .context(|| "/dev/fuse")
}

fn may_allow_other() -> bool {
    rustix::process::geteuid().is_root()
}

fn allow_other(options: &MountOptions) -> bool {
    match options.allow {
        Allow::Owner => false,
        Allow::Root | Allow::Other => true,
        Allow::Auto => may_allow_other(),
    }
}

fn direct(dir: BorrowedFd<'_>, options: &MountOptions, flags: MsFlags) -> Result<OwnedFd> {
    let device = open_device()?;
    let st = rustix::fs::fstat(dir)?;
    let mut data = format!(
        "fd={},rootmode={:o},user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        st.st_mode & libc::S_IFMT,
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    if allow_other(options) {
        data.push_str(",allow_other");
    }
    let kind = format!("fuse.{}", options.subtype);
    let at = format!("/proc/self/fd/{}", dir.as_raw_fd());
    nix::mount::mount(
        Some(options.fsname.as_str()),
        at.as_str(),
        Some(kind.as_str()),
        flags,
        Some(data.as_str()),
    )?;
    Ok(device.into())
}

/// The words of mount(8) for flags. What `fusermount3` does not know of them (that depends on its
/// version) it refuses; none is dropped.
const FLAG_WORDS: &[(MsFlags, &str)] = &[
    (MsFlags::MS_RDONLY, "ro"),
    (MsFlags::MS_NOSUID, "nosuid"),
    (MsFlags::MS_NODEV, "nodev"),
    (MsFlags::MS_NOEXEC, "noexec"),
    (MsFlags::MS_SYNCHRONOUS, "sync"),
    (MsFlags::MS_DIRSYNC, "dirsync"),
    (MsFlags::MS_NOATIME, "noatime"),
    (MsFlags::MS_NODIRATIME, "nodiratime"),
    (MsFlags::MS_RELATIME, "relatime"),
    (MsFlags::MS_STRICTATIME, "strictatime"),
    (MsFlags::MS_LAZYTIME, "lazytime"),
    (MsFlags::MS_SILENT, "silent"),
];

/// What `options` and `flags` are for `fusermount3`.
fn words(options: &MountOptions, flags: MsFlags) -> Result<String> {
    let mut words = vec![
        format!("fsname={}", escaped(&options.fsname)),
        format!("subtype={}", escaped(&options.subtype)),
        "default_permissions".to_string(),
    ];
    let mut wordless = flags;
    for (flag, word) in FLAG_WORDS {
        if flags.contains(*flag) {
            words.push((*word).to_string());
            wordless.remove(*flag);
        }
    }
    if !wordless.is_empty() {
        return Err(Error::because(
            Errno::EINVAL,
            format!("mount flags {wordless:?} cannot be asked of fusermount3"),
        ));
    }
    match options.allow {
        Allow::Owner => {}
        Allow::Auto if !may_allow_other() => {}
        _ => words.push("allow_other".into()),
    }
    Ok(words.join(","))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

/// `fusermount3` mounts, and sends the fd over a socket.
fn by_helper(path: &Path, options: &MountOptions, flags: MsFlags) -> Result<OwnedFd> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::empty(),
    )?;
    let mut command = Command::new("fusermount3");
    command
        .arg0("fusermount3")
        .arg("-o")
        .arg(words(options, flags)?)
        .arg("--")
        .arg(path)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let child = command
        .spawn()
        .context(|| "mount(2) is not permitted, and fusermount3 (package fuse3) does not start")?;
    drop(theirs);
    let device = receive_fd(ours.as_fd());
    // its answer stands; what it said on the way is for the error
    let output = child.wait_with_output().context(|| "fusermount3")?;
    device.map_err(|e| {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
        let errno = if e.is(Errno::EIO) {
            Errno::EPERM
        } else {
            e.errno()
        };
        Error::because(errno, said)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_that_can_be_asked_for_has_a_word() {
        for (flag, word) in FLAG_WORDS {
            let said = words(&MountOptions::default(), *flag).unwrap();
            assert!(said.split(',').any(|w| w == *word), "{word}: {said}");
        }
        let all = FLAG_WORDS.iter().map(|(f, _)| *f).collect();
        let said = words(&MountOptions::default(), all).unwrap();
        assert!(said.contains("nodiratime,relatime,strictatime,lazytime,silent"));
    }

    #[test]
    fn a_flag_without_a_word_is_refused() {
        let refused = words(&MountOptions::default(), MsFlags::MS_MANDLOCK).unwrap_err();
        assert!(refused.reason().contains("MS_MANDLOCK"), "{refused}");
    }

    #[test]
    fn names_are_escaped() {
        let options = MountOptions {
            fsname: "a,b\\c".into(),
            ..MountOptions::default()
        };
        let said = words(&options, MsFlags::empty()).unwrap();
        assert!(said.starts_with("fsname=a\\,b\\\\c,"), "{said}");
    }
}
