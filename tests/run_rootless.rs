//! `vellum run` without root: as a user of this machine that has further users by `/etc/subuid`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod live;
mod running;

use live::{skip, text};
use running::{Bed, find, may_run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

/// A user that this machine does not have: it is in tables that only the test's processes see.
const USER: &str = "54321";

/// A bed whose store a user has, and `/dev/fuse` that the user may open.
struct Rootless {
    bed: Bed,
}

impl Rootless {
    fn new() -> Rootless {
        let bed = Bed::new();
        let open = |name: &str| {
            fs::set_permissions(bed.at(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        open(".");
        live::copy_program(&bed.at("vellum"));
        let line = r#"
            cd "$1"; mkdir home etc; mknod -m 666 fuse c 10 229
            (cat /etc/passwd; echo "tester:x:$2:$2::/:/bin/sh") >etc/passwd
            (cat /etc/group; echo "tester:x:$2:") >etc/group
            echo tester:200000:65536 | tee etc/subuid >etc/subgid
            chown -R "$2:$2" home store"#;
        live::sh(line, &[bed.at(".").as_os_str(), USER.as_ref()]);
        Rootless { bed }
    }

    fn run(&self, args: &[&str]) -> Output {
        let line = r#"
            d=$1; u=$2; shift 2
            mount --bind "$d/fuse" /dev/fuse
            for file in passwd group subuid subgid; do
                [ -e /etc/$file ] || : >/etc/$file
                mount --bind "$d/etc/$file" /etc/$file
            done
            cd "$d/home"
            exec setpriv --reuid "$u" --regid "$u" --clear-groups env -i HOME="$d/home" \
                PATH="$PATH" VELLUM_ROOT="$d/store" "$d/vellum" "$@""#;
        Command::new("unshare")
            .args(["-m", "--propagation", "slave", "sh", "-euc", line, "sh"])
            .arg(self.bed.at("."))
            .arg(USER)
            .args(args)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    }

    #[track_caller]
    fn code(&self, args: &[&str], code: i32) -> (String, String) {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out));
        let string = |bytes| String::from_utf8(bytes).unwrap();
        (string(out.stdout), string(out.stderr))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.code(args, 0).0
    }
}

/// A bed, if this machine can; else the test is skipped.
fn rootless() -> Option<Rootless> {
    if !may_run() {
        return None;
    }
    if find("newuidmap").is_none() {
        skip("no newuidmap; 'scripts/deps.sh test' installs uidmap");
        return None;
    }
    Some(Rootless::new())
}

#[test]
fn a_user_runs_containers() {
    let Some(it) = rootless() else {
        return;
    };
    assert_eq!(
        it.ok(&["run", "--rm", "bb:1", "sh", "-c", "id -u; cat /data/file"]),
        "0\nof the image\n"
    );
    // the image's users are there, and keep their files apart
    let line =
        "id -u; touch /tmp/x; stat -c %u /tmp/x; ! touch /bin/x 2>/dev/null; stat -c %u:%g /data";
    assert_eq!(
        it.ok(&["run", "--rm", "-u", "www", "bb:1", "sh", "-c", line]),
        "33\n33\n33:34\n"
    );
    assert_eq!(it.ok(&["run", "--rm", "app:1"]), "the image says so\n");
    assert_eq!(
        it.ok(&["run", "--rm", "--network", "host", "bb:1", "echo", "x"]),
        "x\n"
    );
    it.code(&["run", "--rm", "bb:1", "sh", "-c", "exit 3"], 3);
    it.code(&["run", "--rm", "bb:1", "nope"], 127);
    // volumes: owners are those of the namespace, also to remove them
    let line = "stat -c %u:%g /data; touch /data/x; chown www /data/x; cat /data/sub/deep";
    assert_eq!(
        it.ok(&["run", "--rm", "-v", "v1:/data", "bb:1", "sh", "-c", line]),
        "33:34\ndeep\n"
    );
    it.ok(&[
        "run", "--name", "v", "-v", "/data", "bb:1", "chown", "-R", "www", "/data",
    ]);
    assert_eq!(it.ok(&["volume", "ls"]).lines().count(), 3);
    assert!(it.ok(&["df"]).contains("Local volumes"));
    it.ok(&["rm", "v"]);
    it.ok(&["volume", "prune", "-f"]);
    assert_eq!(it.ok(&["volume", "ls", "-q"]), "v1\n");
    it.ok(&["volume", "rm", "v1"]);
    let (_, err) = it.code(&["run", "--rm", "-m", "64m", "bb:1", "true"], 125);
    assert!(err.contains("need root"), "{err}");
    it.bed.nothing_is_left();
}

#[test]
fn a_users_container_in_the_background() {
    let Some(it) = rootless() else {
        return;
    };
    let line = "trap 'exit 7' TERM; touch /made; chown www /made; echo ready; while :; do sleep 0.05; done";
    it.ok(&["run", "-d", "--name", "web", "bb:1", "sh", "-c", line]);
    it.bed
        .soon("ready", || it.ok(&["logs", "web"]) == "ready\n");
    assert!(it.ok(&["ps"]).contains("Up "));
    assert_eq!(it.ok(&["exec", "web", "stat", "-c", "%u", "/made"]), "33\n");
    assert_eq!(it.ok(&["exec", "-u", "www", "web", "id", "-u"]), "33\n");
    it.ok(&["stop", "web"]);
    assert_eq!(it.ok(&["wait", "web"]), "7\n");
    it.ok(&["start", "web"]);
    it.bed.soon("ready", || {
        it.ok(&["logs", "web"]).matches("ready").count() == 2
    });
    it.ok(&["rm", "-f", "web"]);
    // who looked after it dies: what is left goes all the same
    it.ok(&["run", "-d", "--name", "dead", "bb:1", "sh", "-c", line]);
    let state = it.bed.at("store/vellum/uppers/dead/state.json");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(state).unwrap()).unwrap();
    live::kill("-9", state["monitor"]["pid"].as_i64().unwrap() as i32);
    it.bed
        .soon("dead", || it.ok(&["ps", "-a"]).contains("Dead"));
    it.ok(&["rm", "dead"]);
    it.bed.nothing_is_left();
}
