//! An image with something of every kind in it, in a store of its own, and what a mount of it shows.
//!
//! GNU tar makes its three layers, so nothing of the program under test is in them. What a tree shows
//! is one line a path, so that two trees differ in lines that can be read.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test crate uses a part of it; a test fails by panicking"
)]

use crate::common::walk;
use crate::live::{self, Stack, VELLUM, sh, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use vellum::image::digest::Digest;

/// The lowest layer.
const BASE: &str = r#"
    mkdir -p bin etc dev links moved/below tree/a opaque/sub anew acl attrs-dir
    mkdir -p dir-to-file/x file-dir/y dir-to-link/z times
    echo root >etc/passwd; echo host >etc/hosts; echo plain >plain
    echo su >bin/su; chmod 6755 bin/su; chown 0:5 bin/su
    echo ping >bin/ping; setcap cap_net_raw=ep bin/ping
    mknod -m 620 dev/null c 1 3; mknod -m 660 dev/disk b 259 70000; mkfifo -m 604 dev/fifo
    chown 1000:100 dev/fifo; mkdir -m 1777 tmp
    echo linked >links/one; chmod 640 links/one; ln links/one links/two
    echo below >moved/below/file; echo a >tree/a/f; ln -s ../x tree/s
    echo o >opaque/old; echo o >opaque/sub/old; echo o >opaque/kept
    echo n >anew/old; echo x >dir-to-file/x/f; echo y >file-dir/y/f; echo z >dir-to-link/z/f
    echo f >file-to-dir; ln -s nowhere link-to-file; echo b >becomes; echo w >owned
    echo gone >gone; mkdir -p gone-dir/deep; echo g >gone-dir/deep/f
    echo acl >acl/file; setfacl -m u:31337:rw,g:31338:x acl/file
    mkdir acl/dir; setfacl -m d:u:31337:rwx acl/dir
    echo attrs >attrs; setfattr -n user.gone -v 1 attrs; setfattr -n user.bin -v 0x00ff0a3d attrs
    setfattr -n trusted.t -v t attrs-dir
    truncate -s 1000000 sparse; printf data | dd of=sparse bs=1 seek=500000 conv=notrunc status=none
    l=$(printf '%0200d' 7); mkdir -p $l/$l; echo long >$l/$l/$l; ln -s /$l/$l/$l long-target
    echo bytes >"$(printf 'bytes \377\n')"; echo utf >größe
    seq 1 60000 >large
    echo t >times/before; echo t >times/fraction; echo t >times/epoch
    touch -d '1955-11-05 06:00:00.25' times/before; touch -d '@0' times/epoch
    touch -d '2024-02-29 12:00:00.123456789' times/fraction
    touch -d '1969-12-31 23:59:59.5 UTC' times
"#;

/// The next: a link to a file below, marks, and other types in the same places. `links/one` is there so
/// that tar finds the link, and is deleted from the archive.
const NEXT: &str = r#"
    mkdir -p opaque/sub gone-dir dir-to-link links file-to-dir
    cp -a "$1/links/one" links/one; ln links/one links/three
    touch .wh.gone gone-dir/.wh.deep opaque/.wh..wh..opq
    echo n >opaque/new; echo n >opaque/sub/new
    echo now >dir-to-file; echo now >file-to-dir/f; rmdir dir-to-link; ln -s tmp dir-to-link
    echo now >link-to-file; touch .wh.file-dir
"#;

/// The last: a file again where one was removed, and a changed one.
const TOP: &str = r#"
    mkdir -p opaque etc; echo again >gone; echo k >opaque/kept; echo 'host 2' >etc/hosts
    setfattr -n user.top -v 1 etc/hosts; chmod 750 opaque; chmod 751 .; chown 3:4 .
"#;

/// Something of every kind that a container can do to its image. What was written gets a time by
/// command at the end: that of a write is the kernel's until it is written back.
const CHANGES: &str = "
    echo more >>etc/passwd
    ln etc/passwd etc/passwd.2
    echo more >>links/one
    chmod 2750 bin
    chmod 600 bin/su
    rm plain; rm -r tree
    rm -r anew; mkdir -m 711 anew; echo n >anew/n
    mv moved went
    mknod dev/zero c 1 5; mkfifo -m 640 pipe; ln -s 'to nowhere' link
    echo s >\"$(printf 'bytes \\376')\"
    setfattr -n user.new -v v etc/hosts
    setfattr -x user.gone attrs
    setfacl -m u:77:r etc/hosts
    chown 7:8 owned
    touch -d '1960-01-02 03:04:05.123456789' old
    touch -h -d '2001-02-03 04:05:06.7' link
    rm becomes; mkdir becomes; touch becomes/a
    rm -r dir-to-file; echo f >dir-to-file
    touch passing; rm passing
    truncate -s 3000000 sparse
    find . -depth -newermt 2025-01-01 -exec touch -h -d '2024-05-06 07:08:09.101112' {} +
";

/// A store with the image `rich:1`, also in the OCI layout `layout` as `t`.
pub struct Bed {
    stack: Stack,
}

/// What a tree shows: lines by their paths.
pub type Shown = BTreeMap<String, String>;

/// Makes [`CHANGES`] in a mount of `rich:1`.
pub fn change(mnt: &Path) {
    sh(&format!("cd \"$1\"{CHANGES}"), &[mnt.as_os_str()]);
}

/// True if all are on the PATH; else the test is skipped.
pub fn have(tools: &[&str]) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    for tool in tools {
        if !std::env::split_paths(&paths).any(|dir| dir.join(tool).is_file()) {
            live::skip(&format!("no {tool}; 'scripts/deps.sh test' installs it"));
            return false;
        }
    }
    true
}

