//! podman and buildah of a user without root, and root's with user namespaces.

use crate::live::{VELLUM, copy_program, may_mount, skip, text};
use crate::room::{Room, context};
use crate::running::find;
use std::fs;

/// Directories of layers below removed, made again, renamed; links; owners; other types in the same places.
const CONTAINERFILE: &str = r#"FROM scratch
ADD root.tar /
RUN echo sailor:x:1000:1000::/:/bin/sh >>/etc/passwd && chown sailor /data && chown www:web /data/file && chmod 4755 /data/file
RUN rm -r /data/sub && mkdir /data/sub && echo new >/data/sub/new && rm /many/1*
RUN mv /many /moved && ln /moved/20 /moved/link && echo more >>/moved/20 && ln -s /moved /many
COPY --chown=1000:1000 tree /opt/tree
RUN rm -rf /opt/tree/sub && echo file >/opt/tree/sub && mkdir -m 2770 /srv && chown www:web /srv
CMD ["cat", "/data/sub/new"]
"#;

/// What the image shows: type, mode, owner, names, size, target of all, and what is in the files.
const SHOW: &str = r#"
    m=$(podman image mount "$1"); cd "$m"
    find . -printf '%p %y %m %U:%G %n %l ' \( -type f -printf '%s\n' -o -printf '\n' \) | sed 's/ d \([0-9]*\) \([0-9:]*\) [0-9]*/ d \1 \2/' | sort
    find . -type f -exec sha256sum {} + | sort -k2
    cd /; podman image umount "$1" >/dev/null"#;

/// For machines where root may not raise its limits.
const LIMITS: &str =
    "[containers]\ndefault_ulimits = [\"nofile=16384:16384\", \"nproc=16384:16384\"]\n";

/// A room for podman: what it is told, and the program under its name.
fn room() -> Option<Room> {
    if !may_mount() {
        return None;
    }
    let needed = [
        "podman",
        "buildah",
        "runc",
        "busybox",
        "catatonit",
        "newuidmap",
        "ip",
    ];
    for program in needed {
        if find(program).is_none() {
            skip(&format!("no {program}; 'scripts/deps.sh test' installs it"));
            return None;
        }
    }
    let room = Room::new();
    copy_program(&room.at("vellum-overlayfs"));
    settings(&room, "home", "", true);
    settings(&room, "root", LIMITS, true);
    Some(room)
}

/// Writes what a user's tools read; `ours`: they mount by us, else by kernel overlayfs.
fn settings(room: &Room, home: &str, more: &str, ours: bool) {
    let at = room.at(home);
    let containers = format!(
        "{more}[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\n"
    );
    fs::write(at.join("containers.conf"), containers).unwrap();
    let storage = if ours { "storage" } else { "kernel" };
    let mut text = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/{storage}\"\nrootless_storage_path = \"{0}/{storage}\"\nrunroot = \"{0}/run-{storage}\"\n",
        at.display()
    );
    if ours {
        let program = room.text("vellum-overlayfs");
        text += &format!("[storage.options.overlay]\nmount_program = \"{program}\"\n");
    }
    fs::write(at.join("storage.conf"), text).unwrap();
}

struct User<'a>(&'a Room);

impl User<'_> {
    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let out = self.0.output(true, args);
        assert!(out.status.success(), "{args:?}: {}", text(&out));
        String::from_utf8(out.stdout).unwrap()
    }

    #[track_caller]
    fn run(&self, options: &[&str], image: &str, line: &str) -> String {
        let run = ["podman", "run", "--rm", "--network=none"];
        self.ok(&[&run, options, &[image, "sh", "-euc", line]].concat())
    }

    fn show(&self, image: &str) -> String {
        self.ok(&["podman", "unshare", "sh", "-euc", SHOW, "sh", image])
    }
}

