//! What is committed and saved, in the hands of others: skopeo, podman, buildah, containerd and umoci
//! take both forms of archive, and show the tree that a mount shows, entry by entry.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod live;
mod rich;
mod tools;

use live::{may_mount, sh};
use rich::{Bed, Shown, change, have, same};
use tools::{Containerd, Containers, by_layers_in_go, without_trusted};

/// An image that was mounted, changed, committed and saved in both forms, `oci.tar` and `docker.tar`.
struct Saved {
    bed: Bed,
    shown: Shown,
}

/// Beyond the usual: names that come back as something else, a large file changed in a byte, a moved directory
/// with a new one in its place, a capability and a mode that come up with a file.
const MORE: &str = r#"
    mv opaque nested; mkdir -m 2770 opaque; chown 9:10 opaque; echo n >opaque/kept; mv nested opaque/nested
    rm -r acl/dir; mkdir -p acl/dir/deep; echo d >acl/dir/deep/f; setfacl -m u:5:r acl/dir/deep
    printf X | dd of=large bs=1 seek=70000 conv=notrunc status=none
    cp bin/ping bin/pong; setcap cap_net_bind_service,cap_chown=ep bin/pong; chown 11:12 bin/ping
    setcap cap_net_raw=ep bin/ping
    ln bin/pong bin/peng; ln dev/disk dev/disk2; ln long-target long-target2
    mknod -m 600 dev/tty b 4095 1048575; chown 2000000000:2000000001 dev/tty
    for i in $(seq 40); do setfattr -n user.many$i -v "$(printf %030d $i)" great; done
    rm etc/passwd.2; mkdir etc/passwd.2
    find . -depth -newermt 2025-01-01 -exec touch -h -d '2024-05-06 07:08:09.101112' {} +
"#;

impl Saved {
    fn new() -> Saved {
        let bed = Bed::without_links_to_below();
        bed.mount(&["--name", "web", "rich:1"]);
        change(bed.mnt());
        sh(
            &format!("cd \"$1\"; touch great; {MORE}"),
            &[bed.mnt().as_os_str()],
        );
        bed.umount();
        bed.vellum(&["commit", "web", "mine:2"]);
        bed.vellum(&["save", "-o", "oci.tar", "mine:2"]);
        bed.vellum(&["save", "--format", "docker", "-o", "docker.tar", "mine:2"]);
        bed.mount(&["--read-only", "mine:2"]);
        let shown = bed.shown();
        bed.umount();
        Saved { bed, shown }
    }
}

/// A name that a layer above hides; see [`by_layers_in_go`].
const HIDDEN: &[&str] = &["links/two"];

#[test]
fn umoci_and_skopeo_see_what_was_saved() {
    if !may_mount() || !have(&["skopeo", "umoci"]) {
        return;
    }
    let saved = Saved::new();
    let bed = &saved.bed;
    for (source, copy) in [
        ("oci-archive:oci.tar:2", "oci:one:2"),
        ("docker-archive:docker.tar", "oci:two:2"),
    ] {
        bed.tool("skopeo", &["copy", "-q", source, copy]);
        same(&bed.umoci(&copy["oci:".len()..]), &saved.shown);
    }
    same(&bed.umoci("store:2"), &saved.shown);
}

#[test]
fn podman_sees_what_was_saved() {
    if !may_mount() || !have(&["podman"]) {
        return;
    }
    let saved = Saved::new();
    let wanted = by_layers_in_go(&saved.shown, HIDDEN);
    for archive in ["oci.tar", "docker.tar"] {
        let podman = Containers::new(saved.bed.at(&format!("podman-{archive}")));
        podman.run("podman", &["load", "-q", "-i", archive]);
        same(&podman.podman_shows("mine:2"), &wanted);
    }
}

#[test]
fn buildah_sees_what_was_saved() {
    if !may_mount() || !have(&["buildah"]) {
        return;
    }
    let saved = Saved::new();
    let wanted = by_layers_in_go(&saved.shown, HIDDEN);
    for archive in ["oci-archive:oci.tar:2", "docker-archive:docker.tar"] {
        let place = archive.split(':').next().unwrap();
        let buildah = Containers::new(saved.bed.at(place));
        same(&buildah.buildah_shows(archive), &wanted);
    }
}

#[test]
fn containerd_sees_what_was_saved() {
    if !may_mount() || !have(&["containerd", "ctr"]) {
        return;
    }
    let saved = Saved::new();
    let mut wanted = by_layers_in_go(&saved.shown, HIDDEN);
    assert!(wanted["attrs-dir"].contains("[trusted.t=74]"));
    without_trusted(&mut wanted);
    for archive in ["oci.tar", "docker.tar"] {
        let containerd = Containerd::start(saved.bed.at(&archive.replace('.', "-")));
        let names = containerd.import(archive);
        assert_eq!(names, ["docker.io/library/mine:2"], "{archive}");
        same(&containerd.shows(&names[0]), &wanted);
    }
}
