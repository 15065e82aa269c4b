//! Images made of containers: what `--change` does to the configuration, that the documents stay of one
//! family, and that a mount that fails takes nothing with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;
mod live;
mod rich;

use live::{may_mount, wait_for};
use rich::{Bed, have};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;
use vellum::image::digest::Digest;

fn inspect(bed: &Bed, image: &str) -> Value {
    let all: Value = serde_json::from_str(&bed.vellum(&["inspect", image])).unwrap();
    all[0]["Config"].clone()
}

/// The image in Docker's words: the same layers, and a configuration with what OCI's has no room for.
fn dockers(bed: &Bed) {
    let blobs = bed.at("layout/blobs/sha256");
    let read = |digest: &Value| -> Value {
        let name = digest.as_str().unwrap().trim_start_matches("sha256:");
        serde_json::from_slice(&fs::read(blobs.join(name)).unwrap()).unwrap()
    };
    let write = |media_type: &str, value: &Value| -> Value {
        let bytes = value.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        fs::write(blobs.join(digest.hex()), &bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let index: Value =
        serde_json::from_slice(&fs::read(bed.at("layout/index.json")).unwrap()).unwrap();
    let mut manifest = read(&index["manifests"][0]["digest"]);
    let mut config = read(&manifest["config"]["digest"]);
    config["config"]["Healthcheck"] =
        json!({"Test": ["CMD", "true"], "Interval": 5_000_000_000_i64});
    config["config"]["OnBuild"] = json!(["RUN first"]);
    config["docker_version"] = json!("28.0.0");
    manifest["config"] = write("application/vnd.docker.container.image.v1+json", &config);
    let own = "application/vnd.docker.distribution.manifest.v2+json";
    manifest["mediaType"] = json!(own);
    for layer in manifest["layers"].as_array_mut().unwrap() {
        let gzip = layer["mediaType"].as_str().unwrap().ends_with("gzip");
        layer["mediaType"] = match gzip {
            true => json!("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            false => json!("application/vnd.docker.image.rootfs.diff.tar"),
        };
    }
    let mut manifest = write(own, &manifest);
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "docker" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(bed.at("layout/index.json"), index.to_string()).unwrap();
    bed.vellum(&["load", "-q", "--name", "docker:1", "layout"]);
}

/// A document of the store, by the name of its image, and its descriptor.
fn manifest(bed: &Bed, name: &str) -> (Value, Value, Value) {
    let read =
        |path: &str| -> Value { serde_json::from_slice(&fs::read(bed.at(path)).unwrap()).unwrap() };
    let blob = |of: &Value| {
        let name = of["digest"].as_str().unwrap().trim_start_matches("sha256:");
        read(&format!("store/blobs/sha256/{name}"))
    };
    let index = read("store/index.json");
    let all = index["manifests"].as_array().unwrap();
    let named = |one: &&Value| {
        let full = one["annotations"]["io.containerd.image.name"].as_str();
        full.is_some_and(|full| full.ends_with(name))
    };
    let entry = all.iter().find(named).unwrap().clone();
    let manifest = blob(&entry);
    let config = blob(&manifest["config"]);
    (entry, manifest, config)
}

#[test]
fn a_commit_over_an_image_of_dockers_stays_dockers() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    dockers(&bed);
    bed.mount(&["--name", "web", "docker:1"]);
    fs::write(bed.mnt().join("new"), "new").unwrap();
    bed.umount();
    bed.vellum(&[
        "commit",
        "-c",
        "HEALTHCHECK --retries=2 CMD test -e /new",
        "-c",
        "ONBUILD RUN second",
        "web",
        "mine/docker:2",
    ]);
    let (entry, manifest, config) = manifest(&bed, "mine/docker:2");
    let docker = "application/vnd.docker.";
    let mut types = vec![&entry["mediaType"], &manifest["mediaType"]];
    types.push(&manifest["config"]["mediaType"]);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 4);
    types.extend(layers.iter().map(|l| &l["mediaType"]));
    for one in types {
        assert!(one.as_str().unwrap().starts_with(docker), "{manifest:#}");
    }
    // what the types of OCI have no room for is kept, and changed
    let run = &config["config"];
    assert_eq!(run["OnBuild"], json!(["RUN first", "RUN second"]));
    assert_eq!(
        run["Healthcheck"],
        json!({"Test": ["CMD-SHELL", "test -e /new"], "Retries": 2})
    );
    assert_eq!(config["docker_version"], "28.0.0");
    bed.vellum(&["fsck"]);
    if have(&["skopeo"]) {
        bed.vellum(&["save", "-o", "saved.tar", "mine/docker:2"]);
        bed.tool("skopeo", &["inspect", "oci-archive:saved.tar"]);
    }
}

#[test]
fn instructions_change_how_an_image_is_run() {
    if !may_mount() {
        return;
    }
    let bed = Bed::new();
    bed.mount(&["--name", "web", "rich:1"]);
    bed.umount();
    let said = bed.command(&[
        "commit",
        "-a",
        "A. Uthor",
        "-m",
        "why",
        "--change",
        "ENV A=1 B='x y'",
        "-c",
        "env A=2 C=$A$B\nWORKDIR /srv",
        "-c",
        "WORKDIR www",
        "-c",
        "ENTRYPOINT [\"/bin/serve\", \"$A\"]",
        "-c",
        "EXPOSE 80 53/udp",
        "-c",
        "LABEL by=\"me\"",
        "-c",
        "USER 7:8",
        "-c",
        "VOLUME /data",
        "-c",
        "STOPSIGNAL SIGQUIT",
        "-c",
        "HEALTHCHECK CMD true",
        "web",
        "mine/web:w1",
    ]);
    let out = { said }.output().unwrap();
    let said = live::text(&out);
    assert!(out.status.success(), "{said}");
    assert!(said.contains("HEALTHCHECK is ignored"), "{said}");
    let want = json!({
        "Env": ["A=2", "B=x y", "C=1x y"], "WorkingDir": "/srv/www",
        "Entrypoint": ["/bin/serve", "$A"], "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Labels": {"by": "me"}, "User": "7:8", "Volumes": {"/data": {}}, "StopSignal": "SIGQUIT",
    });
    // the image's Cmd is gone with its entry point
    let (_, _, config) = manifest(&bed, "mine/web:w1");
    assert_eq!(config["config"], want);
    assert_eq!(config["author"], "A. Uthor");
    assert_eq!(config["history"][0]["comment"], "why");
    if have(&["umoci"]) {
        bed.tool("umoci", &["stat", "--image", "store:w1"]);
    }

    bed.vellum(&["export", "-o", "flat.tar", "web"]);
    let change = ["-c", "CMD serve $A", "-c", "ENV A=1"];
    bed.vellum(&[&["import"], &change[..], &["flat.tar", "flat:1"]].concat());
    let config = inspect(&bed, "flat:1");
    assert_eq!(config["Cmd"], json!(["/bin/sh", "-c", "serve $A"]));
    assert_eq!(config["Env"], json!(["A=1"]));

    // by digests: in words, how long ago changes
    let before = bed.vellum(&["images", "--quiet", "--no-trunc"]);
    for (change, code, why) in [
        ("RUN x", 2, "RUN is for builds alone"),
        ("ENV a", 2, "a value has to follow"),
        ("NONSENSE", 2, "no instruction"),
        ("EXPOSE x", 1, "a port from 1"),
        ("USER ${x:?no user}", 1, "x: no user"),
    ] {
        for command in [["commit", "web"], ["import", "flat.tar"]] {
            let args = [command[0], "-c", change, command[1], "bad:1"];
            let said = bed.fails(&args, code);
            assert!(said.contains(why), "{args:?}: {said}");
        }
    }
    let after = bed.vellum(&["images", "--quiet", "--no-trunc"]);
    assert_eq!(after, before);
}

/// The requests' own channel fails: what was changed by then is in the container, which stays.
#[test]
fn a_mount_that_fails_after_use_keeps_what_was_changed() {
    if !may_mount() || !have(&["strace"]) {
        return;
    }
    let bed = Bed::new();
    let mnt = bed.mnt().to_str().unwrap().to_owned();
    let mut server = bed
        .command(&["mount", "--foreground", "--name", "web", "rich:1", &mnt])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let there = || bed.mounts() == 1;
    assert!(wait_for(Duration::from_secs(20), there), "no mount");
    fs::write(bed.mnt().join("kept"), "kept").unwrap();
    rustix::fs::syncfs(fs::File::open(bed.mnt()).unwrap()).unwrap();
    let pid = server.id().to_string();
    let inject = ["-e", "trace=read", "-e", "inject=read:error=EBADF"];
    let mut strace = Command::new("timeout")
        .args(["20", "strace", "-f", "-qq", "-o", "/dev/null", "-p", &pid])
        .args(inject)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut ended = None;
    let gone = wait_for(Duration::from_secs(15), || {
        ended = server.try_wait().unwrap();
        ended.is_some()
    });
    strace.wait().unwrap();
    assert!(gone, "it goes on without its channel");
    let out = server.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(ended.unwrap().code(), Some(1), "{said}");
    assert!(said.contains("serving the mount"), "{said}");
    if bed.mounts() > 0 {
        bed.tool("umount", &["-l", &mnt]);
    }
    assert_eq!(bed.vellum(&["diff", "web"]), "A /kept\n");
    bed.mount(&["--name", "web"]);
    assert_eq!(fs::read_to_string(bed.mnt().join("kept")).unwrap(), "kept");
    bed.umount();
}
