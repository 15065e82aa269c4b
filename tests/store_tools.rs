//! The store and other programs: skopeo and umoci read it in place and write what it loads; several
//! processes work with it at once; the commands say what docker's say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;

use live::{VELLUM, text};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use vellum::image::store::Store;

struct Bed {
    dir: tempfile::TempDir,
}

/// True if all are on the PATH; else the test is skipped.
fn have(tools: &[&str]) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    for tool in tools {
        if !std::env::split_paths(&paths).any(|dir| dir.join(tool).is_file()) {
            live::skip(&format!("no {tool}; 'scripts/deps.sh test' installs it"));
            return false;
        }
    }
    true
}

fn good(command: &mut Command) -> String {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{command:?}: {}", text(&out));
    String::from_utf8(out.stdout).unwrap()
}

impl Bed {
    fn new() -> Bed {
        Bed {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(VELLUM);
        command
            .args(args)
            .env("VELLUM_ROOT", self.path("store"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn vellum(&self, args: &[&str]) -> String {
        good(&mut self.command(args))
    }

    fn fails(&self, args: &[&str], code: i32) -> String {
        let out: Output = self.command(args).output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{}", text(&out));
        String::from_utf8(out.stderr).unwrap()
    }

    fn tool(&self, program: &str, args: &[&str]) -> String {
        good(
            Command::new(program)
                .args(args)
                .current_dir(self.dir.path()),
        )
    }

    /// A docker archive of one image, without any tool. Its layer has `content` in it.
    fn archive(&self, file: &str, name: &str, content: &str) -> PathBuf {
        let add_to = |tar: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, data).unwrap();
        };
        let mut layer = tar::Builder::new(Vec::new());
        add_to(&mut layer, "file", content.as_bytes());
        let layer = layer.into_inner().unwrap();
        let config = serde_json::json!({"architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
            "os": "linux", "created": "2024-01-02T03:04:05Z", "config": {"Cmd": ["sh"], "OnBuild": ["X"]},
            "history": [{"created": "2024-01-02T03:04:05Z", "created_by": "ADD file"}],
            "rootfs": {"type": "layers", "diff_ids": [vellum::image::digest::Digest::of(&layer)]}});
        let manifest =
            serde_json::json!([{"Config": "c.json", "RepoTags": [name], "Layers": ["l.tar"]}]);
        let mut tar = tar::Builder::new(Vec::new());
        add_to(&mut tar, "c.json", config.to_string().as_bytes());
        add_to(&mut tar, "l.tar", &layer);
        add_to(&mut tar, "manifest.json", manifest.to_string().as_bytes());
        let path = self.path(file);
        fs::write(&path, tar.into_inner().unwrap()).unwrap();
        path
    }

    fn id(&self, name: &str) -> String {
        let all: Value = serde_json::from_str(&self.vellum(&["inspect", name])).unwrap();
        all[0]["Id"].as_str().unwrap().to_owned()
    }
}

#[test]
fn other_tools_read_the_store_in_place() {
    if !have(&["skopeo", "umoci"]) {
        return;
    }
    let bed = Bed::new();
    bed.archive("a.tar", "debian:12", "hello");
    assert_eq!(
        bed.vellum(&["load", "-q", "a.tar"]).trim(),
        bed.id("debian:12")
    );
    let seen: Value =
        serde_json::from_str(&bed.tool("skopeo", &["inspect", "oci:store:12"])).unwrap();
    let own: Value = serde_json::from_str(&bed.vellum(&["inspect", "debian:12"])).unwrap();
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 1);
    assert_eq!(
        own[0]["RepoDigests"][0].as_str().unwrap(),
        format!("debian@{}", seen["Digest"].as_str().unwrap())
    );
    assert!(
        bed.tool("umoci", &["ls", "--layout", "store"])
            .contains("12")
    );
    let stat = bed.tool("umoci", &["stat", "--image", "store:12"]);
    assert!(stat.contains("ADD file"), "{stat}");
    bed.tool(
        "umoci",
        &["unpack", "--rootless", "--image", "store:12", "bundle"],
    );
    assert_eq!(
        fs::read_to_string(bed.path("bundle/rootfs/file")).unwrap(),
        "hello"
    );
}

#[test]
fn what_other_tools_write_is_loaded() {
    if !have(&["skopeo", "umoci"]) {
        return;
    }
    let bed = Bed::new();
    fs::write(bed.path("file"), "hello").unwrap();
    bed.tool("umoci", &["init", "--layout", "made"]);
    bed.tool("umoci", &["new", "--image", "made:1"]);
    bed.tool(
        "umoci",
        &["insert", "--rootless", "--image", "made:1", "file", "/file"],
    );
    bed.tool(
        "skopeo",
        &[
            "copy",
            "oci:made:1",
            "oci-archive:one.tar:example.com/one:1",
        ],
    );
    bed.tool(
        "skopeo",
        &[
            "copy",
            "oci:made:1",
            "docker-archive:two.tar:example.com/two:1",
        ],
    );
    bed.tool(
        "skopeo",
        &[
            "copy",
            "--dest-compress-format",
            "zstd",
            "oci:made:1",
            "oci:three:1",
        ],
    );
    assert_eq!(bed.vellum(&["load", "made"]), "Loaded image: made:1\n");
    assert_eq!(
        bed.vellum(&["load", "one.tar"]),
        "Loaded image: example.com/one:1\n"
    );
    assert_eq!(
        bed.vellum(&["load", "-i", "two.tar"]),
        "Loaded image: example.com/two:1\n"
    );
    assert_eq!(bed.vellum(&["load", "three"]), "Loaded image: three:1\n");
    // a manifest in Docker's form, and the one that was loaded first, have the same layer
    let layers = |name: &str| {
        let all: Value = serde_json::from_str(&bed.vellum(&["inspect", name])).unwrap();
        all[0]["RootFS"]["Layers"].to_string()
    };
    for name in ["example.com/one:1", "example.com/two:1", "three:1"] {
        assert_eq!(layers(name), layers("made:1"));
    }
    assert_eq!(bed.id("example.com/one:1"), bed.id("made:1"));
    assert_eq!(
        fs::read_dir(bed.path("store/vellum/layers"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn what_is_saved_is_read_by_other_tools() {
    if !have(&["skopeo"]) {
        return;
    }
    let bed = Bed::new();
    bed.archive("a.tar", "debian:12", "hello");
    bed.vellum(&["load", "a.tar"]);
    bed.vellum(&["save", "-o", "oci.tar", "debian:12"]);
    bed.vellum(&[
        "save",
        "--format",
        "docker",
        "-o",
        "docker.tar",
        "debian:12",
    ]);
    let digest = |source: &str| {
        let seen: Value = serde_json::from_str(&bed.tool("skopeo", &["inspect", source])).unwrap();
        seen["Layers"].to_string()
    };
    assert_eq!(digest("oci-archive:oci.tar:12"), digest("oci:store:12"));
    assert_eq!(digest("docker-archive:docker.tar"), digest("oci:store:12"));
}

#[test]
fn a_pipe_is_loaded_and_saved_to() {
    let bed = Bed::new();
    let archive = bed.archive("a.tar", "x:1", "hello");
    let other = tempfile::tempdir().unwrap();
    let mut load = bed.command(&["load"]);
    load.stdin(fs::File::open(archive).unwrap());
    assert_eq!(good(&mut load), "Loaded image: x:1\n");
    for format in ["oci", "docker"] {
        let mut save = bed.command(&["save", "--format", format, "x:1"]);
        let mut save = save.stdout(Stdio::piped()).spawn().unwrap();
        let mut load = bed.command(&["load"]);
        load.env("VELLUM_ROOT", other.path().join(format));
        load.stdin(save.stdout.take().unwrap());
        assert_eq!(good(&mut load), "Loaded image: x:1\n");
        assert!(save.wait().unwrap().success());
    }
    assert_eq!(
        fs::read_dir(bed.path("store/vellum/tmp")).unwrap().count(),
        0
    );
}

#[test]
fn the_life_of_an_image() {
    let bed = Bed::new();
    assert!(
        bed.fails(&["images"], 1)
            .contains("'vellum load' makes one")
    );
    bed.archive("a.tar", "x:1", "a");
    bed.archive("b.tar", "x:1", "b");
    bed.vellum(&["load", "a.tar"]);
    bed.vellum(&["tag", "x:1", "y", "example.com/z:2"]);
    let id = bed.id("x:1");
    let list = bed.vellum(&["images"]);
    let head: Vec<&str> = list
        .lines()
        .next()
        .unwrap()
        .split("   ")
        .filter(|w| !w.is_empty())
        .collect();
    let head: Vec<&str> = head.iter().map(|w| w.trim()).collect();
    assert_eq!(head, ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!(list.lines().count(), 4, "{list}");
    assert!(
        list.contains(&id["sha256:".len()..][..12]) && !list.contains(&id),
        "{list}"
    );
    assert_eq!(bed.vellum(&["images", "-q", "--no-trunc"]).trim(), id);
    assert_eq!(bed.vellum(&["images", "y"]).lines().count(), 2);
    for line in bed.vellum(&["images", "--format", "json"]).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["ID"].as_str(), Some(&id["sha256:".len()..][..12]));
    }
    let all: Value = serde_json::from_str(&bed.vellum(&["inspect", "y"])).unwrap();
    assert_eq!(
        all[0]["RepoTags"],
        serde_json::json!(["x:1", "y:latest", "example.com/z:2"])
    );
    assert_eq!(all[0]["Config"]["OnBuild"][0], "X");
    assert_eq!(all[0]["Created"], "2024-01-02T03:04:05Z");
    assert_eq!(all[0]["RootFS"]["Type"], "layers");
    let oci: Value = serde_json::from_str(&bed.vellum(&["inspect", "--oci", "y"])).unwrap();
    assert_eq!(oci[0]["manifest"]["schemaVersion"], 2);
    assert!(bed.vellum(&["history", "y"]).contains("ADD file"));
    // the name moves; the old image keeps its others
    bed.vellum(&["load", "b.tar"]);
    assert_ne!(bed.id("x:1"), id);
    let said = bed.fails(&["rmi", &id], 1);
    assert!(said.contains("y:latest") && said.contains("-f"), "{said}");
    assert_eq!(bed.vellum(&["rmi", "y"]), "Untagged: y:latest\n");
    let said = bed.vellum(&["rmi", "-f", &id[..20], "nothing"]);
    assert!(
        said.contains("Untagged: example.com/z:2") && said.contains(&format!("Deleted: {id}")),
        "{said}"
    );
    assert_eq!(
        fs::read_dir(bed.path("store/vellum/layers"))
            .unwrap()
            .count(),
        1
    );
    assert!(bed.fails(&["rmi", "y"], 1).contains("no such image: y"));
    // the last loses its name by one more load
    bed.vellum(&["load", "--name", "x:1", "a.tar"]);
    let dry = bed.vellum(&["prune", "--dry-run"]);
    assert!(
        dry.contains("Would reclaim") && dry.contains("layer sha256:"),
        "{dry}"
    );
    assert!(bed.vellum(&["images"]).contains("<none>"));
    let said = bed.vellum(&["prune"]);
    assert!(said.contains("Total reclaimed space"), "{said}");
    assert_eq!(bed.vellum(&["prune"]), "Total reclaimed space: 0B\n");
    let df: Value = serde_json::from_str(&bed.vellum(&["df", "--format", "json"])).unwrap();
    assert_eq!((&df["Images"], &df["Reclaimable"]), (&1.into(), &0.into()));
    assert!(bed.vellum(&["df"]).contains("Unpacked layers"));
    assert!(bed.fails(&["tag", "x:1", "Bad"], 2).contains("lower case"));
    assert!(bed.fails(&["load", "gone.tar"], 1).contains("No such file"));
    assert!(
        bed.fails(&["load", "--platform", "a b", "a.tar"], 2)
            .contains("linux/arm/v7")
    );
}

#[test]
fn processes_name_at_once_and_no_name_is_lost() {
    let bed = Bed::new();
    bed.archive("a.tar", "x:1", "a");
    bed.vellum(&["load", "a.tar"]);
    let names: Vec<String> = (0..12).map(|n| format!("n{n}")).collect();
    let spawn = |name: &String| bed.command(&["tag", "x:1", name]).spawn().unwrap();
    for mut child in names.iter().map(spawn).collect::<Vec<_>>() {
        assert!(child.wait().unwrap().success());
    }
    let list = bed.vellum(&["images"]);
    assert_eq!(list.lines().count(), 1 + 1 + names.len(), "{list}");
}

#[test]
fn processes_load_the_same_at_once() {
    let bed = Bed::new();
    bed.archive("a.tar", "x:1", "a");
    let spawn = |_| {
        let mut command = bed.command(&["load", "-q", "a.tar"]);
        command.stdout(Stdio::piped()).spawn().unwrap()
    };
    for child in (0..6).map(spawn).collect::<Vec<_>>() {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{}", text(&out));
        assert_eq!(String::from_utf8_lossy(&out.stdout).trim(), bed.id("x:1"));
    }
    assert_eq!(bed.vellum(&["prune"]), "Total reclaimed space: 0B\n");
}

#[test]
fn prune_waits_for_another_process() {
    let bed = Bed::new();
    bed.archive("a.tar", "x:1", "a");
    bed.vellum(&["load", "a.tar"]);
    let root: &Path = &bed.path("store");
    let store = Store::open(root).unwrap();
    // names can be taken away meanwhile; the data stays
    bed.vellum(&["rmi", "x:1"]);
    assert_eq!(store.layers().unwrap().len(), 1);
    let mut prune = bed
        .command(&["prune"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(prune.try_wait().unwrap().is_none());
    assert_eq!(store.layers().unwrap().len(), 1);
    drop(store);
    assert!(prune.wait().unwrap().success());
    assert_eq!(fs::read_dir(root.join("vellum/layers")).unwrap().count(), 0);
}

/// An entry that refers to an index of manifests, as other tools make it, is removed by the image's ID, and so is
/// another entry of the same image.
#[test]
fn an_index_of_manifests_is_removed_by_its_id() {
    let bed = Bed::new();
    bed.archive("a.tar", "x:1", "a");
    bed.archive("b.tar", "other:1", "b");
    bed.vellum(&["load", "a.tar"]);
    bed.vellum(&["load", "b.tar"]);
    let id = bed.id("x:1");
    let path = bed.path("store/index.json");
    let mut names: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let all = names["manifests"].as_array_mut().unwrap();
    let named = |e: &&mut Value| {
        e["annotations"]["org.opencontainers.image.ref.name"] == "1"
            && e["annotations"].to_string().contains("/x:1")
    };
    let entry = all.iter_mut().find(named).unwrap();
    let mut one = entry.clone();
    one.as_object_mut().unwrap().remove("annotations");
    let mut elsewhere = one.clone();
    one["platform"] = serde_json::json!({"os": "linux",
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64")});
    elsewhere["platform"] = serde_json::json!({"os": "plan9", "architecture": "s390x"});
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type,
        "manifests": [elsewhere, one]});
    let index = index.to_string();
    let digest = vellum::image::digest::Digest::of(index.as_bytes());
    let blobs = bed.path("store/blobs/sha256");
    fs::write(blobs.join(digest.hex()), &index).unwrap();
    entry["mediaType"] = media_type.into();
    entry["digest"] = digest.to_string().into();
    entry["size"] = index.len().into();
    fs::write(&path, names.to_string()).unwrap();
    bed.vellum(&["fsck"]);
    assert_eq!(bed.id("x:1"), id);

    // the same image once more, by its manifest
    bed.vellum(&["load", "--name", "y:1", "a.tar"]);
    let said = bed.fails(&["rmi", &id], 1);
    assert!(said.contains("several names (x:1, y:1)"), "{said}");
    bed.vellum(&["rmi", "y:1"]);
    let said = bed.vellum(&["rmi", &id]);
    assert!(
        said.starts_with(&format!("Untagged: x:1\nDeleted: {id}\n")),
        "{said}"
    );
    assert_eq!(bed.vellum(&["images"]).lines().count(), 2);
    assert!(!blobs.join(digest.hex()).exists(), "its index stays");
    assert!(bed.fails(&["rmi", &id], 1).contains("no such image"));
    bed.vellum(&["fsck"]);
}

/// A process that is killed while it loads leaves a store that the next one uses.
#[test]
fn a_load_that_is_killed_leaves_a_store_that_works() {
    let bed = Bed::new();
    bed.archive("a.tar", "x:1", "a");
    bed.vellum(&["load", "a.tar"]);
    // it waits for more of a pipe that never ends
    let mut load = bed
        .command(&["load"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let tmp = bed.path("store/vellum/tmp");
    let mut pipe = load.stdin.take().unwrap();
    std::io::Write::write_all(&mut pipe, &[0; 4096]).unwrap();
    while fs::read_dir(&tmp).unwrap().count() == 0 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    load.kill().unwrap();
    load.wait().unwrap();
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 1);
    assert_eq!(bed.vellum(&["images"]).lines().count(), 2);
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 0);
    drop(pipe);
}
