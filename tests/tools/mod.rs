//! Programs that work with images, each with its state in a directory of the test: podman and buildah
//! over kernel overlayfs or a mount program, and a containerd of the test's own.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test crate uses a part of it; a test fails by panicking"
)]

use crate::live;
use crate::rich::{Shown, shown};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a tree shows once a Go program has unpacked its layers one by one, each into a folder of its own
/// beneath kernel overlayfs:
/// * the root of the tree is the folder, whatever a layer says of its root (containerd and podman pass
///   that entry over; umoci does not);
/// * a time before 1970 becomes 1970;
/// * a file counts the names that layers above hide: those of `hidden`, one each.
pub fn by_layers_in_go(shown: &Shown, hidden: &[&str]) -> Shown {
    let mut shown = shown.clone();
    shown.remove("");
    for (path, line) in &mut shown {
        if let Some((head, rest)) = line.split_once(" at (-") {
            let (_, tail) = rest.split_once(')').unwrap();
            *line = format!("{head} at (0, 0){tail}");
        }
        if hidden.contains(&path.as_str()) {
            assert!(line.contains(" links 1 "), "{path}: {line}");
            *line = line.replace(" links 1 ", " links 2 ");
        }
    }
    shown
}

/// Takes the attributes in `trusted.` out, which containerd drops.
pub fn without_trusted(shown: &mut Shown) {
    for line in shown.values_mut() {
        while let Some(begin) = line.find(" [trusted.") {
            let end = line[begin..].find(']').unwrap() + 1;
            line.replace_range(begin..begin + end, "");
        }
    }
}

/// Takes the number of names out, which kernel overlayfs counts with those that are hidden. Which names are one
/// file stays.
pub fn without_link_counts(shown: &mut Shown) {
    for line in shown.values_mut() {
        if let Some((head, tail)) = line.split_once(" links ") {
            let (_, tail) = tail.split_once(' ').unwrap();
            *line = format!("{head} {tail}");
        }
    }
}

/// podman and buildah, with a storage of their own.
pub struct Containers {
    dir: PathBuf,
}

impl Containers {
    /// Their configuration and storage in the folder `dir`, which it makes. Kernel overlayfs mounts
    /// the layers.
    pub fn new(dir: PathBuf) -> Containers {
        Containers::mounting_by(dir, None)
    }

    /// The same, with a program that mounts the layers.
    pub fn mounting_by(dir: PathBuf, program: Option<&Path>) -> Containers {
        fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        // locks in files: else they are in /dev/shm, and outlive the test
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile=16384:16384\", \"nproc=16384:16384\"]\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\n\
             tmp_dir = \"{}\"\nimage_copy_tmp_dir = \"{}\"\n",
            at("tmp"),
            at("copies")
        );
        let mut storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            at("root"),
            at("run")
        );
        if let Some(program) = program {
            let program = program.display();
            storage += &format!("[storage.options.overlay]\nmount_program = \"{program}\"\n");
        }
        fs::create_dir(dir.join("copies")).unwrap();
        fs::write(dir.join("containers.conf"), containers).unwrap();
        fs::write(dir.join("storage.conf"), storage).unwrap();
        // whatever this machine trusts
        let own = dir.join(".config/containers");
        fs::create_dir_all(&own).unwrap();
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        fs::write(own.join("policy.json"), policy).unwrap();
        Containers { dir }
    }

    /// Runs podman or buildah, or another program that asks for the same storage; what it prints.
    #[track_caller]
    pub fn run(&self, program: &str, args: &[&str]) -> String {
        live::run(
            Command::new(program)
                .args(args)
                .current_dir(self.dir.parent().unwrap())
                .env("CONTAINERS_CONF", self.dir.join("containers.conf"))
                .env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"))
                .env("BUILDAH_ISOLATION", "chroot")
                .env("TMPDIR", self.dir.join("copies"))
                .env("HOME", &self.dir)
                .stdin(Stdio::null()),
        )
    }

    /// What podman shows of an image that it has; not its root, see [`by_layers_in_go`].
    #[track_caller]
    pub fn podman_shows(&self, image: &str) -> Shown {
        let at = self.run("podman", &["image", "mount", image]);
        let mut tree = shown(Path::new(at.trim_end()));
        tree.remove("");
        self.run("podman", &["image", "umount", image]);
        tree
    }

    /// The same by buildah, of an image that it may have to get first.
    #[track_caller]
    pub fn buildah_shows(&self, image: &str) -> Shown {
        let container = self.run("buildah", &["from", image]);
        let container = container.trim_end();
        let at = self.run("buildah", &["mount", container]);
        let mut tree = shown(Path::new(at.trim_end()));
        tree.remove("");
        self.run("buildah", &["umount", container]);
        self.run("buildah", &["rm", container]);
        tree
    }
}

/// A containerd, with its snapshotter over kernel overlayfs; it ends with the value. (The one that copies layer
/// upon layer loses the times of directories, and leaves the attributes of those that a layer replaces.)
pub struct Containerd {
    dir: PathBuf,
    daemon: Child,
}

impl Containerd {
    /// Starts it, with all it has in the folder `dir`, which it makes.
    pub fn start(dir: PathBuf) -> Containerd {
        fs::create_dir(&dir).unwrap();
        let at = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
             [grpc]\naddress = \"{}\"\n",
            at("root"),
            at("state"),
            at("s")
        );
        fs::write(dir.join("config.toml"), config).unwrap();
        let log = File::create(dir.join("log")).unwrap();
        let daemon = Command::new("containerd")
            .arg("-c")
            .arg(dir.join("config.toml"))
            .env("TMPDIR", &dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Containerd { dir, daemon };
        let ready = || {
            let out = containerd.command(&["version"]).output().unwrap();
            out.status.success()
        };
        assert!(
            live::wait_for(Duration::from_secs(30), ready),
            "containerd does not answer: {}",
            fs::read_to_string(containerd.dir.join("log")).unwrap()
        );
        containerd
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command
            .arg("-a")
            .arg(self.dir.join("s"))
            .args(args)
            .current_dir(self.dir.parent().unwrap())
            .stdin(Stdio::null());
        command
    }

    /// Runs ctr; what it prints.
    #[track_caller]
    pub fn ctr(&self, args: &[&str]) -> String {
        live::run(&mut self.command(args))
    }

    /// Takes an archive in; the names of what is there then.
    #[track_caller]
    pub fn import(&self, archive: &str) -> Vec<String> {
        self.ctr(&["image", "import", archive]);
        let names = self.ctr(&["image", "ls", "-q"]);
        names.lines().map(str::to_owned).collect()
    }

    /// What it shows of an image; not its root.
    #[track_caller]
    pub fn shows(&self, image: &str) -> Shown {
        let at = self.dir.join("view");
        fs::create_dir_all(&at).unwrap();
        let place = at.to_str().unwrap();
        self.ctr(&["image", "mount", image, place]);
        let mut tree = shown(&at);
        tree.remove("");
        self.ctr(&["image", "unmount", "--rm", place]);
        tree
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let pid = self.daemon.id().to_string();
        // asked to end it unmounts what it has mounted
        let asked = Command::new("kill").arg(&pid).status();
        let ended = || !matches!(self.daemon.try_wait(), Ok(None));
        if !asked.is_ok_and(|s| s.success()) || !live::wait_for(Duration::from_secs(10), ended) {
            drop(self.daemon.kill());
            drop(self.daemon.wait());
        }
    }
}
