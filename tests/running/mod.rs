//! A store with a small real root file system in it, and containers that a real runtime runs on it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test crate uses a part of it; a test fails by panicking"
)]

use crate::live::{self, VELLUM, text, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use vellum::image::digest::Digest;

/// Long enough for anything that does not hang.
pub const LIMIT: Duration = Duration::from_secs(20);

/// True if containers can run here; else the test is skipped.
pub fn may_run() -> bool {
    if !live::may_mount() {
        return false;
    }
    for (program, package) in [("busybox", "busybox-static"), ("runc", "runc")] {
        if find(program).is_none() {
            live::skip(&format!(
                "no {program}; 'scripts/deps.sh test' installs {package}"
            ));
            return false;
        }
    }
    true
}

/// A program of this machine.
pub fn find(program: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut dirs = std::env::split_paths(&paths).chain(more);
    dirs.find_map(|dir| Some(dir.join(program)).filter(|p| p.is_file()))
}

/// What the image has beside busybox.
const ROOT: &str = r#"
    cd "$1"; mkdir -p bin etc tmp data/sub home/www; chmod 1777 tmp
    cp "$2" bin/busybox
    for name in $(bin/busybox --list); do [ "$name" = busybox ] || ln -s busybox "bin/$name"; done
    printf 'root:x:0:0:root:/root:/bin/sh\nwww:x:33:34::/home/www:/bin/sh\n' >etc/passwd
    printf 'root:x:0:\nweb:x:34:\nlogs:x:40:www\n' >etc/group
    echo "of the image" >data/file; echo deep >data/sub/deep; chown 33:34 data
    printf '#!/no/such/shell\n' >bin/no-shell; chmod 755 bin/no-shell
    tar --sort=name --numeric-owner --format=pax -cf "$3" .
"#;

/// A store with the images `bb` (no command of its own) and `app` (with all that a configuration can
/// say).
pub struct Bed {
    dir: tempfile::TempDir,
}

impl Bed {
    /// A bed with no store yet, in a directory of the caller's choice.
    pub fn within(place: &Path) -> Bed {
        let mut folder = tempfile::Builder::new();
        Bed {
            dir: folder.prefix("vellum-run").tempdir_in(place).unwrap(),
        }
    }

    /// Makes it.
    pub fn new() -> Bed {
        let bed = Bed::within(&std::env::temp_dir());
        let (root, tar) = (bed.at("root"), bed.at("root.tar"));
        fs::create_dir(&root).unwrap();
        let busybox = find("busybox").unwrap();
        live::sh(
            ROOT,
            &[root.as_os_str(), busybox.as_os_str(), tar.as_os_str()],
        );
        let layer = fs::read(tar).unwrap();
        bed.image("bb:1", &layer, &json!({}));
        let config = json!({
            "User": "www", "WorkingDir": "/data", "StopSignal": "SIGUSR1",
            "Env": ["COLOUR=blue", "SHAPE=round"],
            "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo the image says so"],
            "Volumes": {"/data": {}}, "Labels": {"of": "image"},
        });
        bed.image("app:1", &layer, &config);
        bed
    }

    /// Loads an image of one layer with this configuration.
    pub fn image(&self, name: &str, layer: &[u8], config: &Value) {
        let layout = self.at(&name.replace(':', "-"));
        let blob = |kind: &str, bytes: &[u8]| {
            let digest = Digest::of(bytes);
            let dir = layout.join("blobs/sha256");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(digest.hex()), bytes).unwrap();
            let media_type = format!("application/vnd.oci.image.{kind}");
            json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
        };
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let document = json!({
            "architecture": arch, "os": "linux", "config": config,
            "rootfs": { "type": "layers", "diff_ids": [Digest::of(layer)] },
        });
        let config = blob("config.v1+json", document.to_string().as_bytes());
        let layer = blob("layer.v1.tar", layer);
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(layout.join("index.json"), index.to_string()).unwrap();
        fs::write(
            layout.join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        self.ok(&["load", "-q", "--name", name, layout.to_str().unwrap()]);
    }

    /// A place in the bed.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A place, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    /// A command on the store.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(VELLUM);
        command
            .args(args)
            .env("VELLUM_ROOT", self.at("store"))
            .env_remove("VELLUM_RUNTIME")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// A command that has to succeed; its output.
    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        self.code(args, 0).0
    }

    /// A command that has to end with this code; its output, and what it says.
    #[track_caller]
    pub fn code(&self, args: &[&str], code: i32) -> (String, String) {
        let out = self.run(args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out));
        let string = |bytes| String::from_utf8(bytes).unwrap();
        (string(out.stdout), string(out.stderr))
    }

    /// A line of shell in a new container of `bb:1`, with options; its output.
    #[track_caller]
    pub fn sh(&self, options: &[&str], line: &str) -> String {
        self.ok(&[&["run", "--rm"], options, &["bb:1", "sh", "-euc", line]].concat())
    }

    /// Something that has to become true.
    #[track_caller]
    pub fn soon(&self, what: &str, done: impl FnMut() -> bool) {
        assert!(wait_for(LIMIT, done), "{what} did not come about");
    }

    /// What `ps` says of a container.
    pub fn ps(&self, name: &str) -> Option<Value> {
        let all = self.ok(&["ps", "-a", "--format", "json"]);
        let lines = all
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        lines.into_iter().find(|c| c["Name"] == name)
    }

    /// The state of a container; `gone` if there is none.
    pub fn state(&self, name: &str) -> String {
        match self.ps(name) {
            Some(all) => all["State"].as_str().unwrap().to_owned(),
            None => "gone".to_owned(),
        }
    }

    /// Nothing is left: mounts, processes, control groups, folders.
    #[track_caller]
    pub fn nothing_is_left(&self) {
        self.soon("the end of all processes", || self.processes().is_empty());
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.dir.path().to_str().unwrap();
        let left: Vec<&str> = table.lines().filter(|l| l.contains(own)).collect();
        assert!(left.is_empty(), "{left:?}");
        let count = |dir: &str| {
            fs::read_dir(self.at("store/vellum").join(dir))
                .unwrap()
                .count()
        };
        for dir in ["uppers", "pins", "tmp", "volumes"] {
            if dir != "volumes" || self.at("store/vellum/volumes").exists() {
                assert_eq!(count(dir), 0, "{dir}");
            }
        }
    }

    /// Living processes that have the store in their environment or on their command line.
    pub fn processes(&self) -> Vec<i32> {
        let own = self.dir.path().as_os_str().as_encoded_bytes();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let name = entry.unwrap().file_name();
            let Some(pid) = name.to_str().and_then(|n| n.parse::<i32>().ok()) else {
                continue;
            };
            let has = |file: &str| {
                let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                text.windows(own.len()).any(|w| w == own)
            };
            let own_process = pid == i32::try_from(std::process::id()).unwrap();
            if !own_process && live::alive(pid) && (has("environ") || has("cmdline")) {
                found.push(pid);
            }
        }
        found
    }

    /// The control groups of a container.
    pub fn groups(&self, id: &str) -> Vec<PathBuf> {
        let top = Path::new("/sys/fs/cgroup");
        let mut all = vec![top.join("vellum").join(id)];
        for hierarchy in fs::read_dir(top).unwrap() {
            all.push(hierarchy.unwrap().path().join("vellum").join(id));
        }
        all.retain(|group| group.exists());
        all
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !self.at("store").exists() {
            return;
        }
        // a test that failed may have left some that run
        let names = self.run(&["ps", "-aq"]);
        for name in String::from_utf8_lossy(&names.stdout).lines() {
            drop(self.run(&["rm", "-f", name]));
        }
    }
}
