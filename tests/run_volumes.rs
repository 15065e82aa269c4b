//! Volumes: what they begin with, who uses them, how long they stay. A real image, by a real runtime.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use live::{kill, wait_for};
use running::{Bed, LIMIT, may_run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The directory of a volume.
fn data(bed: &Bed, name: &str) -> PathBuf {
    bed.at("store/vellum/volumes").join(name).join("_data")
}

/// A directory of the host, with a file.
fn host(bed: &Bed) -> PathBuf {
    let host = bed.at("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "of the host\n").unwrap();
    host
}

/// The names of all volumes.
fn names(bed: &Bed) -> Vec<String> {
    let text = bed.ok(&["volume", "ls", "-q"]);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_volume_begins_with_what_the_image_has_and_stays() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let line = "cat /data/file sub/deep 2>/dev/null || cat /data/sub/deep; stat -c %u:%g:%a /data; echo new >/data/new";
    let said = bed.sh(&["-v", "first:/data"], line);
    assert_eq!(said, "of the image\ndeep\n33:34:755\n");
    // made by its first use, of which nothing is the container's
    assert_eq!(names(&bed), ["first"]);
    let meta = fs::metadata(data(&bed, "first")).unwrap();
    assert_eq!((meta.uid(), meta.gid()), (33, 34));
    // what is there stays as it is
    bed.sh(&["-v", "first:/data"], "rm /data/file; chown 5:6 /data");
    let mount = ["--mount", "type=volume,src=first,dst=/data"];
    assert_eq!(
        bed.sh(&mount, "ls /data; stat -c %u /data"),
        "new\nsub\n5\n"
    );
    let (_, err) = bed.code(
        &[
            "run",
            "--rm",
            "-v",
            "first:/data:ro",
            "bb:1",
            "touch",
            "/data/x",
        ],
        1,
    );
    assert!(err.contains("Read-only"), "{err}");
    // not even the directory's owner is copied if that is asked for
    for options in [
        ["-v", "none:/data:nocopy"],
        ["--mount", "source=none,target=/data,volume-nocopy"],
    ] {
        assert_eq!(bed.sh(&options, "ls /data; stat -c %u /data"), "0\n");
    }
    // one volume in two places; a place within another one, whatever comes first
    let both = ["-v", "first:/a/b", "-v", "none:/a", "-v", "first:/c"];
    assert_eq!(
        bed.sh(&both, "ls /a /c; echo x >/a/b/y; cat /c/y"),
        "/a:\nb\n\n/c:\nnew\nsub\nx\n"
    );
    // a place where the image has nothing, or a file
    assert_eq!(
        bed.sh(&["-v", "empty:/not/there"], "ls /not/there | wc -l"),
        "0\n"
    );
    let (_, err) = bed.code(
        &["run", "--rm", "-v", "wrong:/etc/passwd", "bb:1", "true"],
        125,
    );
    assert!(err.contains("the image has a file there"), "{err}");
    bed.ok(&["volume", "rm", "first", "none", "empty", "wrong"]);
    bed.nothing_is_left();
}

#[test]
fn a_volume_in_use_stays() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    assert_eq!(
        bed.ok(&["volume", "create", "--label", "of=web", "data"]),
        "data\n"
    );
    assert_eq!(bed.ok(&["volume", "create", "data"]), "data\n");
    bed.ok(&[
        "run", "-d", "--name", "web", "-v", "data:/d", "bb:1", "sleep", "1000",
    ]);
    bed.ok(&[
        "run", "--name", "old", "-v", "data:/d", "bb:1", "touch", "/d/f",
    ]);
    let used = |by: &str| {
        let (_, err) = bed.code(&["volume", "rm", "data"], 1);
        let said = format!("volume \"data\" is in use by container \"{by}\"");
        assert!(err.contains(&said), "{err}");
    };
    used("old");
    let text = bed.ok(&["volume", "ls", "--format", "json"]);
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listed["Containers"], serde_json::json!(["old", "web"]));
    assert_eq!(listed["Labels"]["of"], "web");
    assert_eq!(bed.ok(&["volume", "ls", "-qf", "dangling=true"]), "");
    assert_eq!(bed.ok(&["volume", "ls", "-qf", "label=of=web"]), "data\n");
    let told: Value = serde_json::from_str(&bed.ok(&["volume", "inspect", "data"])).unwrap();
    let place = data(&bed, "data");
    assert_eq!(told[0]["Mountpoint"].as_str(), place.to_str());
    assert!(place.join("f").exists());
    assert!(bed.ok(&["volume", "ls"]).ends_with("local    data\n"));
    // nothing that is asked to clear up takes it while somebody uses it
    bed.ok(&["volume", "prune", "-a", "-f"]);
    bed.ok(&["prune", "--volumes"]);
    bed.ok(&["rm", "old"]);
    used("web");
    // with -v, too: it has a name
    bed.ok(&["rm", "-f", "-v", "web"]);
    assert_eq!(bed.ok(&["volume", "ls", "-qf", "dangling=true"]), "data\n");
    bed.ok(&["prune", "--volumes"]);
    bed.ok(&["volume", "prune", "-f"]);
    // without -f it asks, and no answer is no
    let asked = bed.ok(&["volume", "prune", "-a"]);
    assert!(
        asked.contains("all local volumes") && asked.contains("[y/N]"),
        "{asked}"
    );
    assert_eq!(names(&bed), ["data"]);
    let gone = bed.ok(&["volume", "prune", "-a", "-f"]);
    assert!(
        gone.starts_with("Deleted Volumes:\ndata\n\nTotal"),
        "{gone}"
    );
    let (_, err) = bed.code(&["volume", "rm", "data"], 1);
    assert!(err.contains("no such volume: data"), "{err}");
    bed.ok(&["volume", "rm", "-f", "data"]);
    let (out, err) = bed.code(&["volume", "inspect", "data"], 1);
    assert!(
        out == "[]\n" && err.contains("no such volume"),
        "{out}{err}"
    );
    bed.nothing_is_left();
}

