//! Docker with the storage driver `fuse-overlayfs`, which finds its program by that name.

use crate::live::{VELLUM, may_mount, skip};
use crate::room::{Room, context};
use crate::running::find;
use std::fs;
use std::os::unix::fs::symlink;

const DOCKERFILE: &str = r#"FROM root:1
RUN rm -r /data/sub && mkdir /data/sub && echo new >/data/sub/new && rm /many/1* && rm -r /usr && mkdir /usr
RUN mv /many /moved && ln /moved/20 /moved/link && echo more >>/moved/20
COPY tree /opt/tree
RUN rm -rf /opt/tree/sub && echo file >/opt/tree/sub && mkdir -m 2770 /srv && chown www:web /srv
CMD ["cat", "/data/sub/new"]
"#;

/// A room with a dockerd.
fn room() -> Option<Room> {
    if !may_mount() {
        return None;
    }
    for program in ["containerd", "runc", "busybox", "catatonit", "ip"] {
        if find(program).is_none() {
            skip(&format!("no {program}; 'scripts/deps.sh test' installs it"));
            return None;
        }
    }
    let mut room = Room::new();
    if !room.unpack(&["docker.io", "tini", "docker-registry", "libdevmapper1.02.1"]) {
        return None;
    }
    fs::create_dir(room.at("bin")).unwrap();
    symlink(VELLUM, room.at("bin/fuse-overlayfs")).unwrap();
    room.path = format!("{}:{}", room.text("bin"), room.path);
    fs::write(room.at("daemon.json"), "{}").unwrap();
    let (data, exec, pid) = (room.text("data"), room.text("exec"), room.text("pid"));
    let (socket, config) = (socket(&room), room.text("daemon.json"));
    let group = room.dir().file_name().unwrap().to_str().unwrap();
    let daemon = [
        "dockerd",
        "--config-file",
        &config,
        "--data-root",
        &data,
        "--exec-root",
        &exec,
        "-p",
        &pid,
        "-H",
        &socket,
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--cgroup-parent",
        group,
        "--storage-driver",
        "fuse-overlayfs",
    ];
    room.serve(&daemon, &["docker", "-H", &socket, "version"]);
    Some(room)
}

fn socket(room: &Room) -> String {
    format!("unix://{}", room.text("docker.sock"))
}

#[test]
fn docker_builds_runs_commits_and_pulls() {
    let Some(room) = room() else {
        return;
    };
    let context = context(&room);
    fs::write(room.at("context/Dockerfile"), DOCKERFILE).unwrap();
    let at = socket(&room);
    let docker = |args: &[&str]| room.root(&[&["docker", "-H", &at], args].concat());
    let driver = docker(&["info", "-f", "{{.Driver}}"]);
    assert_eq!(driver, "fuse-overlayfs\n");
    let run = |image: &str, line: &str| {
        let command = ["run", "--rm", "--network=none", image, "sh", "-euc", line];
        docker(&command)
    };

    docker(&["import", &format!("{context}/root.tar"), "root:1"]);
    docker(&["build", "-q", "--network=none", "-t", "built:1", &context]);
    assert_eq!(
        docker(&["run", "--rm", "--network=none", "built:1"]),
        "new\n"
    );
    let mounted = run("built:1", "grep ' / / ' /proc/self/mountinfo");
    assert!(mounted.contains("fuse.vellum"), "{mounted}");
    let look = "ls /data/sub; ls -A /usr; ls /moved | wc -l; stat -c '%h %n' /moved/20 /moved/link
        cat /opt/tree/sub; stat -c '%a %u:%g' /srv; test ! -e /many";
    let built = "new\n40\n2 /moved/20\n2 /moved/link\nfile\n2770 33:34\n";
    assert_eq!(run("built:1", look), built);

    docker(&[
        "run",
        "-d",
        "--network=none",
        "--name=ship",
        "built:1",
        "sleep",
        "1000",
    ]);
    let line =
        "rm -r /opt; mkdir /opt; echo y >/opt/y; echo x >>/etc/passwd; rm /moved/20; mv /srv /srv2";
    docker(&["exec", "ship", "sh", "-euc", line]);
    let diff = docker(&["diff", "ship"]);
    for line in [
        "C /etc/passwd",
        "A /opt/y",
        "D /opt/tree",
        "D /moved/20",
        "D /srv",
        "A /srv2",
    ] {
        assert!(diff.lines().any(|l| l == line), "{line}: {diff}");
    }
    docker(&["commit", "ship", "changed:1"]);
    docker(&["restart", "-t", "0", "ship"]);
    assert_eq!(docker(&["exec", "ship", "cat", "/opt/y"]), "y\n");
    docker(&["rm", "-f", "ship"]);
    let changed = "ls -A /opt; tail -1 /etc/passwd; cat /moved/link | tail -1; ls /moved | wc -l; test ! -e /srv; stat -c %g /srv2";
    let shown = "y\nx\nmore\n39\n34\n";
    assert_eq!(run("changed:1", changed), shown);

    // as an archive and back
    let archive = room.text("saved.tar");
    docker(&["save", "-o", &archive, "changed:1"]);
    docker(&["rmi", "changed:1"]);
    docker(&["load", "-q", "-i", &archive]);
    assert_eq!(run("changed:1", changed), shown);
    // and to a registry and back
    room.registry();
    let there = "127.0.0.1:5000/changed:1";
    docker(&["tag", "changed:1", there]);
    docker(&["push", "-q", there]);
    docker(&["rmi", "changed:1", there, "built:1", "root:1"]);
    assert_eq!(docker(&["images", "-aq"]), "");
    docker(&["pull", "-q", there]);
    assert_eq!(run(there, changed), shown);
    assert_eq!(docker(&["ps", "-aq"]), "");
    let mounts = room.root(&["cat", "/proc/mounts"]);
    let own = room.dir().to_str().unwrap();
    // those of others are there, too
    let left = mounts
        .lines()
        .find(|l| l.contains("fuse.vellum") && l.contains(own));
    assert_eq!(left, None);
}
