//! A room: namespaces of mounts, processes and the network, with a folder. What is started in it ends with it,
//! and what is mounted in it is mounted nowhere else.

use crate::live::{self, run, text, wait_for};
use crate::running::find;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A user that this machine does not have: it is in tables that only the room has.
pub const USER: &str = "54321";

/// Makes the folder `$1` ready for the user `$2`: tables, with further users for it and for `--userns=auto`;
/// a `/dev/fuse` that users may open; a home, for the user and for root.
const FOLDER: &str = r#"
    cd "$1"; chmod 755 .; mkdir home root etc xdg tmp; mknod -m 666 fuse c 10 229
    (cat /etc/passwd; echo "tester:x:$2:$2::$1/home:/bin/sh") >etc/passwd
    (cat /etc/group; echo "tester:x:$2:") >etc/group
    printf 'tester:200000:65536\ncontainers:1000000:1000000\n' | tee etc/subuid >etc/subgid
    for home in home root; do
        mkdir -p $home/.config/containers
        echo '{"default":[{"type":"insecureAcceptAnything"}]}' >$home/.config/containers/policy.json
    done
    chown -R "$2:$2" home xdg; chmod 700 xdg; chmod 1777 tmp
"#;

/// The first process of a room; the others are its children.
const HOLD: &str = r#"
    mount --bind "$1/fuse" /dev/fuse
    for file in passwd group subuid subgid; do
        [ -e /etc/$file ] || : >/etc/$file
        mount --bind "$1/etc/$file" /etc/$file
    done
    mount -t tmpfs -o mode=755 tmpfs /run
    ip link set lo up
    echo ready >"$1/ready"
    exec catatonit -P
"#;

pub struct Room {
    dir: Option<tempfile::TempDir>,
    holder: Child,
    /// Before all others in PATH.
    pub path: String,
    /// Where libraries are found too.
    pub libraries: String,
}