#[test]
fn a_volume_that_cannot_be_read_goes_by_force() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    bed.ok(&["run", "--name", "c", "-v", "data:/d", "bb:1", "true"]);
    let record = data(&bed, "data").with_file_name("volume.json");
    std::fs::write(&record, "{").unwrap();
    let (_, err) = bed.code(&["volume", "rm", "data"], 1);
    assert!(err.contains("'vellum volume rm -f data'"), "{err}");
    // it is used all the same
    let (_, err) = bed.code(&["volume", "rm", "-f", "data"], 1);
    assert!(err.contains("in use by container \"c\""), "{err}");
    bed.ok(&["rm", "c"]);
    assert_eq!(bed.ok(&["volume", "rm", "-f", "data"]), "data\n");
    assert!(!record.exists());
    assert_eq!(names(&bed), [""; 0]);
    bed.ok(&["volume", "create", "data"]);
    bed.ok(&["volume", "rm", "data"]);
    bed.nothing_is_left();
}

#[test]
fn volumes_without_a_name_go_when_they_are_told_to() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    // with the container that is a passing one
    bed.ok(&["run", "--rm", "app:1"]);
    bed.ok(&["run", "-d", "--rm", "--name", "p", "app:1", "sleep 1000"]);
    assert_eq!(names(&bed).len(), 1);
    bed.ok(&["kill", "p"]);
    bed.soon("its end", || names(&bed).is_empty());
    // one that fails to start takes its volumes with it
    bed.code(&["run", "--rm", "-v", "/v", "bb:1", "nope"], 127);
    bed.code(&["run", "--name", "a/b", "-v", "/v", "bb:1", "true"], 125);
    assert_eq!(names(&bed).len(), 0);
    // others leave them
    bed.ok(&["run", "--name", "one", "app:1", "echo kept >/data/kept"]);
    let [volume] = <[String; 1]>::try_from(names(&bed)).unwrap();
    assert_eq!(volume.len(), 64);
    let df: Value = serde_json::from_str(&bed.ok(&["df", "--format", "json"])).unwrap();
    assert!(df["Volumes"].as_u64().unwrap() > 0);
    assert!(bed.ok(&["df"]).contains("Local volumes"));
    // the image says where, and the user says what
    let named = format!("{volume}:/data/");
    let args = [
        "run",
        "--name",
        "two",
        "-v",
        &named,
        "app:1",
        "cat /data/kept",
    ];
    assert_eq!(bed.ok(&args), "kept\n");
    // its maker goes, and somebody else has it
    bed.ok(&["rm", "-v", "one"]);
    assert_eq!(names(&bed), [volume.as_str()]);
    bed.ok(&["rm", "two"]);
    assert_eq!(bed.ok(&["prune"]).matches("volume").count(), 0);
    let told = bed.ok(&["prune", "-n", "--volumes"]);
    assert!(told.contains(&format!("volume {volume}\n")), "{told}");
    assert_eq!(names(&bed), [volume.as_str()]);
    assert_eq!(bed.ok(&["prune", "--volumes"]).matches("volume").count(), 1);
    bed.ok(&["run", "--name", "three", "-v", "/v", "app:1"]);
    assert_eq!(names(&bed).len(), 2);
    bed.ok(&["rm", "-v", "three"]);
    bed.nothing_is_left();
}

