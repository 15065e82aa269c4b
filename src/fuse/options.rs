//! How a mount behaves towards the kernel: what is cached, for how long, which flags it has.

use nix::mount::MsFlags;
use std::time::Duration;

/// How file data travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// The kernel keeps pages and asks nobody at open: best for many small files.
    #[default]
    Cached,
    /// The kernel reads and writes the files beneath by itself: best for large files. Needs
    /// CAP_SYS_ADMIN in the first user namespace.
    Passthrough,
}

/// Whether requests come by io_uring, for which the kernel must have FUSE over io_uring (Linux
/// 6.14), and have it switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoUring {
    /// If the kernel offers it.
    #[default]
    Auto,
    /// Or there is no mount.
    On,
    /// By `/dev/fuse`.
    Off,
}

/// Who else may use the mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allow {
    /// Nobody but who mounted it.
    Owner,
    /// Root too.
    Root,
    /// Everybody, as file modes say.
    Other,
    /// Everybody where that is permitted (the mounter is root here), else nobody else.
    #[default]
    Auto,
}

/// The options of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// How file data travels.
    pub io: Io,
    /// How requests come.
    pub io_uring: IoUring,
    /// How long the kernel may believe names and attributes; zero: it asks every time.
    pub timeout: Duration,
    /// False: fsync is answered and does nothing.
    pub fsync: bool,
    /// The kernel gathers writes. Off: each write is a message.
    pub writeback: bool,
    /// False: every call on extended attributes is refused, and the kernel stops asking.
    pub xattrs: bool,
    /// POSIX ACLs are kept and honoured.
    pub acl: bool,
    /// Who else may use the mount.
    pub allow: Allow,
    /// First field in the mount table.
    pub fsname: String,
    /// The mount's type in the mount table is `fuse.` and this.
    pub subtype: String,
    /// Flags for mount(2). `MS_RDONLY` makes the mount read-only whatever the layers are.
    pub flags: MsFlags,
    /// Threads that answer requests; what may take long is passed on to others.
    pub threads: usize,
    /// Bytes of one write message at most.
    pub max_write: u32,
    /// Each request is logged.
    pub debug: bool,
}

/// As good as for ever; what fuse-overlayfs has used for years.
pub const FOREVER: Duration = Duration::from_secs(1_000_000_000);

/// One thread a processor: the kernel hands requests to waiting threads in turn, and the fewer
/// there are, the warmer is the one that comes next (two instead of eight made a GETATTR three
/// times as fast on two processors). What may take long goes to threads of its own.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8))
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            io: Io::Cached,
            io_uring: IoUring::Auto,
            timeout: FOREVER,
            fsync: true,
            writeback: true,
            xattrs: true,
            acl: true,
            allow: Allow::Auto,
            fsname: "vellum".into(),
            subtype: "vellum".into(),
            flags: MsFlags::empty(),
            threads: default_threads(),
            max_write: 1 << 20,
            debug: false,
        }
    }
}