impl Room {
    pub fn new() -> Room {
        let dir = tempfile::Builder::new().prefix("vlm").tempdir().unwrap();
        live::sh(FOLDER, &[dir.path().as_os_str(), OsStr::new(USER)]);
        let holder = Command::new("unshare")
            .args(["--mount", "--pid", "--net", "--fork", "--kill-child"])
            .args(["--mount-proc", "--propagation", "slave"])
            .args(["sh", "-euc", HOLD, "sh"])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stderr(fs::File::create(dir.path().join("room.log")).unwrap())
            .spawn()
            .unwrap();
        let path = std::env::var("PATH").unwrap() + ":/usr/sbin:/sbin";
        let room = Room {
            dir: Some(dir),
            holder,
            path,
            libraries: String::new(),
        };
        let ready = || room.at("ready").exists();
        let said = || fs::read_to_string(room.at("room.log")).unwrap();
        assert!(wait_for(Duration::from_secs(20), ready), "{}", said());
        room
    }

    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// The programs of Debian packages, which are not installed here, for those in the room; false: the test
    /// is skipped.
    pub fn unpack(&mut self, packages: &[&str]) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/debian-tools.sh");
        let out = Command::new(script).args(packages).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout);
        if !out.status.success() {
            let why = String::from_utf8_lossy(&out.stderr);
            live::skip(why.trim_end().lines().last().unwrap_or("no packages"));
            return false;
        }
        let at = said.trim_end();
        self.path = format!("{at}/usr/sbin:{at}/usr/bin:{}", self.path);
        let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
        self.libraries = format!("{at}/usr/lib/{triple}:{at}/usr/lib/{triple}/systemd");
        true
    }

    /// A command in the room, as root or as the user.
    pub fn command(&self, as_user: bool, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.holder.id();
        command
            .arg(format!("--mount=/proc/{pid}/ns/mnt"))
            .arg(format!("--pid=/proc/{pid}/ns/pid_for_children"))
            .arg(format!("--net=/proc/{pid}/ns/net"));
        if as_user {
            command.args([
                "setpriv",
                "--reuid",
                USER,
                "--regid",
                USER,
                "--clear-groups",
            ]);
        }
        let home = self.at(if as_user { "home" } else { "root" });
        let set = |name: &str, value: &dyn std::fmt::Display| format!("{name}={value}");
        command
            .args(["env", "-i"])
            // not by nsenter: it would be the directory outside
            .arg(format!("--chdir={}", self.dir().display()))
            .arg(set("PATH", &self.path))
            .arg(set("HOME", &home.display()))
            .arg(set("TMPDIR", &self.at("tmp").display()))
            .arg(set("XDG_RUNTIME_DIR", &self.at("xdg").display()))
            .arg("BUILDAH_ISOLATION=chroot")
            .arg("DOCKER_BUILDKIT=0")
            .arg(set(
                "CONTAINERS_CONF",
                &home.join("containers.conf").display(),
            ))
            .arg(set(
                "CONTAINERS_STORAGE_CONF",
                &home.join("storage.conf").display(),
            ));
        if !self.libraries.is_empty() {
            command.arg(set("LD_LIBRARY_PATH", &self.libraries));
        }
        command.args(args).stdin(Stdio::null());
        command
    }

    pub fn output(&self, as_user: bool, args: &[&str]) -> Output {
        self.command(as_user, args).output().unwrap()
    }

    /// One that has to succeed, as root; what it prints.
    #[track_caller]
    pub fn root(&self, args: &[&str]) -> String {
        let out = self.output(false, args);
        assert!(out.status.success(), "{args:?}: {}", text(&out));
        String::from_utf8(out.stdout).unwrap()
    }

    /// Starts a server, which ends with the room, and waits until `probe` succeeds.
    #[track_caller]
    pub fn serve(&self, args: &[&str], probe: &[&str]) {
        let log = self.at(&format!("{}.log", args[0]));
        let file = fs::File::create(&log).unwrap();
        let mut server = self.command(false, args);
        server.stdout(file.try_clone().unwrap()).stderr(file);
        let mut server = server.spawn().unwrap();
        let answers = || self.output(false, probe).status.success();
        assert!(
            wait_for(Duration::from_secs(40), answers),
            "{} does not answer: {}",
            args[0],
            fs::read_to_string(log).unwrap()
        );
        // nobody waits for it but this: its end is that of the room
        std::thread::spawn(move || server.wait());
    }

    /// A registry for images on this room's loopback device.
    #[track_caller]
    pub fn registry(&self) {
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:5000\"}}\n",
            self.text("registry")
        );
        fs::write(self.at("registry.yml"), config).unwrap();
        let serve = ["docker-registry", "serve", &self.text("registry.yml")];
        self.serve(&serve, &["bash", "-c", "</dev/tcp/127.0.0.1/5000"]);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // the first process takes all others with it, and its parent sees the end of the last
        let pid = self.holder.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let first = children.unwrap_or_default();
        if !first.trim().is_empty() {
            drop(Command::new("kill").arg("-9").arg(first.trim()).output());
        }
        if !wait_for(Duration::from_secs(20), || {
            !matches!(self.holder.try_wait(), Ok(None))
        }) {
            drop(self.holder.kill());
            drop(self.holder.wait());
        }
        // control groups that the killed left, empty; innermost first
        let line = r#"find /sys/fs/cgroup -depth -type d -path "*$1*" -exec rmdir {} + 2>/dev/null || true"#;
        let name = self.dir().file_name().unwrap().to_owned();
        drop(
            Command::new("sh")
                .args(["-c", line, "sh"])
                .arg(name)
                .output(),
        );
        // files of other users, and whiteouts, are no trouble for rm
        if let Some(dir) = self.dir.take() {
            drop(Command::new("rm").arg("-rf").arg(dir.path()).output());
        }
    }
}

/// A busybox root as a tar, in the folder `context` of the room, with more for a build, that belongs to the user.
pub fn context(room: &Room) -> String {
    let busybox = find("busybox").unwrap();
    let line = r#"
        mkdir "$1"; cd "$1"; mkdir -p r/bin r/etc r/tmp r/data/sub r/many r/root r/run r/usr tree/sub
        cp "$2" r/bin/busybox
        for name in $(r/bin/busybox --list); do [ "$name" = busybox ] || ln -s busybox "r/bin/$name"; done
        printf 'root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/:/bin/sh\n' >r/etc/passwd
        printf 'root:x:0:\nweb:x:34:\n' >r/etc/group; chmod 1777 r/tmp
        echo file >r/data/file; echo deep >r/data/sub/deep
        for i in $(seq 50); do echo $i >r/many/$i; done
        tar -C r --sort=name --owner=0 --group=0 -cf root.tar .
        echo a >tree/a; echo b >tree/sub/b; chown -R "$3:$3" ."#;
    let at = room.text("context");
    live::sh(
        line,
        &[OsStr::new(&at), busybox.as_os_str(), OsStr::new(USER)],
    );
    run(Command::new("test")
        .arg("-s")
        .arg(room.at("context/root.tar")));
    at
}
