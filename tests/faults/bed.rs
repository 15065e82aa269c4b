//! A mounted stack for a scenario, unmounted at its end, with its layers checked.

use crate::common::kernel::Mounted;
use crate::common::layers::Item;
use crate::common::mounts::{self, Io};
use crate::common::stack::Stack;
use crate::common::tree::{View, diff};
use crate::common::walk;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The mount of a scenario.
pub struct Bed {
    pub stack: Stack,
    io: Io,
    mounted: Option<Mounted>,
}

impl Bed {
    /// Mounts a stack of these layers, topmost first.
    pub fn new(io: Io, layers: &[Vec<Item>]) -> Bed {
        Bed::on(io, Stack::build(layers))
    }

    /// Mounts a stack.
    pub fn on(io: Io, stack: Stack) -> Bed {
        let mounted = Some(mounts::mount(&stack, io));
        Bed { stack, io, mounted }
    }

    /// A path in the mount.
    pub fn at(&self, path: &str) -> PathBuf {
        self.stack.mnt().join(path)
    }

    /// Unmounts.
    pub fn unmount(&mut self) {
        if let Some(mounted) = self.mounted.take() {
            mounted.unmount();
        }
    }

    /// Unmounts, and mounts the same again.
    pub fn remount(&mut self) {
        self.unmount();
        self.mounted = Some(mounts::mount(&self.stack, self.io));
    }

    /// Names in a directory of the mount, sorted.
    pub fn names(&self, path: &str) -> Vec<String> {
        names(&self.at(path))
    }

    /// Runs a script in the mount, as root.
    pub fn sh(&self, script: &str) -> String {
        said(
            Command::new("sh")
                .args(["-ec", script])
                .current_dir(self.at(""))
                .output(),
        )
    }

    /// Runs a script in the mount and in the plain directory, and compares what both say, and the
    /// trees.
    pub fn same(&self, script: &str) {
        let run = |dir: &Path| {
            let out = Command::new("sh")
                .args(["-c", script])
                .current_dir(dir)
                .output()
                .unwrap();
            let text = |b: &[u8]| String::from_utf8_lossy(b).replace(dir.to_str().unwrap(), "");
            (out.status.code(), text(&out.stdout), text(&out.stderr))
        };
        assert_eq!(run(&self.at("")), run(&self.stack.plain()), "{script}");
        self.compare();
    }

    /// The mount and the plain directory are equal.
    pub fn compare(&self) {
        let view = View {
            began: crate::common::tree::now() - 60,
            ..View::full()
        };
        let (mount, plain) = (walk::tree(&self.at("")), walk::tree(&self.stack.plain()));
        if let Some(diff) = diff(&mount, &plain, &view) {
            panic!("{diff}");
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return; // `Mounted` detaches
        }
        self.unmount();
        if let Some(changed) = self.stack.lowers_changed() {
            panic!("{changed}");
        }
    }
}

/// Runs a script as a user with no privilege; the caller looks at how it went.
pub fn as_user(uid: u32, dir: &Path, script: &str) -> Output {
    Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .uid(uid)
        .gid(uid)
        .output()
        .unwrap()
}

/// What a command said; it must succeed.
pub fn said(output: std::io::Result<Output>) -> String {
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let mut out: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    out.sort();
    out
}

/// A small file of a layer.
pub fn file(path: &'static str) -> Item {
    Item::File {
        path,
        len: 5,
        byte: b'a',
        mode: 0o644,
        uid: 0,
    }
}

/// A directory of a layer.
pub fn dir(path: &'static str, mode: u32) -> Item {
    Item::Dir { path, mode, uid: 0 }
}