/// Compares two trees, and shows only where they differ.
#[track_caller]
pub fn same(found: &Shown, wanted: &Shown) {
    let names: std::collections::BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let differ: Vec<String> = names
        .into_iter()
        .filter(|name| found.get(*name) != wanted.get(*name))
        .map(|name| {
            let (found, wanted) = (found.get(name), wanted.get(name));
            format!("{name:?}\n  found  {found:?}\n  wanted {wanted:?}\n")
        })
        .collect();
    assert!(differ.is_empty(), "\n{}", differ.concat());
}

/// What the tree at `root` shows. A directory's count of links and any size of one are a file system's
/// own affair.
pub fn shown(root: &Path) -> Shown {
    let tree = walk::tree(root);
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let mut lines = Shown::new();
    for (path, e) in &tree.0 {
        let kind = e.mode & libc::S_IFMT;
        let links = match kind == libc::S_IFDIR {
            true => String::new(),
            false => {
                let with = first.entry(e.ino).or_insert_with(|| path.clone());
                format!(" links {} with {with}", e.nlink)
            }
        };
        let device = match kind == libc::S_IFCHR || kind == libc::S_IFBLK {
            true => format!(" device {:x}", e.rdev),
            false => String::new(),
        };
        let data = match kind {
            libc::S_IFREG => format!(" {} bytes {}", e.data.len(), Digest::of(&e.data).short()),
            libc::S_IFLNK => format!(" -> {}", e.data.escape_ascii()),
            _ => String::new(),
        };
        let xattrs: String = e
            .xattrs
            .iter()
            .map(|(name, value)| format!(" [{}={}]", name.escape_ascii(), hex(value)))
            .collect();
        let line = format!(
            "{:o} {}:{} at {:?}{links}{device}{data}{xattrs} {:?}",
            e.mode, e.uid, e.gid, e.mtime, e.faults
        );
        lines.insert(path.clone(), line);
    }
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A layer that the script makes in an empty directory.
fn layer(dir: &Path, name: &str, script: &str, below: &Path, tar_more: &str) -> Vec<u8> {
    let root = dir.join(name);
    fs::create_dir(&root).unwrap();
    let tar = dir.join(format!("{name}.tar"));
    // every time is some way in the past, and differs from layer to layer
    let line = format!(
        "umask 022; cd \"$2\"; {script}\n\
         find . -newermt 2025-01-01 -exec touch -h -d \"2023-0{}-02 03:04:05.6789\" {{}} +\n\
         tar --sort=name --numeric-owner --format=pax --sparse --xattrs --xattrs-include='*' --acls \
             --pax-option=delete=atime,delete=ctime -C \"$2\" -cf \"$3\" .\n{tar_more}",
        name.len()
    );
    sh(
        &line,
        &[below.as_os_str(), root.as_os_str(), tar.as_os_str()],
    );
    fs::read(tar).unwrap()
}

fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> Value {
    let digest = Digest::of(bytes);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
    let media_type = format!("application/vnd.oci.image.{kind}");
    json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
}

/// An OCI layout of an image with these layers, lowest first; the first plain, others compressed.
pub fn layout(at: &Path, layers: &[Vec<u8>]) {
    fs::create_dir_all(at.join("blobs/sha256")).unwrap();
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let diff_ids: Vec<Digest> = layers.iter().map(|l| Digest::of(l)).collect();
    let config = json!({
        "architecture": arch, "os": "linux", "config": {"Cmd": ["sh"]},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = blob(at, "config.v1+json", config.to_string().as_bytes());
    let one = |(n, layer): (usize, &Vec<u8>)| match n {
        0 => blob(at, "layer.v1.tar", layer),
        _ => {
            let mut gzip =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut gzip, layer).unwrap();
            blob(at, "layer.v1.tar+gzip", &gzip.finish().unwrap())
        }
    };
    let layers: Vec<Value> = layers.iter().enumerate().map(one).collect();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let mut manifest = blob(at, "manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "t" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(at.join("index.json"), index.to_string()).unwrap();
    let version = json!({ "imageLayoutVersion": "1.0.0" });
    fs::write(at.join("oci-layout"), version.to_string()).unwrap();
}

impl Bed {
    /// Makes the image and loads it.
    pub fn new() -> Bed {
        Bed::made("tar --delete -f \"$3\" ./links/one")
    }

    /// The same, but each layer has all names of its files: a tool that unpacks a layer into a folder
    /// of its own cannot make a link to a file of another.
    pub fn without_links_to_below() -> Bed {
        Bed::made("")
    }

    fn made(after_next: &str) -> Bed {
        let bed = Bed {
            stack: Stack::new(0),
        };
        let dir = bed.stack.dir();
        let base = dir.join("base");
        let layers = [
            layer(dir, "base", BASE, &base, ""),
            layer(dir, "next1", NEXT, &base, after_next),
            layer(dir, "layer3", TOP, &base, ""),
        ];
        layout(&dir.join("layout"), &layers);
        bed.vellum(&["load", "-q", "--name", "rich:1", "layout"]);
        bed
    }

    /// Loads another image, `other:1`.
    pub fn second_image(&self) {
        let dir = self.stack.dir();
        let only = layer(dir, "other-root", "echo o >other", dir, "");
        layout(&dir.join("other-layout"), &[only]);
        self.vellum(&["load", "-q", "--name", "other:1", "other-layout"]);
    }

    /// A place in the bed.
    pub fn at(&self, name: &str) -> PathBuf {
        self.stack.dir().join(name)
    }

    /// Where it is mounted.
    pub fn mnt(&self) -> &Path {
        &self.stack.mnt
    }

    /// A command on the store.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(VELLUM);
        command
            .args(args)
            .env("VELLUM_ROOT", self.at("store"))
            .current_dir(self.stack.dir())
            .stdin(Stdio::null());
        command
    }

    /// A command that has to succeed; its output.
    #[track_caller]
    pub fn vellum(&self, args: &[&str]) -> String {
        live::run(&mut self.command(args))
    }

    /// A command that has to fail with this code; what it says.
    #[track_caller]
    pub fn fails(&self, args: &[&str], code: i32) -> String {
        let out = self.command(args).output().unwrap();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out));
        String::from_utf8(out.stderr).unwrap()
    }

    /// Another program, which has to succeed; its output.
    #[track_caller]
    pub fn tool(&self, program: &str, args: &[&str]) -> String {
        live::run(
            Command::new(program)
                .args(args)
                .current_dir(self.stack.dir()),
        )
    }

    /// Mounts; what the command prints.
    #[track_caller]
    pub fn mount(&self, args: &[&str]) -> String {
        let mnt = self.mnt().to_str().unwrap();
        self.vellum(&[&["mount"], args, &[mnt]].concat())
    }

    /// Unmounts, and waits until the process is gone, which has the upper until then.
    #[track_caller]
    pub fn umount(&self) {
        let daemons = self.daemons();
        // a process that another test starts has all files that this one has open, until it begins its
        // own program: for that moment the mount is busy
        let done = || {
            let mnt = self.mnt().to_str().unwrap();
            let out = self.command(&["umount", mnt]).output().unwrap();
            assert!(
                out.status.success() || text(&out).contains("EBUSY"),
                "{}",
                text(&out)
            );
            out.status.success()
        };
        assert!(live::wait_for(std::time::Duration::from_secs(60), done));
        for pid in daemons {
            let gone = || !live::alive(pid);
            assert!(live::wait_for(std::time::Duration::from_secs(60), gone));
        }
    }

    /// How many mounts there are on the mountpoint.
    pub fn mounts(&self) -> usize {
        self.stack.mounts()
    }

    /// The processes that serve them.
    pub fn daemons(&self) -> Vec<i32> {
        self.stack.daemons()
    }

    /// How many entries a directory has.
    pub fn entries(&self, name: &str) -> usize {
        fs::read_dir(self.at(name)).unwrap().count()
    }

    /// What the mount shows.
    pub fn shown(&self) -> Shown {
        shown(self.mnt())
    }

    /// What umoci makes of an image.
    #[track_caller]
    pub fn umoci(&self, image: &str) -> Shown {
        let place = tempfile::tempdir_in(self.stack.dir()).unwrap();
        let rootfs = place.path().join("rootfs");
        let args = ["raw", "unpack", "--image", image, rootfs.to_str().unwrap()];
        self.tool("umoci", &args);
        shown(&rootfs)
    }
}
