//! Images that buildah built: loaded, they show what umoci unpacks and what podman mounts, entry by entry; saved
//! and loaded elsewhere they are the same.
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
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tools::{Containerd, Containers, by_layers_in_go, without_link_counts, without_trusted};

/// The image's beginning: an archive that is unpacked, and files that are copied.
const CONTAINERFILE: &str = "FROM scratch
LABEL made=by-hand
ADD base.tar /
COPY --chown=17:18 --chmod=4750 copied /opt/copied
COPY copied/. /opt/again/
ENV A=b
CMD [\"/bin/sh\"]
";

/// What the next layers do, each on the one before; [`change`] comes first.
const STEPS: &[&str] = &[
    "mv large links/; rm -r opt/again; mkdir opt/again; echo n >opt/again/n; mkdir -p many
     for i in $(seq 300); do echo $i >many/f$i; done; ln many/f1 many/g1; ln many/f1 opt/h1; ln many/f2 many/g2",
    "rm many/f1?; rm many/g1; printf X | dd of=links/large bs=1 seek=9 conv=notrunc status=none
     mv many some; mkdir many; echo again >many/f10; setfattr -n user.late -v 0x0001ff some/f3
     setcap cap_net_admin=ep some/f4; chown 77:78 some/f5; chmod 6711 some/f6; mkfifo some/fifo; mknod some/null c 1 3",
    "rm -r opt; ln -s some opt; mv some/f7 some/f8; rm -r etc; echo file >etc; touch -d '1999-12-31 23:59:59.5' etc
     truncate -s 5000000 some/holes; printf end >>some/holes",
];

fn inspect(bed: &Bed, root: &str, image: &str, oci: bool) -> Value {
    let mut args = vec!["inspect", "--root", root, image];
    if oci {
        args.push("--oci");
    }
    serde_json::from_str(&bed.vellum(&args)).unwrap()
}

fn mounted(bed: &Bed, image: &str) -> Shown {
    bed.mount(&["--read-only", image]);
    let shown = bed.shown();
    bed.umount();
    shown
}

/// Loads one image of the OCI layout `layout`, where it is called `tag`, and compares it with what umoci and
/// podman make of it; then its copies in other stores with it.
fn whole(bed: &Bed, layout: &str, tag: &str) {
    let image = format!("{layout}:{tag}");
    let name = format!("built:{tag}");
    bed.tool(
        "skopeo",
        &[
            "copy",
            "-q",
            &format!("oci:{image}"),
            &format!("oci-archive:{tag}.tar"),
        ],
    );
    bed.vellum(&["load", "-q", "--name", &name, &format!("{tag}.tar")]);
    let shown = mounted(bed, &name);
    same(&shown, &bed.umoci(&image));

    let podman = Containers::new(bed.at(&format!("podman-{tag}")));
    let said = podman.run("podman", &["load", "-q", "-i", &format!("{tag}.tar")]);
    let id = said.trim_end().rsplit(' ').next().unwrap();
    let mut by_podman = podman.podman_shows(id);
    let mut wanted = by_layers_in_go(&shown, &[]);
    without_link_counts(&mut by_podman);
    without_link_counts(&mut wanted);
    same(&by_podman, &wanted);

    let store = bed.at("store").display().to_string();
    for format in ["oci", "docker"] {
        let archive = format!("{tag}-{format}.tar");
        bed.vellum(&["save", "--format", format, "-o", &archive, &name]);
        let other = bed.at(&format!("{tag}-{format}")).display().to_string();
        bed.vellum(&["load", "-q", "--root", &other, &archive]);
        let (own, copy) = (
            inspect(bed, &store, &name, false),
            inspect(bed, &other, &name, false),
        );
        assert_eq!(copy[0]["Id"], own[0]["Id"], "{format}");
        assert_eq!(copy[0]["RootFS"], own[0]["RootFS"], "{format}");
        if format == "oci" {
            assert_eq!(
                inspect(bed, &other, &name, true),
                inspect(bed, &store, &name, true)
            );
        }
    }
}

/// Changes of every kind, spread over any tree whatever is in it.
const SPREAD: &str = r#"
    n=0
    files() { find . -xdev -type f -print0 | LC_ALL=C sort -z | sed -zn "$1p"; }
    files '7~31' | xargs -0r rm --
    files '11~37' | xargs -0r chmod u+s,g-r --
    files '13~41' | while IFS= read -r -d '' f; do echo more >>"$f"; done
    files '17~43' | xargs -0r setfattr -n user.spread -v 0x00ff --
    files '19~47' | while IFS= read -r -d '' f; do ln -- "$f" "linked.$((n += 1))"; done
    files '23~53' | xargs -0r chown -h 4242:4243 --
    find . -xdev -mindepth 2 -maxdepth 2 -type d -print0 | LC_ALL=C sort -z | sed -zn '1~3p' |
        while IFS= read -r -d '' d; do mv -- "$d" "${d%/*}/moved.$((n += 1))"; done
    find . -xdev -mindepth 2 -maxdepth 2 -type d -print0 | LC_ALL=C sort -z | sed -zn '2~5p' |
        while IFS= read -r -d '' d; do rm -r -- "$d"; mkdir -m 1750 -- "$d"; echo anew >"$d/anew"; done
    find . -xdev -type l -print0 | LC_ALL=C sort -z | sed -zn '3~29p' |
        while IFS= read -r -d '' l; do rm -- "$l"; mkdir -- "$l"; done
"#;

/// Changes an image that is loaded, commits and saves it: podman, containerd and umoci see what the container
/// shows.
fn changed(bed: &Bed, tag: &str) {
    let name = format!("built:{tag}");
    bed.mount(&["--name", tag, &name]);
    let script = format!("cd \"$1\"; {SPREAD}");
    live::run(
        Command::new("bash")
            .args(["-euc", &script, "bash"])
            .arg(bed.mnt()),
    );
    bed.umount();
    bed.vellum(&["commit", tag, "spread:new"]);
    bed.mount(&["--name", tag]);
    let shown = bed.shown();
    bed.umount();
    same(&mounted(bed, "spread:new"), &shown);
    same(&bed.umoci("store:new"), &shown);

    bed.vellum(&["save", "-o", "new.tar", "spread:new"]);
    let mut wanted = by_layers_in_go(&shown, &[]);
    without_link_counts(&mut wanted);
    let podman = Containers::new(bed.at("podman-new"));
    podman.run("podman", &["load", "-q", "-i", "new.tar"]);
    let mut by_podman = podman.podman_shows("spread:new");
    without_link_counts(&mut by_podman);
    same(&by_podman, &wanted);
    let containerd = Containerd::start(bed.at("containerd"));
    let names = containerd.import("new.tar");
    let mut by_containerd = containerd.shows(&names[0]);
    without_link_counts(&mut by_containerd);
    without_trusted(&mut wanted);
    same(&by_containerd, &wanted);
}

/// Builds it, with a layer for each step; the OCI layout `built` has it as `t`.
fn build(bed: &Bed) {
    let buildah = Containers::new(bed.at("buildah"));
    sh(
        "cd \"$1\"; mkdir -m 700 copied copied/sub; echo c >copied/file; ln copied/file copied/sub/twice
         ln -s file copied/link; setfattr -n user.c -v d copied/file; touch -d @77 copied/file",
        &[bed.at("").as_os_str()],
    );
    std::fs::write(bed.at("Containerfile"), CONTAINERFILE).unwrap();
    buildah.run("buildah", &["bud", "-q", "--layers", "-t", "step", "."]);
    let container = buildah.run("buildah", &["from", "step"]);
    let container = container.trim_end();
    let at = buildah.run("buildah", &["mount", container]);
    let at = Path::new(at.trim_end());
    change(at);
    buildah.run("buildah", &["commit", "-q", container, "step"]);
    buildah.run("buildah", &["rm", container]);
    for step in STEPS {
        let container = buildah.run("buildah", &["from", "step"]);
        let container = container.trim_end();
        let at = buildah.run("buildah", &["mount", container]);
        sh(&format!("cd \"$1\"; {step}"), &[at.trim_end().as_ref()]);
        buildah.run("buildah", &["commit", "-q", container, "step"]);
        buildah.run("buildah", &["rm", container]);
    }
    buildah.run("buildah", &["push", "-q", "step", "oci:built:t"]);
}

#[test]
fn an_image_that_buildah_built() {
    if !may_mount() || !have(&["buildah", "podman", "skopeo", "umoci"]) {
        return;
    }
    let bed = Bed::new();
    build(&bed);
    whole(&bed, "built", "t");
    let all: Value = serde_json::from_str(&bed.vellum(&["inspect", "built:t"])).unwrap();
    assert!(
        all[0]["RootFS"]["Layers"].as_array().unwrap().len() >= 5,
        "{all}"
    );
    assert_eq!(all[0]["Config"]["Labels"]["made"], "by-hand");
    if have(&["containerd", "ctr"]) {
        changed(&bed, "t");
    }
}

/// `VELLUM_TEST_LAYOUT=DIR`: all images of an OCI layout, as large as they are.
#[test]
#[ignore = "for images of one's own"]
fn images_of_a_layout() {
    let Ok(layout) = std::env::var("VELLUM_TEST_LAYOUT") else {
        panic!("VELLUM_TEST_LAYOUT has to name an OCI layout");
    };
    assert!(may_mount() && have(&["podman", "skopeo", "umoci", "ctr"]));
    let index = std::fs::read(Path::new(&layout).join("index.json")).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    for image in index["manifests"].as_array().unwrap() {
        let tag = &image["annotations"]["org.opencontainers.image.ref.name"];
        let bed = Bed::new();
        whole(&bed, &layout, tag.as_str().unwrap());
        changed(&bed, tag.as_str().unwrap());
    }
}
