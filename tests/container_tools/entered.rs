//! A mount of an image is a root like any other: for what enters a directory.

use crate::live::{VELLUM, may_mount, skip};
use crate::room::{Room, USER, context};
use crate::running::find;
use std::fs;
use std::os::unix::fs::symlink;

/// A room with an image in a store, mounted at `mnt` as the container `work`.
fn room(packages: &[&str]) -> Option<Room> {
    if !may_mount() {
        return None;
    }
    for program in ["busybox", "runc", "catatonit", "ip"] {
        if find(program).is_none() {
            skip(&format!("no {program}; 'scripts/deps.sh test' installs it"));
            return None;
        }
    }
    let mut room = Room::new();
    if !packages.is_empty() && !room.unpack(packages) {
        return None;
    }
    let context = context(&room);
    fs::create_dir(room.at("mnt")).unwrap();
    vellum(&room, &["import", &format!("{context}/root.tar"), "bb:1"]);
    vellum(
        &room,
        &["mount", "--name", "work", "bb:1", &room.text("mnt")],
    );
    // systemd-nspawn enters nothing without
    fs::write(room.at("os-release"), "ID=test\n").unwrap();
    room.root(&["cp", "os-release", "mnt/etc/os-release"]);
    Some(room)
}

fn vellum(room: &Room, args: &[&str]) -> String {
    let store = format!("VELLUM_ROOT={}", room.text("store"));
    room.root(&[&["env", &store, VELLUM], args].concat())
}

/// What each does inside: reads, changes a layer's file, makes and removes.
fn lines(by: &str) -> String {
    format!(
        "cat /data/file; echo {by} >>/many/{by}; rm /many/1; mv /many/2 /many/1; mv /many/1 /many/2; echo 1 >/many/1
         mkdir -m 2750 /srv-{by}; chown 33:34 /srv-{by}; stat -c '%u:%g' /srv-{by}; id -u"
    )
}

#[test]
fn chroot_unshare_bubblewrap_nspawn_and_runc_enter_a_mount() {
    let packages = ["bubblewrap", "systemd-container", "libsystemd-shared"];
    let Some(room) = room(&packages) else {
        return;
    };
    let mnt = room.text("mnt");
    let said = "file\n33:34\n0\n";
    let enter = |by: &str, command: &[&str]| {
        let line = lines(by);
        let got = room.root(&[command, &["/bin/sh", "-euc", &line]].concat());
        assert_eq!(got, said, "{by}");
    };
    enter("chroot", &["chroot", &mnt]);
    let unshare = ["unshare", "--mount", "--pid", "--fork", "--root", &mnt];
    enter("unshare", &unshare);
    let bwrap = [
        "bwrap", "--bind", &mnt, "/", "--proc", "/proc", "--dev", "/dev",
    ];
    enter(
        "bwrap",
        &[&bwrap[..], &["--unshare-pid", "--unshare-uts"]].concat(),
    );
    let nspawn = [
        "systemd-nspawn",
        "-q",
        "-D",
        &mnt,
        "--register=no",
        "--keep-unit",
        "--pipe",
    ];
    enter("nspawn", &nspawn);

    // runc, with a bundle made by hand
    room.root(&["sh", "-c", "mkdir bundle; cd bundle; runc spec"]);
    let config = fs::read_to_string(room.at("bundle/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["root"] = serde_json::json!({ "path": mnt });
    config["process"]["terminal"] = false.into();
    for set in ["bounding", "effective", "permitted"] {
        let all = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID"];
        config["process"]["capabilities"][set] = serde_json::json!(all);
    }
    config["process"]["args"] = serde_json::json!(["sh", "-euc", lines("runc")]);
    let group = room.dir().file_name().unwrap().to_str().unwrap();
    config["linux"]["cgroupsPath"] = serde_json::json!(format!("/{group}/c"));
    fs::write(room.at("bundle/config.json"), config.to_string()).unwrap();
    let runc = [
        "runc",
        "--root",
        &room.text("runc"),
        "run",
        "-b",
        &room.text("bundle"),
        "byhand",
    ];
    assert_eq!(room.root(&runc), said);

    // a user who is not root, by bubblewrap, on root's mount
    let line = "id -u; touch /tmp/mine; stat -c %u /tmp/mine; ! touch /data/no 2>/dev/null";
    let command = [&bwrap[..], &["--unshare-all", "/bin/sh", "-euc", line]].concat();
    let out = room.output(true, &command);
    assert!(out.status.success(), "{}", crate::live::text(&out));
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        format!("{USER}\n{USER}\n")
    );

    let diff = vellum(&room, &["diff", "work"]);
    for by in ["chroot", "unshare", "bwrap", "nspawn", "runc"] {
        assert!(diff.contains(&format!("A /many/{by}\n")), "{by}: {diff}");
        assert!(diff.contains(&format!("A /srv-{by}\n")), "{by}: {diff}");
    }
    vellum(&room, &["umount", "work"]);
    vellum(&room, &["commit", "work", "bb:2"]);
    vellum(&room, &["mount", "--read-only", "bb:2", &mnt]);
    let many = room.root(&[
        "sh",
        "-c",
        "cat mnt/many/chroot mnt/many/runc mnt/many/2; stat -c %a mnt/srv-nspawn",
    ]);
    assert_eq!(many, "chroot\nrunc\n2\n2750\n");
    room.root(&["umount", "mnt"]);
}

#[test]
fn a_line_of_a_mount_table_of_ones_own_mounts() {
    let Some(room) = room(&[]) else {
        return;
    };
    // the helper of mount(8), where `make install HELPER=1` puts it
    fs::create_dir_all(room.at("sbin/work")).unwrap();
    fs::create_dir(room.at("sbin/upper")).unwrap();
    fs::create_dir_all(room.at("stack/low/etc")).unwrap();
    for name in ["stack/upper", "stack/work", "stack/mnt"] {
        fs::create_dir(room.at(name)).unwrap();
    }
    fs::write(room.at("stack/low/etc/name"), "low\n").unwrap();
    symlink(VELLUM, room.at("sbin/upper/mount.fuse.vellum")).unwrap();
    let d = room.text("stack");
    let table = format!(
        "overlay {d}/mnt fuse.vellum lowerdir={d}/low,upperdir={d}/upper,workdir={d}/work,noexec 0 0\n"
    );
    fs::write(room.at("table"), table).unwrap();
    let line = r#"
        sbin=$(readlink -f /sbin)
        mount -t overlay overlay -o "lowerdir=$sbin,upperdir=$1/sbin/upper,workdir=$1/sbin/work" "$sbin"
        for round in 1 2 3; do
            mount -T "$1/table" "$1/stack/mnt"
            cat "$1/stack/mnt/etc/name"; echo "round $round" >"$1/stack/mnt/etc/name"
            grep "$1/stack/mnt fuse.vellum" /proc/mounts | grep -c noexec
            umount "$1/stack/mnt"
        done
        mount -T "$1/table" -a; mountpoint -q "$1/stack/mnt"; umount "$1/stack/mnt""#;
    let said = room.root(&["sh", "-euc", line, "sh", room.dir().to_str().unwrap()]);
    assert_eq!(said, "low\n1\nround 1\n1\nround 2\n1\n");
    assert_eq!(
        fs::read(room.at("stack/upper/etc/name")).unwrap(),
        b"round 3\n"
    );
    assert_eq!(fs::read(room.at("stack/low/etc/name")).unwrap(), b"low\n");
}
