//! What the kernel may cache, who may use the mount, and the words of libfuse.

use super::{Opt, honoured, refused, tolerated};
use crate::fuse::{Allow, Io, IoUring, MountOptions};

/// Threads at most; each holds a buffer of the largest message.
const MAX_THREADS: usize = 256;

/// The least that the kernel's FUSE takes for `max_write`.
const MIN_WRITE: u32 = 4096;

/// The most that the kernel puts into one message unless its administrator raised the limit.
const MAX_WRITE: u32 = 1 << 20;

pub const SPEED: &[Opt] = &[
    honoured(
        "io",
        "=cached|passthrough",
        "`cached`, the default: the kernel keeps pages and asks nobody at open; best for many small files. `passthrough`: the kernel reads and writes the files beneath by itself; best for large files; needs root",
        |d, v| {
            d.mount.io = v.one_of(&[("cached", Io::Cached), ("passthrough", Io::Passthrough)])?;
            Ok(())
        },
    ),
    honoured(
        "io_uring",
        "=auto|on|off",
        "how requests come. `auto`, the default: by io_uring where the kernel offers that, else by `/dev/fuse`; `on`: by io_uring, or the mount is refused; `off`: by `/dev/fuse`",
        |d, v| {
            d.mount.io_uring = v.one_of(&[
                ("auto", IoUring::Auto),
                ("on", IoUring::On),
                ("off", IoUring::Off),
            ])?;
            Ok(())
        },
    ),
    honoured(
        "timeout",
        "=SECONDS",
        "how long the kernel believes names and attributes (default: for ever); `0`: it asks every time",
        |d, v| {
            d.mount.timeout = v.seconds()?;
            Ok(())
        },
    ),
    honoured(
        "attr_timeout",
        "=SECONDS",
        "as `timeout`, unless that is shorter: one time serves for all",
        |d, v| {
            d.at_most(v.seconds()?);
            Ok(())
        },
    ),
    honoured("entry_timeout", "=SECONDS", "see `attr_timeout`", |d, v| {
        d.at_most(v.seconds()?);
        Ok(())
    }),
    honoured(
        "negative_timeout",
        "=SECONDS",
        "see `attr_timeout`",
        |d, v| {
            d.at_most(v.seconds()?);
            Ok(())
        },
    ),
    honoured(
        "writeback",
        "[=0|1]",
        "`1`, the default of `vellum mount`: the kernel gathers writes; what it has not sent when the server dies is lost. `0`, that of `vellum-overlayfs` and fstab: each write is sent at once, and a file's blocks stay known when it is closed. Without an upper always `0`",
        |d, v| {
            d.mount.writeback = v.switch()?;
            Ok(())
        },
    ),
    honoured(
        "fsync",
        "[=0|1]",
        "`0`: fsync is answered and does nothing",
        |d, v| {
            d.mount.fsync = v.switch()?;
            Ok(())
        },
    ),
    honoured(
        "volatile",
        "",
        "nothing is synced, neither by fsync nor at copy-up; after a crash the upper is to be thrown away, and a mark in the work directory says so",
        |d, v| {
            d.writing.volatile = v.switch()?;
            d.mount.fsync = !d.writing.volatile;
            Ok(())
        },
    ),
    honoured(
        "threaded",
        "[=0|1]",
        "`0`: one thread answers all requests",
        |d, v| {
            d.mount.threads = if v.switch()? {
                MountOptions::default().threads
            } else {
                1
            };
            Ok(())
        },
    ),
    honoured(
        "max_threads",
        "=N",
        "how many threads answer requests, 256 at most",
        |d, v| match v.number()? {
            n @ 1..=MAX_THREADS => {
                d.mount.threads = n;
                Ok(())
            }
            _ => Err(format!("is not between 1 and {MAX_THREADS}")),
        },
    ),
    honoured(
        "max_write",
        "=BYTES",
        "the longest write message, from 4096; the kernel has none above 1 MiB",
        |d, v| {
            let bytes: u32 = v.number()?;
            if bytes < MIN_WRITE {
                return Err(format!("is less than {MIN_WRITE}"));
            }
            if bytes > MAX_WRITE {
                d.warn(format!(
                    "option max_write: {MAX_WRITE} is used, the most the kernel takes"
                ));
            }
            d.mount.max_write = bytes.min(MAX_WRITE);
            Ok(())
        },
    ),
    honoured(
        "debug",
        "",
        "as `-d`: each request is logged, in the foreground",
        |d, v| {
            d.mount.debug = v.switch()?;
            Ok(())
        },
    ),
];

