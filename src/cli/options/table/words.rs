//! Flags of mount(2), and words of fstab(5) that are for others.

use super::{Opt, honoured, refused, tolerated};
use nix::mount::MsFlags;

const NONE: MsFlags = MsFlags::empty();
const ATIMES: MsFlags = MsFlags::MS_NOATIME
    .union(MsFlags::MS_RELATIME)
    .union(MsFlags::MS_STRICTATIME);
const DEFAULTS_CLEAR: MsFlags = MsFlags::MS_RDONLY
    .union(MsFlags::MS_NOSUID)
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC)
    .union(MsFlags::MS_SYNCHRONOUS);

macro_rules! flag {
    ($name:literal, $set:expr, $clear:expr, $about:literal) => {
        honoured($name, "", $about, |d, v| {
            v.word()?;
            d.flags($set, $clear);
            Ok(())
        })
    };
}

pub const FLAGS: &[Opt] = &[
    flag!(
        "ro",
        MsFlags::MS_RDONLY,
        NONE,
        "nothing can be written, whatever the layers are"
    ),
    flag!(
        "rw",
        NONE,
        MsFlags::MS_RDONLY,
        "the opposite; the default where there is an upper"
    ),
    flag!(
        "nosuid",
        MsFlags::MS_NOSUID,
        NONE,
        "setuid, setgid and capabilities are not honoured"
    ),
    flag!(
        "suid",
        NONE,
        MsFlags::MS_NOSUID,
        "the opposite; the default"
    ),
    flag!(
        "nodev",
        MsFlags::MS_NODEV,
        NONE,
        "device files cannot be opened; the default of `vellum-overlayfs`"
    ),
    flag!(
        "dev",
        NONE,
        MsFlags::MS_NODEV,
        "the opposite; the default of `vellum mount`"
    ),
    flag!("noexec", MsFlags::MS_NOEXEC, NONE, "programs cannot be run"),
    flag!(
        "exec",
        NONE,
        MsFlags::MS_NOEXEC,
        "the opposite; the default"
    ),
    honoured(
        "sync",
        "[=0|1]",
        "each write is synced. With a value it is fuse-overlayfs's other name of `fsync`",
        |d, v| {
            match v.0 {
                None => d.flags(MsFlags::MS_SYNCHRONOUS, NONE),
                Some(_) => d.mount.fsync = v.switch()?,
            }
            Ok(())
        },
    ),
    flag!(
        "async",
        NONE,
        MsFlags::MS_SYNCHRONOUS,
        "the opposite; the default"
    ),
    flag!(
        "dirsync",
        MsFlags::MS_DIRSYNC,
        NONE,
        "each change of a directory is synced"
    ),
    flag!(
        "noatime",
        MsFlags::MS_NOATIME,
        ATIMES,
        "reading changes no atime; the default of `vellum-overlayfs`"
    ),
    flag!("atime", NONE, MsFlags::MS_NOATIME, "the opposite"),
    flag!(
        "nodiratime",
        MsFlags::MS_NODIRATIME,
        NONE,
        "listing changes no atime of a directory"
    ),
    flag!(
        "diratime",
        NONE,
        MsFlags::MS_NODIRATIME,
        "the opposite; the default"
    ),
    flag!(
        "relatime",
        MsFlags::MS_RELATIME,
        ATIMES,
        "atime is changed once after each change of the file, and daily"
    ),
    flag!("norelatime", NONE, MsFlags::MS_RELATIME, "the opposite"),
    flag!(
        "strictatime",
        MsFlags::MS_STRICTATIME,
        ATIMES,
        "each read changes atime"
    ),
    flag!(
        "nostrictatime",
        NONE,
        MsFlags::MS_STRICTATIME,
        "the opposite; the default"
    ),
    flag!("silent", MsFlags::MS_SILENT, NONE, "the kernel logs less"),
    flag!(
        "loud",
        NONE,
        MsFlags::MS_SILENT,
        "the opposite; the default"
    ),
    flag!(
        "defaults",
        NONE,
        DEFAULTS_CLEAR,
        "`rw`, `suid`, `dev`, `exec` and `async`"
    ),
    tolerated("lazytime", "", "FUSE keeps no lazy times"),
    tolerated("nolazytime", "", "FUSE keeps no lazy times"),
    tolerated("iversion", "", "FUSE has no inode versions"),
    tolerated("noiversion", "", "FUSE has no inode versions"),
    tolerated("nomand", "", "FUSE has no mandatory locks"),
    refused("mand", "", "FUSE has no mandatory locks"),
    refused(
        "nosymfollow",
        "",
        "cannot be promised on a FUSE mount; mount -o remount,nosymfollow sets it",
    ),
    honoured(
        "remount",
        "",
        "changes the flags of the mount that is there, by `mount -o remount,...` or \
         `vellum-overlayfs`; its layers, and all else, stay as they are",
        |_, _| {
            Err("only flags can change, by mount -o remount; for other layers unmount, and mount again".into())
        },
    ),
    refused(
        "bind",
        "",
        "is no option of a union mount; use mount --bind",
    ),
    refused(
        "rbind",
        "",
        "is no option of a union mount; use mount --rbind",
    ),
    refused(
        "move",
        "",
        "is no option of a union mount; use mount --move",
    ),
];

const PROPAGATION: &str = "a new mount's propagation is its parent's; mount --make-private, --make-shared and so on change it";
const FSTAB: &str = "is for mount(8), which reads fstab";

pub const OTHERS: &[Opt] = &[
    tolerated("private", "", PROPAGATION),
    tolerated("rprivate", "", PROPAGATION),
    tolerated("shared", "", PROPAGATION),
    tolerated("rshared", "", PROPAGATION),
    tolerated("slave", "", PROPAGATION),
    tolerated("rslave", "", PROPAGATION),
    tolerated("unbindable", "", PROPAGATION),
    tolerated("runbindable", "", PROPAGATION),
    tolerated("auto", "", FSTAB),
    tolerated("noauto", "", FSTAB),
    tolerated("nofail", "", FSTAB),
    tolerated("_netdev", "", FSTAB),
    tolerated("user", "[=NAME]", FSTAB),
    tolerated("nouser", "", FSTAB),
    tolerated("users", "", FSTAB),
    tolerated("nousers", "", FSTAB),
    tolerated("owner", "", FSTAB),
    tolerated("group", "", FSTAB),
    tolerated("comment", "=TEXT", FSTAB),
    tolerated("x-*", "[=TEXT]", "is for other programs that read fstab"),
    tolerated("X-*", "[=TEXT]", "is for other programs that read fstab"),
];
