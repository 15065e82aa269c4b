//! What each option does.

use crate::{refusal, request, with};
use nix::mount::MsFlags;
use std::path::PathBuf;
use std::time::Duration;
use vellum::cli::options::Request;
use vellum::fuse::{Allow, FOREVER, Io, IoUring};
use vellum::overlay::{Ownership, UpperConfig, UserXattr};

fn upper(r: &Request) -> &UpperConfig {
    r.config.upper.as_ref().unwrap()
}

type Check = fn(&Request) -> bool;

/// Options that are honoured without a word.
const HONOURED: &[(&str, Check)] = &[
    ("", |r| {
        upper(r).metacopy && upper(r).redirect && upper(r).acl
    }),
    ("", |r| {
        r.mount.io == Io::Cached && r.mount.timeout == FOREVER
    }),
    ("io=cached", |r| r.mount.io == Io::Cached),
    ("io=passthrough", |r| r.mount.io == Io::Passthrough),
    ("io_uring=auto", |r| r.mount.io_uring == IoUring::Auto),
    ("io_uring=on", |r| r.mount.io_uring == IoUring::On),
    ("io_uring=off", |r| r.mount.io_uring == IoUring::Off),
    ("metacopy=off", |r| !upper(r).metacopy),
    ("metacopy=on", |r| upper(r).metacopy),
    ("redirect_dir=on", |r| upper(r).redirect),
    ("redirect_dir=off", |r| !upper(r).redirect),
    ("redirect_dir=follow", |r| !upper(r).redirect),
    ("userxattr", |r| upper(r).userxattr == UserXattr::On),
    ("index=off", |_| true),
    ("nfs_export=off", |_| true),
    ("verity=off", |_| true),
    ("xino=on", |_| true),
    ("xino=auto", |_| true),
    ("xino=off", |_| true),
    ("lowerdir+=/a:b,lowerdir+=/c", |r| {
        r.config.lowers == ["/l", "/a:b", "/c"].map(PathBuf::from)
    }),
    ("squash_to_root", |r| {
        (r.config.ids.squash_uid, r.config.ids.squash_gid) == (Some(0), Some(0))
    }),
    ("squash_to_uid=5,squash_to_root", |r| {
        (r.config.ids.squash_uid, r.config.ids.squash_gid) == (Some(5), Some(0))
    }),
    ("squash_to_root,squash_to_gid=6", |r| {
        (r.config.ids.squash_uid, r.config.ids.squash_gid) == (Some(0), Some(6))
    }),
    ("uidmapping=0:5:1:1:100:9", |r| r.config.ids.uid.len() == 2),
    ("", |r| r.config.ownership.is_none()),
    ("xattr_permissions=0", |r| {
        r.config.ownership == Some(Ownership::Inode)
    }),
    ("xattr_permissions=1", |r| {
        r.config.ownership == Some(Ownership::Privileged)
    }),
    ("xattr_permissions=2", |r| {
        r.config.ownership == Some(Ownership::User)
    }),
    ("noxattrs=1", |r| r.config.noxattrs && !r.mount.xattrs),
    ("noxattrs=0", |r| !r.config.noxattrs && r.mount.xattrs),
    ("noacl", |r| !upper(r).acl && !r.mount.acl),
    ("static_nlink", |r| r.config.static_nlink),
    ("timeout=0", |r| r.mount.timeout == Duration::ZERO),
    ("timeout=1.5", |r| {
        r.mount.timeout == Duration::from_millis(1500)
    }),
    ("timeout=1000000000", |r| r.mount.timeout == FOREVER),
    ("entry_timeout=3,attr_timeout=1", |r| {
        r.mount.timeout == Duration::from_secs(1)
    }),
    ("timeout=2,negative_timeout=5", |r| {
        r.mount.timeout == Duration::from_secs(2)
    }),
    ("fsync=0", |r| !r.mount.fsync && !upper(r).volatile),
    ("sync=0", |r| {
        !r.mount.fsync && r.mount.flags == DEFAULT_FLAGS
    }),
    ("volatile", |r| !r.mount.fsync && upper(r).volatile),
    ("writeback", |r| r.mount.writeback),
    ("writeback=1", |r| r.mount.writeback),
    ("writeback=0", |r| !r.mount.writeback),
    ("threaded=0", |r| r.mount.threads == 1),
    ("threaded=1", |r| r.mount.threads > 1),
    ("max_threads=3", |r| r.mount.threads == 3),
    ("max_write=65536", |r| r.mount.max_write == 65536),
    ("debug", |r| r.mount.debug && r.foreground),
    ("allow_other", |r| r.mount.allow == Allow::Other),
    ("allow_root", |r| r.mount.allow == Allow::Root),
    ("default_permissions", |_| true),
    ("fsname=a\\,b,subtype=x", |r| {
        r.mount.fsname == "a,b" && r.mount.subtype == "x"
    }),
    ("kernel_cache,big_writes,nonempty", |_| true),
];

const DEFAULT_FLAGS: MsFlags = MsFlags::MS_NODEV.union(MsFlags::MS_NOATIME);

#[test]
fn a_mount_of_a_container_sends_writes_at_once() {
    assert!(!with("ro").mount.writeback);
}

#[test]
fn honoured() {
    for (options, check) in HONOURED {
        let got = with(options);
        assert!(check(&got), "{options}: {got:?}");
        assert_eq!(got.warnings, [""; 0], "{options}");
    }
}