#[test]
fn a_start_again_finds_what_was_there() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let line = "rm -r /data/*; ls /data | wc -l";
    bed.ok(&[
        "run", "--name", "c", "-v", "v1:/data", "-v", "/other", "bb:1", "sh", "-c", line,
    ]);
    // emptied by its user: it is not filled again
    assert_eq!(bed.ok(&["start", "-a", "c"]), "0\n");
    // one that somebody took away is missed, not made anew
    fs::rename(bed.at("store/vellum/volumes/v1"), bed.at("away")).unwrap();
    let (_, err) = bed.code(&["start", "c"], 1);
    assert!(err.contains("no such volume: v1"), "{err}");
    fs::rename(bed.at("away"), bed.at("store/vellum/volumes/v1")).unwrap();
    assert_eq!(bed.ok(&["start", "-a", "c"]).lines().last(), Some("0"));
    bed.ok(&["rm", "-v", "c"]);
    assert_eq!(names(&bed), ["v1"]);
    bed.ok(&["volume", "rm", "v1"]);
    bed.nothing_is_left();
}

#[test]
fn many_at_once_share_one_volume() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    // all want the same new volume; all see it whole
    let line = "cat /data/file /data/sub/deep; echo $0 >>/data/sub/seen";
    let start = |n: usize| {
        let mut command = bed.command(&[
            "run",
            "--rm",
            "-v",
            "shared:/data",
            "bb:1",
            "sh",
            "-euc",
            line,
        ]);
        command
            .arg(n.to_string())
            .stdout(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let children: Vec<_> = (0..8).map(start).collect();
    // and one would like to remove it
    let mut refused = 0;
    while bed.run(&["volume", "rm", "shared"]).status.code() == Some(1) && refused < 200 {
        refused += 1;
    }
    let mut whole = 0;
    for child in children {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        assert_eq!(
            String::from_utf8(out.stdout).unwrap(),
            "of the image\ndeep\n"
        );
        whole += 1;
    }
    assert_eq!(whole, 8);
    bed.ok(&["volume", "rm", "-f", "shared"]);
    bed.nothing_is_left();
}

#[test]
fn who_looks_after_a_container_dies_and_its_volumes_are_whole() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let line = "echo written >/data/written; sync; sleep 1000";
    bed.ok(&["run", "-d", "--name", "c", "-v", "v1:/data", "app:1", line]);
    bed.soon("what it writes", || {
        data(&bed, "v1").join("written").exists()
    });
    let state = fs::read(bed.at("store/vellum/uppers/c/state.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    let monitor = state["monitor"]["pid"].as_i64().unwrap() as i32;
    kill("-9", monitor);
    assert!(wait_for(LIMIT, || bed.state("c") == "dead"));
    // dead, and still a user
    bed.code(&["volume", "rm", "v1"], 1);
    bed.ok(&["start", "c"]);
    assert_eq!(
        bed.ok(&["exec", "c", "cat", "/data/written", "/data/file"]),
        "written\nof the image\n"
    );
    bed.ok(&["rm", "-f", "c"]);
    bed.ok(&["volume", "rm", "v1"]);
    // what the image wants was given a name, so there is nothing else
    bed.nothing_is_left();
}

#[test]
fn volumes_of_another_container() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let host = host(&bed);
    let bind = format!("{}:/mnt/host", host.display());
    let first = [
        "run",
        "--name",
        "a",
        "-v",
        "data:/data",
        "-v",
        "/own",
        "--tmpfs",
        "/mem",
        "-v",
        &bind,
    ];
    bed.ok(&[
        &first[..],
        &["bb:1", "sh", "-c", "echo a >/own/by; rm -r /data/sub"],
    ]
    .concat());
    bed.ok(&[
        "run",
        "--name",
        "b",
        "-v",
        "other:/data",
        "bb:1",
        "sh",
        "-c",
        "echo b >/data/by",
    ]);
    let line = "cat /data/* /own/by /mnt/host/file; mount | grep -c ' /mem ' || :";
    let all = "of the image\na\nof the host\n0\n";
    assert_eq!(bed.sh(&["--volumes-from", "a"], line), all);
    // the last one says it, and what is asked for by itself goes before
    let both = ["--volumes-from", "a", "--volumes-from", "b"];
    assert!(bed.sh(&both, "cat /data/by /own/by") == "b\na\n");
    let own = ["--volumes-from", "a", "-v", "new:/data/"];
    assert_eq!(bed.sh(&own, "ls /data; cat /own/by"), "file\nsub\na\n");
    // to read only; what is empty by now stays so
    bed.sh(&["--volumes-from", "a"], "rm /data/*");
    let line = "ls /data; ! touch /data/x; ! touch /mnt/host/x; ! touch /own/x; echo done";
    assert_eq!(bed.sh(&["--volumes-from", "a:ro"], line), "done\n");
    for (text, why) in [("nobody", "no container"), ("a:z", "neither 'ro' nor 'rw'")] {
        let (_, err) = bed.code(
            &["run", "--rm", "--volumes-from", text, "bb:1", "true"],
            125,
        );
        assert!(err.contains(why), "{err}");
    }
    // in use by whoever has it from another one
    bed.ok(&["run", "--name", "c", "--volumes-from", "a", "bb:1", "true"]);
    bed.ok(&["rm", "-v", "a"]);
    assert_eq!(names(&bed).len(), 4, "{:?}", names(&bed));
    bed.ok(&["rm", "-v", "c"]);
    assert_eq!(names(&bed), ["data", "new", "other"]);
    bed.ok(&["rm", "b"]);
    bed.ok(&["volume", "rm", "data", "new", "other"]);
    bed.nothing_is_left();
}

#[test]
fn copies_go_to_and_from_what_is_mounted() {
    if !may_run() {
        return;
    }
    let bed = Bed::new();
    let host = host(&bed);
    fs::write(bed.at("new"), "copied\n").unwrap();
    let bind = format!("{}:/mnt/host:ro", host.display());
    let rest = [
        "-v",
        "inner:/data/sub/inner",
        "-v",
        "data:/data",
        "-v",
        &bind,
    ];
    let line = ["bb:1", "sh", "-c", "ln -s /data /link; sleep 1000"];
    bed.ok(&[&["run", "-d", "--name", "c"], &rest[..], &line].concat());
    let (new, got) = (bed.at("new"), bed.at("got"));
    let (new, got) = (new.to_str().unwrap(), got.to_str().unwrap());
    let read = |path: &str| {
        bed.ok(&["cp", path, got]);
        let text = fs::read_to_string(got).unwrap();
        fs::remove_file(got).unwrap();
        text
    };
    bed.soon("the link", || {
        bed.run(&["exec", "c", "ls", "/link"]).status.success()
    });
    for name in ["running", "ended"] {
        bed.ok(&["cp", new, &format!("c:/data/{name}")]);
        assert_eq!(read(&format!("c:/data/{name}")), "copied\n");
        assert_eq!(
            fs::read(data(&bed, "data").join(name)).unwrap(),
            b"copied\n"
        );
        // by a symlink of the container's, into one within the other
        bed.ok(&["cp", new, &format!("c:/link/sub/inner/{name}")]);
        assert_eq!(
            fs::read(data(&bed, "inner").join(name)).unwrap(),
            b"copied\n"
        );
        assert_eq!(read("c:/mnt/host/file"), "of the host\n");
        let (_, err) = bed.code(&["cp", new, "c:/mnt/host/"], 1);
        assert!(err.contains("Read-only"), "{err}");
        assert!(!host.join("new").exists());
        // the root itself, and what else is mounted in one that runs is left out
        bed.ok(&["cp", new, &format!("c:/{name}")]);
        let tree = bed.at(name);
        bed.ok(&["cp", "c:/", tree.to_str().unwrap()]);
        assert_eq!(
            fs::read(tree.join("data/sub/inner").join(name)).unwrap(),
            b"copied\n"
        );
        assert_eq!(
            fs::read_dir(tree.join("proc")).map_or(0, Iterator::count),
            0
        );
        if name == "running" {
            let sees = bed.ok(&["exec", "c", "cat", "/running", "/data/running"]);
            assert_eq!(sees, "copied\ncopied\n");
            bed.ok(&["stop", "-t", "0", "c"]);
        }
    }
    // what is gone from the host is missed where it is wanted
    fs::rename(&host, bed.at("gone")).unwrap();
    assert_eq!(read("c:/data/ended"), "copied\n");
    let (_, err) = bed.code(&["cp", "c:/mnt/host/file", got], 1);
    assert!(err.contains("No such file"), "{err}");
    // none of it is a change of the container's root
    let changes = bed.ok(&["diff", "c"]);
    assert!(changes.contains("A /running\n"), "{changes}");
    assert!(!changes.contains("/data/"), "{changes}");
    // a place that the image does not have
    bed.ok(&[
        "run",
        "--name",
        "d",
        "-v",
        "data:/not/there",
        "bb:1",
        "true",
    ]);
    bed.ok(&["cp", new, "d:/not/there/x"]);
    assert_eq!(fs::read(data(&bed, "data").join("x")).unwrap(), b"copied\n");
    bed.ok(&["rm", "c", "d"]);
    bed.ok(&["volume", "rm", "data", "inner"]);
    bed.nothing_is_left();
}
