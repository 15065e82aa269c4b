//! What is stacked, and how it is shown.

use super::{Opt, honoured, refused, tolerated};
use crate::overlay::{Ownership, UserXattr};

/// The one option with a value that may be given several times.
pub const LOWER_ONE: &str = "lowerdir+";

pub const LAYERS: &[Opt] = &[
    honoured(
        "lowerdir",
        "=DIR[:DIR]...",
        "the read-only layers, topmost first; `\\:` is a colon in a path, `\\,` a comma, `\\\\` a backslash",
        |d, v| d.set_lowers(v.paths()?),
    ),
    honoured(
        LOWER_ONE,
        "=DIR",
        "one more read-only layer, below those given before; colons need no backslash",
        |d, v| d.add_lower(v.path()?),
    ),
    refused("datadir+", "=DIR", "data-only layers are not supported"),
    honoured(
        "upperdir",
        "=DIR",
        "the writable layer; without one the mount is read-only",
        |d, v| {
            d.upper = Some(v.path()?);
            Ok(())
        },
    ),
    honoured(
        "workdir",
        "=DIR",
        "an empty directory on the upper's file system",
        |d, v| {
            d.work = Some(v.path()?);
            Ok(())
        },
    ),
    honoured(
        "redirect_dir",
        "=on|follow|off",
        "`on`, the default: a directory of a layer can be renamed. `off` and `follow`: EXDEV. Redirects that are there are always followed",
        |d, v| {
            if v.0 == Some(b"nofollow") {
                return Err(
                    "redirects in the layers are always followed; `off` makes no new ones".into(),
                );
            }
            d.writing.redirect = v.one_of(&[("on", true), ("follow", false), ("off", false)])?;
            Ok(())
        },
    ),
    honoured(
        "metacopy",
        "=on|off",
        "`on`, the default: a change of mode, owner or times copies no data, where marks go to `trusted.overlay.*`",
        |d, v| {
            d.writing.metacopy = v.switch()?;
            Ok(())
        },
    ),
    honoured(
        "userxattr",
        "",
        "the marks go to `user.overlay.*`; by default to `trusted.overlay.*` where that is permitted",
        |d, v| {
            d.writing.userxattr = if v.switch()? {
                UserXattr::On
            } else {
                UserXattr::Auto
            };
            Ok(())
        },
    ),
    honoured(
        "index",
        "=off",
        "`on` is refused: hard links stay whole without an index",
        |_, v| match v.switch()? {
            false => Ok(()),
            true => Err("there is no index; hard links stay whole without one".into()),
        },
    ),
    honoured(
        "nfs_export",
        "=off",
        "`on` is refused: it is about overlayfs's index, which is not kept",
        |_, v| match v.switch()? {
            false => Ok(()),
            true => Err("it is about overlayfs's index, which is not kept".into()),
        },
    ),
    honoured(
        "verity",
        "=off",
        "anything else is refused: digests of fs-verity are not checked",
        |_, v| v.one_of(&[("off", ())]),
    ),
    tolerated("uuid", "=on|off|null|auto", "a FUSE mount has no UUID"),
    refused(
        "plugins",
        "=LIB[:LIB]...",
        "plugins are not supported; give directories as layers",
    ),
];

pub const OWNERS: &[Opt] = &[
    honoured(
        "uidmapping",
        "=DISK:SHOWN:COUNT[:...]",
        "users on disk, and as whom they are shown; empty fields are skipped; users outside all ranges are shown as 65534. Layers that are all on id-mapped mounts have their users as shown already",
        |d, v| {
            d.config.ids.uid = v.id_map()?;
            Ok(())
        },
    ),
    honoured(
        "gidmapping",
        "=DISK:SHOWN:COUNT[:...]",
        "the same for groups",
        |d, v| {
            d.config.ids.gid = v.id_map()?;
            Ok(())
        },
    ),
    honoured(
        "squash_to_root",
        "",
        "every file belongs to root",
        |d, v| {
            d.squash_to_root = v.switch()?;
            Ok(())
        },
    ),
    honoured(
        "squash_to_uid",
        "=UID",
        "every file belongs to this user, whatever `squash_to_root` and `uidmapping` say",
        |d, v| {
            d.config.ids.squash_uid = Some(v.number()?);
            Ok(())
        },
    ),
    honoured(
        "squash_to_gid",
        "=GID",
        "every file belongs to this group, whatever `squash_to_root` and `gidmapping` say",
        |d, v| {
            d.config.ids.squash_gid = Some(v.number()?);
            Ok(())
        },
    ),
    honoured(
        "xattr_permissions",
        "=0|1|2",
        "where owner, mode and type of files are kept: `0` in the inode, `1` in `security.fuseoverlayfs.override_stat`, `2` in `user.containers.override_stat`; not given: as the topmost layer's root says",
        |d, v| {
            d.config.ownership = Some(v.one_of(&[
                ("0", Ownership::Inode),
                ("1", Ownership::Privileged),
                ("2", Ownership::User),
            ])?);
            Ok(())
        },
    ),
];

pub const SHOWN: &[Opt] = &[
    honoured(
        "noxattrs",
        "[=0|1]",
        "calls on extended attributes are refused",
        |d, v| {
            d.config.noxattrs = v.switch()?;
            d.mount.xattrs = !d.config.noxattrs;
            Ok(())
        },
    ),
    honoured(
        "noacl",
        "",
        "POSIX ACLs are neither kept nor honoured",
        |d, v| {
            d.mount.acl = !v.switch()?;
            d.writing.acl = d.mount.acl;
            Ok(())
        },
    ),
    honoured(
        "static_nlink",
        "",
        "directories report one link, and are not counted",
        |d, v| {
            d.config.static_nlink = v.switch()?;
            Ok(())
        },
    ),
    refused(
        "ino32_t",
        "",
        "inode numbers cannot be cut to 32 bits; those of layers on one file system are its own",
    ),
    honoured(
        "xino",
        "=on|auto|off",
        "nothing to do: inode numbers are unique and stay the same in any case",
        |_, v| v.one_of(&[("on", ()), ("auto", ()), ("off", ())]),
    ),
    tolerated(
        "fast_ino",
        "=0|1",
        "inode numbers are always right, and cost no look-up in the layers",
    ),
    tolerated("fast_ino_check", "=0|1", "see `fast_ino`"),
    tolerated(
        "context",
        "=\"LABEL\"",
        "a FUSE mount takes no SELinux label from its file system",
    ),
    tolerated("fscontext", "=\"LABEL\"", "see `context`"),
    tolerated("defcontext", "=\"LABEL\"", "see `context`"),
    tolerated("rootcontext", "=\"LABEL\"", "see `context`"),
    tolerated("seclabel", "", "see `context`"),
];