#[test]
fn mount_flags() {
    use MsFlags as M;
    let base = DEFAULT_FLAGS;
    for (options, want) in [
        ("", base),
        ("ro", base | M::MS_RDONLY),
        ("ro,rw", base),
        ("nosuid", base | M::MS_NOSUID),
        ("nosuid,suid", base),
        ("dev", M::MS_NOATIME),
        ("dev,nodev", base),
        ("noexec", base | M::MS_NOEXEC),
        ("noexec,exec", base),
        ("sync", base | M::MS_SYNCHRONOUS),
        ("sync,async", base),
        ("dirsync", base | M::MS_DIRSYNC),
        ("atime", M::MS_NODEV),
        ("atime,noatime", base),
        ("nodiratime", base | M::MS_NODIRATIME),
        ("nodiratime,diratime", base),
        ("relatime", M::MS_NODEV | M::MS_RELATIME),
        ("relatime,norelatime", M::MS_NODEV),
        ("strictatime", M::MS_NODEV | M::MS_STRICTATIME),
        ("strictatime,nostrictatime", M::MS_NODEV),
        ("strictatime,noatime", base),
        ("silent", base | M::MS_SILENT),
        ("silent,loud", base),
        ("ro,nosuid,noexec,sync,defaults", M::MS_NOATIME),
    ] {
        let got = with(options);
        assert_eq!(got.mount.flags, want, "{options}");
        assert_eq!(got.warnings, [""; 0], "{options}");
    }
}

#[test]
fn refused() {
    for (options, why) in [
        ("index=on", "hard links"),
        ("index", "hard links"),
        ("nfs_export=on", "index"),
        ("verity=require", "none of off"),
        ("plugins=/x.so", "plugins"),
        ("datadir+=/d", "data-only"),
        ("lowerdir=//plugin//opaque", "plugins"),
        ("lowerdir+=//plugin//opaque", "plugins"),
        ("redirect_dir=nofollow", "followed"),
        ("redirect_dir=maybe", "none of on, follow, off"),
        ("redirect_dir", "needs a value"),
        ("metacopy=maybe", "neither on"),
        ("xino=2", "none of on, auto, off"),
        ("io=direct", "none of cached, passthrough"),
        ("io_uring=maybe", "none of auto, on, off"),
        ("timeout=soon", "seconds"),
        ("timeout=-1", "seconds"),
        ("timeout", "needs a value"),
        ("fsync=2", "neither on"),
        ("squash_to_uid=root", "no number"),
        ("squash_to_gid=4294967296", "no number that fits"),
        ("xattr_permissions=3", "none of 0, 1, 2"),
        ("uidmapping=0:1", "triples"),
        ("gidmapping=a:b:c", "no number"),
        ("max_write=1", "less than 4096"),
        ("max_write=lots", "no number"),
        ("max_threads=0", "not between"),
        ("ro=1", "takes no value"),
        ("allow_other=1", "takes no value"),
        ("fsname", "needs a value"),
        ("ino32_t", "32 bits"),
        ("mand", "mandatory"),
        ("bind", "mount --bind"),
        ("fd=3", "opened by the program"),
    ] {
        let got = refusal(options);
        assert!(got.contains(why), "{options}: {got}");
        let name = options.split(['=', ',']).next().unwrap();
        assert!(got.starts_with(&format!("option {name}")), "{got}");
    }
}

#[test]
fn tolerated() {
    for (options, warnings) in [
        ("xyzzy", 1),
        ("xyzzy=1,plugh", 2),
        ("=x", 1),
        ("context=\"a:b:c1,c2\"", 1),
        ("context=a:b:c1,c2", 2), // without quotes, the comma ends it
        ("private", 1),
        ("rslave", 1),
        ("splice_read,splice_write,splice_move", 3),
        ("lazytime", 1),
        ("auto_cache,clone_fd,max_idle_threads=3", 3),
        ("_netdev,noauto,nofail,user,users,comment=x", 6),
        ("x-systemd.automount,x-foo=1,X-bar", 3),
        ("fast_ino=1,fast_ino_check=1", 2),
        ("max_write=16777216", 1),
        ("metacopy=on,userxattr", 1),
        ("metacopy=off,userxattr", 0),
    ] {
        let got = with(options);
        assert_eq!(
            got.warnings.len(),
            warnings,
            "{options}: {:?}",
            got.warnings
        );
    }
    // ... and nothing else comes of them
    let (plain, got) = (with(""), with("xyzzy,lazytime,private,splice_read,x-y"));
    assert_eq!(got.mount, plain.mount);
    assert_eq!(format!("{:?}", got.config), format!("{:?}", plain.config));
}

#[test]
fn the_last_of_two_counts() {
    for (options, name) in [
        ("timeout=1,timeout=2", "timeout"),
        ("uidmapping=0:9:1,uidmapping=0:1:1", "uidmapping"),
    ] {
        let got = with(options);
        assert_eq!(got.warnings.len(), 1, "{:?}", got.warnings);
        assert!(got.warnings[0].contains(name), "{:?}", got.warnings);
    }
    assert_eq!(with("timeout=1,timeout=2").mount.timeout.as_secs(), 2);
    let got = request(&["-o", "lowerdir=/a:/b,lowerdir=/c", "/m"]);
    assert_eq!(got.config.lowers, [PathBuf::from("/c")]);
    assert_eq!(got.warnings.len(), 1);
    assert_eq!(with("ro,ro,volatile,volatile").warnings, [""; 0]);
}

#[test]
fn odd_but_clear_values_are_taken_with_a_warning() {
    let got = request(&["-o", "lowerdir=:/a:/b:", "/m"]);
    assert_eq!(got.config.lowers, ["/a", "/b"].map(PathBuf::from));
    assert_eq!(got.warnings.len(), 1);
    let got = request(&["-o", "lowerdir=/a,workdir=/w", "/m"]);
    assert!(got.config.upper.is_none());
    assert_eq!(got.warnings.len(), 1);
}
