//! The oracle through images: random operations in a container, which is then committed, and the
//! image of it read by Vellum and by umoci. Each must show what a plain directory that got the
//! same operations does. Then the same again over that image, so that layers lie on each other.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::drive::without_sockets;
use common::kernel::Mounted;
use common::layers::{ALL_MARKS, Item, any_stack};
use common::mounts;
use common::op::{How, Node, Op};
use common::oracle::Oracle;
use common::random::{Asked, any_ops};
use common::real::Real;
use common::stack::Stack;
use common::subject::Subject;
use common::tree::{View, diff};
use proptest::prelude::*;
use std::path::Path;
use std::process::Command;

/// A store in the directory of a case.
struct Bed<'s> {
    stack: &'s Stack,
    store: String,
}

impl Bed<'_> {
    fn vellum(&self, command: &str, args: &[&str]) {
        mounts::run(&[&[command, "--root", &self.store], args].concat());
    }

    fn mount(&self, args: &[&str]) -> Mounted {
        let at = self.stack.mnt();
        self.vellum("mount", &[args, &[at.to_str().unwrap()]].concat());
        Mounted::at(&at)
    }

    /// What the image shows, by us and by umoci.
    fn compare(&self, image: &str, plain: &mut dyn Subject, view: &View) -> Result<(), String> {
        let want = plain.tree();
        let mount = self.mount(&["--read-only", image]);
        let said = Real::new(mount.path()).tree();
        mount.unmount();
        if let Some(diff) = diff(&said, &want, view) {
            return Err(format!("{image}, mounted:\n{diff}"));
        }
        let out = self.stack.path().join("unpacked");
        unpack(&self.store, image, &out);
        let said = Real::new(&out).tree();
        std::fs::remove_dir_all(&out).unwrap();
        // to readers of PAX by the letter, an attribute without a value is none
        let mut want = want;
        for entry in want.0.values_mut() {
            entry.xattrs.retain(|_, value| !value.is_empty());
        }
        match diff(&said, &want, view) {
            Some(diff) => Err(format!("{image}, unpacked by umoci:\n{diff}")),
            None => Ok(()),
        }
    }
}

fn unpack(store: &str, image: &str, out: &Path) {
    let mut umoci = Command::new("umoci");
    // tools know the images of a layout by their tags alone
    let tag = image.rsplit(':').next().unwrap();
    umoci.args(["raw", "unpack", "--image", &format!("{store}:{tag}")]);
    let done = umoci.arg(out).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "umoci: {said}");
}

fn committed_against_plain(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let stack = Stack::build(&without_sockets(layers));
    let bed = Bed {
        stack: &stack,
        store: stack.path().join("store").to_str().unwrap().into(),
    };
    let view = View::full();
    bed.vellum("import", &[stack.plain().to_str().unwrap(), "x:1"]);
    let mut plain = Real::new(&stack.plain());
    let (first, second) = ops.split_at(ops.len() / 2);
    for (ops, over, image) in [(first, "x:1", "x:2"), (second, "x:2", "x:3")] {
        let container = ["c", &image[2..]].concat();
        let mount = bed.mount(&["--name", &container, over]);
        let mut subject = Real::new(mount.path());
        let mut oracle = Oracle::new(&mut plain, view);
        let done = oracle.run(&mut subject, ops);
        oracle.release(&mut subject);
        subject.close();
        bed.vellum("commit", &[&container, image]);
        mount.unmount();
        done.map_err(|e| format!("over {over}: {e}"))?;
        bed.compare(image, &mut plain, &view)?;
    }
    stack.lowers_changed().map_or(Ok(()), Err)
}

/// An image has no sockets.
fn is_for_images(op: &Op) -> bool {
    !matches!(
        op,
        Op::Mknod {
            node: Node::Socket,
            ..
        }
    )
}

/// A directory that is moved is a new one to a layer. Its files stay one with their other names.
#[test]
fn a_name_elsewhere_of_a_file_in_a_directory_that_was_moved_is_committed() {
    let file = Item::File {
        path: "b/b",
        len: 3,
        byte: b'a',
        mode: 0o644,
        uid: 0,
    };
    let link = |to| Item::Link { from: "b/b", to };
    let rename = |from, to| Op::Rename {
        from,
        to,
        how: How::Plain,
    };
    let layer = vec![file, link("d/a"), link("c"), link("b/c")];
    let ops = [
        rename("b", "a"),
        Op::Unlink { path: "c" },
        rename("a", "d/b"),
        rename("d", "c"),
    ];
    committed_against_plain(&[layer], &ops).unwrap();
}

#[test]
fn what_was_committed_is_a_plain_directory() {
    let mut config = common::config(
        "proptest-regressions/what_was_committed_is_a_plain_directory.txt",
        15,
    );
    config.max_shrink_iters = 200; // each takes half a second
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(Asked { readers: true }, 40))| {
        let ops: Vec<Op> = ops.into_iter().filter(is_for_images).collect();
        committed_against_plain(&layers, &ops).map_err(TestCaseError::fail)?;
    });
}
