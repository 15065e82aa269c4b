//! mount(8) and its helper: a mount by its type in the mount table, and a remount.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod live;

use live::{Stack, may_mount, run, sh, text};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The flags of the mount on `mnt`, and its type and source.
fn entry(mnt: &Path) -> (Vec<String>, String) {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = table
        .lines()
        .find(|l| l.split(' ').nth(4) == mnt.to_str())
        .unwrap();
    let flags = line.split(' ').nth(5).unwrap();
    let (_, after) = line.split_once(" - ").unwrap();
    let mut after = after.split(' ');
    let kind = format!("{} {}", after.next().unwrap(), after.next().unwrap());
    (flags.split(',').map(str::to_owned).collect(), kind)
}

/// `vellum SOURCE MNT -o OPTIONS`, as mount.fuse3 runs it.
fn as_helper(mnt: &Path, options: &str) -> Output {
    Command::new(live::VELLUM)
        .arg("vellum")
        .arg(mnt)
        .args(["-o", options])
        .output()
        .unwrap()
}

#[test]
fn a_remount_changes_the_flags_it_names() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    s.mount(&["-o", "nodev,nosuid,noatime"]);
    let has = |word: &str| entry(&s.mnt).0.iter().any(|f| f == word);
    let file = s.mnt.join("f");
    fs::write(&file, "x").unwrap();
    let out = as_helper(&s.mnt, "remount,ro,suid,nosymfollow");
    assert!(out.status.success(), "{}", text(&out));
    assert_eq!(fs::write(&file, "y").unwrap_err().raw_os_error(), Some(30));
    assert!(has("ro") && has("nodev") && has("noatime") && has("nosymfollow") && !has("nosuid"));
    let out = as_helper(&s.mnt, "remount,rw,relatime");
    assert!(out.status.success(), "{}", text(&out));
    fs::write(&file, "z").unwrap();
    assert!(has("rw") && has("nodev") && has("relatime") && has("nosymfollow") && !has("noatime"));
    // the mount is the one that was there
    assert_eq!(s.mounts(), 1);
    assert_eq!(fs::read(s.upper.join("f")).unwrap(), b"z");
}

#[test]
fn nothing_but_a_fuse_mount_is_remounted() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    run(Command::new("mount")
        .args(["-t", "tmpfs", "tmpfs"])
        .arg(&s.mnt));
    let out = as_helper(&s.mnt, "remount,ro");
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    assert!(text(&out).contains("is not a FUSE mount"), "{}", text(&out));
    fs::write(s.mnt.join("f"), "still writable").unwrap();
    run(Command::new("umount").arg(&s.mnt));
    let out = as_helper(&s.mnt, "remount,ro");
    assert!(text(&out).contains("is not a FUSE mount"), "{}", text(&out));
    // a directory in a mount of ours is no mount
    s.mount(&[]);
    fs::create_dir(s.mnt.join("d")).unwrap();
    let out = as_helper(&s.mnt.join("d"), "remount,ro");
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    fs::write(s.mnt.join("f"), "still writable").unwrap();
    // and `vellum mount` mounts
    let out = s.command(&["-o", "remount,ro"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", text(&out));
}

#[test]
fn the_line_of_mount_fuse3_mounts() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    s.lower(0, "f", "low");
    let at = |p: &Path| p.display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},dev,suid",
        at(&s.lowers[0]),
        at(&s.upper),
        at(&s.work)
    );
    let out = as_helper(&s.mnt, &options);
    assert!(out.status.success(), "{}", text(&out));
    assert_eq!(fs::read(s.mnt.join("f")).unwrap(), b"low");
    assert_eq!(entry(&s.mnt).1, "fuse.vellum vellum");
}

/// Mounts and remounts by mount(8), which finds the program as `/usr/local/bin/vellum`, in a
/// mount namespace of its own, whose fstab has the mount.
const BY_MOUNT_8: &str = r#"
    exec unshare --mount --propagation private sh -euc '
        program=$1 dir=$2
        mount -t tmpfs tmpfs /usr/local/bin
        ln -s "$program" /usr/local/bin/vellum
        cd "$dir"
        : >upper/mark
        entry() { grep " $dir/mnt " /proc/self/mountinfo; }
        line="lowerdir=$dir/lower0,upperdir=$dir/upper,workdir=$dir/work"

        mount -t fuse.vellum stack "$dir/mnt" -o "$line,nodev"
        test -e mnt/mark
        entry | grep -q " - fuse.vellum stack "
        mount -o remount,ro "$dir/mnt"
        if touch mnt/no 2>/dev/null; then exit 3; fi
        entry | cut -d" " -f6 | grep -q "^ro,.*nodev"
        mount -o remount,rw "$dir/mnt"
        touch mnt/yes
        entry | cut -d" " -f6 | grep -q "^rw,.*nodev"
        umount "$dir/mnt"

        cp /etc/fstab "$dir/fstab"
        echo "stack $dir/mnt fuse.vellum $line,noexec,noauto 0 0" >>fstab
        mount --bind fstab /etc/fstab
        mount "$dir/mnt"
        test -e mnt/yes
        entry | cut -d" " -f6 | grep -q noexec
        mount -o remount,ro "$dir/mnt"
        if touch mnt/no 2>/dev/null; then exit 4; fi
        umount "$dir/mnt"
        echo fine
    ' sh "$1" "$2"
"#;

#[test]
fn mount_8_mounts_and_remounts() {
    if !may_mount() {
        return;
    }
    let s = Stack::new(1);
    let said = sh(BY_MOUNT_8, &[live::VELLUM.as_ref(), s.dir().as_os_str()]);
    assert_eq!(said, "fine\n");
}