#[test]
fn a_user_without_root_builds_runs_commits_and_pushes() {
    let Some(mut room) = room() else {
        return;
    };
    if !room.unpack(&["docker-registry"]) {
        return;
    }
    let context = context(&room);
    fs::write(room.at("context/Containerfile"), CONTAINERFILE).unwrap();
    room.registry();
    let user = User(&room);
    user.ok(&["buildah", "bud", "-q", "--layers", "-t", "built", &context]);
    let shown = user.show("built");
    let mounted = user.run(&[], "built", "grep ' / / ' /proc/self/mountinfo");
    assert!(mounted.contains("fuse.vellum"), "{mounted}");

    assert_eq!(
        user.ok(&["podman", "run", "--rm", "--network=none", "built"]),
        "new\n"
    );
    // this user in the container too, and the image's files of whom they are
    let line = "id -u; touch /tmp/x; stat -c '%u:%g %a' /tmp/x /data/file /srv";
    assert_eq!(
        user.run(&["--userns=keep-id"], "built", line),
        "54321\n54321:54321 644\n33:34 4755\n33:34 2770\n"
    );
    let line = "touch /x; rm -r /moved; chown www /data/file; stat -c %u:%g /x /data/file";
    assert_eq!(
        user.run(&["--userns=keep-id", "-u", "0"], "built", line),
        "0:0\n33:34\n"
    );
    let line = "! touch /x 2>/dev/null; touch /tmp/y; cat /data/sub/new";
    assert_eq!(user.run(&["--read-only"], "built", line), "new\n");
    // a named volume begins with what the image has
    let volume = ["-v", "named:/data"];
    let line = "cat /data/sub/new; rm /data/file; echo v >/data/sub/new";
    assert_eq!(user.run(&volume, "built", line), "new\n");
    let line = "cat /data/sub/new; ls /data; stat -c %u /data";
    assert_eq!(user.run(&volume, "built", line), "v\nsub\n1000\n");

    user.ok(&[
        "podman",
        "run",
        "-d",
        "--network=none",
        "--name=ship",
        "built",
        "sleep",
        "1000",
    ]);
    let line = "echo more >>/etc/passwd; rm -r /opt/tree; mv /moved /away; rm /many; rm -r /data; mkdir /data; echo n >/data/n";
    user.ok(&["podman", "exec", "ship", "sh", "-euc", line]);
    let diff = user.ok(&["podman", "diff", "ship"]);
    for line in [
        "C /etc/passwd",
        "D /opt/tree",
        "D /moved",
        "D /many",
        "A /away/20",
        "A /data/n",
    ] {
        assert!(diff.lines().any(|l| l == line), "{line}: {diff}");
    }
    user.ok(&["podman", "commit", "-q", "ship", "changed"]);
    user.ok(&["podman", "rm", "-f", "-t", "0", "ship"]);
    let changed = user.show("changed");

    // to a registry and back, into an empty storage
    let there = "127.0.0.1:5000/changed:1";
    user.ok(&[
        "podman",
        "push",
        "-q",
        "--tls-verify=false",
        "changed",
        there,
    ]);
    user.ok(&["podman", "rmi", "-a", "-f"]);
    assert_eq!(user.ok(&["podman", "images", "-q"]), "");
    user.ok(&["podman", "pull", "-q", "--tls-verify=false", there]);
    assert_eq!(user.show(there), changed);
    let line =
        "ls /data /away | head -2; tail -1 /etc/passwd; ! ls /moved /many /opt/tree 2>/dev/null";
    assert_eq!(user.run(&[], there, line), "/away:\n2\nmore\n");
    assert_eq!(user.ok(&["podman", "ps", "-aq"]), "");

    // over kernel overlayfs the same build shows the same
    settings(&room, "home", "", false);
    user.ok(&["buildah", "bud", "-q", "--layers", "-t", "built", &context]);
    let by_kernel = user.show("built");
    let differs = shown.lines().zip(by_kernel.lines()).find(|(a, b)| a != b);
    assert_eq!(differs, None, "{VELLUM}");
    assert_eq!(shown.len(), by_kernel.len());
}

#[test]
fn root_gives_a_container_a_user_namespace_of_its_own() {
    let Some(room) = room() else {
        return;
    };
    let context = context(&room);
    fs::write(room.at("context/Containerfile"), CONTAINERFILE).unwrap();
    room.root(&["buildah", "bud", "-q", "--layers", "-t", "built", &context]);
    let shown = room.root(&["sh", "-euc", SHOW, "sh", "built"]);
    let run = |options: &[&str], image: &str, line: &str| {
        let run = ["podman", "run", "--network=none"];
        room.root(&[&run, options, &[image, "sh", "-euc", line]].concat())
    };
    let line = "stat -c %u:%g /data/file /srv /opt/tree/a /bin; touch /x; chown 33:34 /x; stat -c %u:%g /x
        echo more >>/data/file; stat -c %u:%g:%a /data/file; rm -r /opt/tree; awk '{ print $2 }' /proc/self/uid_map";
    let inside = "33:34\n33:34\n1000:1000\n0:0\n33:34\n33:34:755\n";
    for (name, kind, first) in [
        ("auto", "--userns=auto:size=65536", 1_000_000),
        ("given", "--uidmap=0:300000:65536", 300_000),
    ] {
        let said = run(&["--name", name, kind], "built", line);
        let owner = said.strip_prefix(inside).expect(&said);
        assert!(owner.trim().parse::<u32>().unwrap() >= first, "{said}");
        // an image of it has the container's numbers
        room.root(&["podman", "commit", "-q", name, "changed"]);
        // no `rm`: podman 4 leaves its own /dev/shm mounted for such a container, over any file system
        let line = "stat -c %u:%g /x /data/file /srv; test ! -e /opt/tree";
        assert_eq!(run(&["--rm"], "changed", line), "33:34\n33:34\n33:34\n");
        // the layers are as they were
        assert_eq!(
            room.root(&["sh", "-euc", SHOW, "sh", "built"]),
            shown,
            "{kind}"
        );
    }
}
