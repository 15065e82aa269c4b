//! Who owns what is made, and who may do what.

use crate::bed::{Bed, as_user, dir, file};
use crate::common::layers::Item;
use crate::common::mounts::Io;
use crate::common::posix;
use std::fs;

fn stack(io: Io) -> Bed {
    let layer = vec![
        Item::Dir {
            path: "sg",
            mode: 0o2777,
            uid: 500,
        },
        Item::Dir {
            path: "tmp",
            mode: 0o1777,
            uid: 0,
        },
        dir("open", 0o777),
        Item::Dir {
            path: "acl",
            mode: 0o777,
            uid: 0,
        },
        Item::Acl {
            path: "acl",
            default: true,
        },
        Item::File {
            path: "suid",
            len: 5,
            byte: b's',
            mode: 0o6777,
            uid: 0,
        },
        file("f"),
        Item::Symlink {
            path: "dangling",
            target: "nowhere",
        },
        Item::Symlink {
            path: "s",
            target: "f",
        },
        Item::Xattr {
            path: "f",
            name: "user.x",
            len: 4,
        },
    ];
    let mut bed = Bed::new(io, &[layer]);
    bed.sh("chmod 777 .");
    fs::set_permissions(
        bed.stack.plain(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    bed.remount();
    bed
}

/// Does the same as a user in the mount and in the plain directory.
fn same_as(bed: &Bed, uid: u32, script: &str) {
    let run = |dir: &std::path::Path| {
        let out = as_user(uid, dir, script);
        let text = |b: &[u8]| String::from_utf8_lossy(b).replace(dir.to_str().unwrap(), "");
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    assert_eq!(run(&bed.at("")), run(&bed.stack.plain()), "{script}");
    bed.compare();
}

fn umask_and_owner_at_creation(io: Io) {
    let mut bed = stack(io);
    for umask in ["000", "022", "027", "077"] {
        same_as(
            &bed,
            1000,
            &format!(
                "umask {umask}; cd open; echo x > f{umask}; mkdir d{umask}; mkfifo p{umask}; ln -s x l{umask}; touch f{umask}"
            ),
        );
    }
    same_as(
        &bed,
        1000,
        "mkdir -m 4777 open/a; mkdir -m 1777 open/b; install -m 6755 /dev/null open/c; stat -c '%a %u %g' open/*",
    );
    bed.remount();
    bed.compare();
}

fn setgid_directories_pass_the_group_on(io: Io) {
    let mut bed = stack(io);
    same_as(
        &bed,
        1000,
        "cd sg; echo x > f; mkdir d; mkdir d/e; echo y > d/e/g; ln -s x l; mknod p p; mv ../open o 2>&1; stat -c '%a %g' * d/*",
    );
    bed.remount();
    bed.compare();
}

fn sticky_directories_protect(io: Io) {
    let bed = stack(io);
    same_as(&bed, 1000, "cd tmp; echo x > mine; mkdir d");
    same_as(
        &bed,
        2000,
        "cd tmp; rm -f mine; mv mine other; rmdir d; echo y > own; mv own mine",
    );
    same_as(&bed, 1000, "cd tmp; rm mine; rmdir d");
}

fn default_acls_are_inherited(io: Io) {
    let mut bed = stack(io);
    same_as(
        &bed,
        1000,
        "umask 077; cd acl; echo x > f; mkdir d; mkdir -m 700 d/e; echo y > d/e/g; mkfifo p; getfacl $(find . | sort)",
    );
    bed.same("setfacl -d -m u:7:rx open; mkdir open/n; echo x > open/f; setfacl -b acl; echo x > acl/none; getfacl $(find open acl | sort)");
    bed.remount();
    bed.compare();
}

fn writes_by_users_clear_setuid_and_setgid(io: Io) {
    for change in [
        "echo x >> suid",
        "truncate -s 2 suid",
        ": > suid",
        "fallocate -l 9000 suid",
        "printf x | dd of=suid conv=notrunc status=none",
    ] {
        let bed = stack(io);
        same_as(&bed, 1000, &format!("{change}; stat -c %a suid"));
    }
    let bed = stack(io);
    bed.same("chown 5:6 suid; stat -c %a suid; chmod 6777 suid; echo x >> suid; truncate -s 1 suid; stat -c %a suid");
}

fn capabilities_go_with_a_write(io: Io) {
    let bed = stack(io);
    for root in [bed.at(""), bed.stack.plain()] {
        let caps = [1u8, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        fs::copy("/bin/true", root.join("prog")).unwrap();
        posix::set_xattr(&root.join("prog"), b"security.capability", &caps, 0).unwrap();
    }
    bed.compare();
    bed.same("echo x >> prog; getfattr -d -m - prog");
}

fn devices_are_for_root(io: Io) {
    let bed = stack(io);
    same_as(
        &bed,
        1000,
        "mknod open/m c 1 3; mknod open/b b 7 0; ls open",
    );
    // here, and only here, a whiteout would take effect
    let made = as_user(1000, &bed.at(""), "mknod open/n c 0 0");
    assert!(
        String::from_utf8_lossy(&made.stderr).contains("Operation not permitted"),
        "{made:?}"
    );
    bed.same("mknod open/z c 1 5; head -c 3 open/z | od -c");
}

fn access_is_checked(io: Io) {
    let bed = stack(io);
    bed.same("chmod 700 open; chmod 600 f; chmod 755 .");
    same_as(
        &bed,
        1000,
        "cat f; ls open; echo x > f; chmod 777 f; chown 1000 f; rm -f f; mv f g; touch new; ln f h; setfattr -n user.y -v z f; touch -d 2001-01-01 f",
    );
}

/// rename(2) asks for the right to write in both directories, and in a directory that moves.
fn rename_asks_for_the_same_rights(io: Io) {
    let bed = stack(io);
    bed.same("mkdir -m 777 src dst; mkdir src/d src/e; chown 1000 src/e; chmod 755 src/d; echo x > src/f; chmod 755 dst");
    same_as(&bed, 1000, "mv src/f dst/f");
    bed.same("chmod 777 dst");
    same_as(
        &bed,
        1000,
        "mv src/d dst/d; mv src/e dst/e; mv src/f dst/f; ls -R src dst",
    );
}

fn attributes_of_a_symlink_are_its_own(io: Io) {
    let mut bed = stack(io);
    bed.same("getfattr -h -n user.x s; getfattr -n user.x s; setfattr -h -n trusted.l -v 1 dangling; getfattr -h -d -m - dangling s; chown -h 9:9 s dangling; setfattr -h -n user.no -v 1 s");
    bed.remount();
    bed.compare();
}

/// A file without an ACL has none; EOPNOTSUPP would make opens of others fail.
fn no_acl_is_enodata(io: Io) {
    let bed = stack(io);
    for name in ["system.posix_acl_access", "system.posix_acl_default"] {
        assert_eq!(
            posix::get_xattr(&bed.at("open"), name.as_bytes()),
            Err(libc::ENODATA)
        );
    }
    same_as(&bed, 1000, "cat f; ls -l open");
}

in_both_modes!(
    umask_and_owner_at_creation,
    setgid_directories_pass_the_group_on,
    sticky_directories_protect,
    default_acls_are_inherited,
    writes_by_users_clear_setuid_and_setgid,
    capabilities_go_with_a_write,
    devices_are_for_root,
    access_is_checked,
    rename_asks_for_the_same_rights,
    attributes_of_a_symlink_are_its_own,
    no_acl_is_enodata,
);
