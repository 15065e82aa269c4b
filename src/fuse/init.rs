//! What is agreed with the kernel when the mount begins.

use super::options::{Allow, Io, MountOptions};
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
    let has = |flag| config.capabilities().contains(flag);
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
            if options.writeback && cached {
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
    let want = want & config.capabilities();
    config.add_capabilities(want).map_err(|_| Errno::EIO)?;
    config
        .set_max_write(options.max_write)
        .map_err(|_| Errno::EINVAL)?;
    Ok(agreed)
}
