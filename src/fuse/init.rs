//! What is agreed with the kernel when the mount begins.

use super::options::{Allow, Io, IoUring, MountOptions};
use crate::sys::uring;
use fuser::{InitFlags, KernelConfig};
use nix::errno::Errno;
use std::io;

/// What the kernel agreed to, as far as the adapter must know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreed {
    /// OPEN may be answered "never ask again".
    pub no_open: bool,
    /// The same for OPENDIR.
    pub no_opendir: bool,
    /// The kernel keeps what is written for a while, and the files' times with it.
    pub writeback: bool,
    /// Requests come by io_uring.
    pub io_uring: bool,
}

/// What every mount asks for, where the kernel has it.
const WANTED: InitFlags = InitFlags::FUSE_ASYNC_READ
    .union(InitFlags::FUSE_ASYNC_DIO)
    .union(InitFlags::FUSE_BIG_WRITES)
    .union(InitFlags::FUSE_MAX_PAGES)
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_PARALLEL_DIROPS)
    .union(InitFlags::FUSE_HANDLE_KILLPRIV_V2)
    .union(InitFlags::FUSE_DONT_MASK)
    .union(InitFlags::FUSE_EXPORT_SUPPORT);

/// Asks the kernel for what the options need.
pub(super) fn agree(options: &MountOptions, config: &mut KernelConfig) -> io::Result<Agreed> {
    let offered = config.capabilities();
    let has = |flag| offered.contains(flag);
    let cached = !options.timeout.is_zero();
    let mut want = WANTED;
    let mut agreed = Agreed::default();
    if cached {
        want |= InitFlags::FUSE_CACHE_SYMLINKS;
        agreed.no_opendir = has(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
    }
    if options.acl {
        want |= InitFlags::FUSE_POSIX_ACL;
    }
    // of a mount that may be id-mapped, the kernel leaves out of most requests who asks; fuser has
    // to know that where it keeps everybody but root out
    if options.allow != Allow::Root {
        want |= InitFlags::FUSE_ALLOW_IDMAP;
    }
    match options.io {
        Io::Cached => {
            agreed.no_open = cached && has(InitFlags::FUSE_NO_OPEN_SUPPORT);
            agreed.writeback = options.writeback && cached;
            if agreed.writeback {
                want |= InitFlags::FUSE_WRITEBACK_CACHE;
            }
        }
        Io::Passthrough => {
            if !has(InitFlags::FUSE_PASSTHROUGH) {
                log::error!("io=passthrough: this kernel's FUSE has no passthrough (Linux 6.9)");
                return Err(Errno::EOPNOTSUPP.into());
            }
            want |= InitFlags::FUSE_PASSTHROUGH;
            // backing files on plain file systems; a mount of ours can still be a lower of overlayfs
            config.set_max_stack_depth(1).map_err(|_| Errno::EINVAL)?;
        }
    }
    if agreed.no_open {
        want |= InitFlags::FUSE_NO_OPEN_SUPPORT;
    }
    if agreed.no_opendir {
        want |= InitFlags::FUSE_NO_OPENDIR_SUPPORT;
    }
    agreed.io_uring = by_io_uring(options.io_uring, has(InitFlags::FUSE_OVER_IO_URING))?;
    if agreed.io_uring {
        want |= InitFlags::FUSE_OVER_IO_URING;
    }
    let want = want & config.capabilities();
    config.add_capabilities(want).map_err(|_| Errno::EIO)?;
    config
        .set_max_write(options.max_write)
        .map_err(|_| Errno::EINVAL)?;
    Ok(agreed)
}

/// Decides how requests come. After a promise to fetch them by io_uring, the kernel sends nothing
/// until that is done, so that it can be done is looked at before.
fn by_io_uring(wanted: IoUring, offered: bool) -> io::Result<bool> {
    let problem = match wanted {
        IoUring::Off => return Ok(false),
        _ if !offered => "this kernel's FUSE does not offer it; since Linux 6.14 it does, after \
                          `echo Y >/sys/module/fuse/parameters/enable_uring`"
            .to_string(),
        _ => match uring::probe() {
            Ok(()) => return Ok(true),
            Err(e) => format!("this process may not use io_uring: {e}"),
        },
    };
    if wanted == IoUring::On {
        log::error!("io_uring=on: {problem}");
        return Err(Errno::EOPNOTSUPP.into());
    }
    log::debug!("requests come by /dev/fuse: {problem}");
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_offered_is_not_used_and_refused_only_if_asked_for() {
        assert!(!by_io_uring(IoUring::Auto, false).unwrap());
        assert!(!by_io_uring(IoUring::Off, true).unwrap());
        let refused = by_io_uring(IoUring::On, false).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::EOPNOTSUPP as i32));
    }
}