pub const ACCESS: &[Opt] = &[
    honoured(
        "allow_other",
        "",
        "everybody may use the mount, as file modes say; the default where it is permitted",
        |d, v| {
            v.word()?;
            d.mount.allow = Allow::Other;
            Ok(())
        },
    ),
    honoured(
        "allow_root",
        "",
        "root may use the mount too, and nobody else; nothing is cached then, as with `timeout=0`",
        |d, v| {
            v.word()?;
            d.mount.allow = Allow::Root;
            Ok(())
        },
    ),
    honoured(
        "default_permissions",
        "",
        "the kernel checks modes; always so",
        |_, v| v.word(),
    ),
    honoured(
        "fsname",
        "=NAME",
        "first field in the mount table",
        |d, v| {
            d.mount.fsname = v.text()?;
            Ok(())
        },
    ),
    honoured(
        "subtype",
        "=NAME",
        "the mount's type in the mount table is `fuse.NAME`",
        |d, v| {
            d.mount.subtype = v.text()?;
            Ok(())
        },
    ),
];

pub const LIBFUSE: &[Opt] = &[
    honoured(
        "kernel_cache",
        "",
        "the kernel's cache survives an open; always so",
        |_, v| v.word(),
    ),
    honoured(
        "big_writes",
        "",
        "writes larger than a page; always so",
        |_, v| v.word(),
    ),
    honoured(
        "nonempty",
        "",
        "the mountpoint need not be empty; always so",
        |_, v| v.word(),
    ),
    tolerated("auto_cache", "", "layers do not change beneath a mount"),
    tolerated("noauto_cache", "", "layers do not change beneath a mount"),
    tolerated("ac_attr_timeout", "=SECONDS", "see `auto_cache`"),
    tolerated("splice_read", "", "how requests are read is not for choice"),
    tolerated(
        "splice_write",
        "",
        "how replies are written is not for choice",
    ),
    tolerated(
        "splice_move",
        "",
        "how replies are written is not for choice",
    ),
    tolerated(
        "no_splice_read",
        "",
        "how requests are read is not for choice",
    ),
    tolerated(
        "no_splice_write",
        "",
        "how replies are written is not for choice",
    ),
    tolerated(
        "no_splice_move",
        "",
        "how replies are written is not for choice",
    ),
    tolerated("clone_fd", "", "how requests are read is not for choice"),
    tolerated(
        "max_idle_threads",
        "=N",
        "threads are started once and kept; see `max_threads`",
    ),
    tolerated("max_read", "=BYTES", "the kernel's own limit is used"),
    tolerated("max_readahead", "=BYTES", "the kernel's own limit is used"),
    tolerated("max_background", "=N", "the number is not for choice"),
    tolerated("congestion_threshold", "=N", "the number is not for choice"),
    tolerated("async_read", "", "always so"),
    tolerated("sync_read", "", "requests are always answered side by side"),
    tolerated("atomic_o_trunc", "", "how files are opened depends on `io`"),
    tolerated("hard_remove", "", "unlinked files in use never get a name"),
    tolerated("use_ino", "", "always so"),
    tolerated("readdir_ino", "", "always so"),
    tolerated("noforget", "", "what the kernel forgot need not be kept"),
    tolerated(
        "direct_io",
        "",
        "the kernel's cache is always used; see `timeout=0` and `writeback=0`",
    ),
    tolerated(
        "auto_unmount",
        "",
        "a daemon that is killed leaves its mount; `vellum umount` removes it",
    ),
    refused("blkdev", "", "layers are directories, not block devices"),
    refused(
        "fd",
        "=N",
        "the FUSE device is opened by the program itself",
    ),
    refused("rootmode", "=M", "is for mount(2) alone"),
    refused("user_id", "=N", "is for mount(2) alone"),
    refused("group_id", "=N", "is for mount(2) alone"),
];
