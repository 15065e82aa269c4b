//! The oracle on real mounts: random operations by system calls, on a mount and on a plain
//! directory, compared after every step and after a remount. Kernel overlayfs goes first: what
//! the reference passes is what the test asks for, and what it cannot is listed with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::drive::without_sockets;
use common::kernel::{self, Mounted};
use common::layers::{ALL_MARKS, Item, any_stack, reference_stack};
use common::mounts::{self, Io};
use common::op::Op;
use common::oracle::Oracle;
use common::random::{Asked, any_ops};
use common::real::Real;
use common::stack::Stack;
use common::tree::View;
use common::walk::fingerprint;
use proptest::prelude::*;

/// The mount against a plain directory, with a remount in the middle and one at the end.
fn against_plain(
    layers: &[Vec<Item>],
    ops: &[Op],
    view: View,
    ghosts: bool,
    mount: impl Fn(&Stack) -> Mounted,
) -> Result<(), String> {
    let stack = Stack::build(layers);
    stack_against_plain(&stack, ops, view, ghosts, &|| mount(&stack))
}

fn stack_against_plain(
    stack: &Stack,
    ops: &[Op],
    view: View,
    ghosts: bool,
    mount: &dyn Fn() -> Mounted,
) -> Result<(), String> {
    let mut plain = Real::new(&stack.plain());
    let mut oracle = Oracle::new(&mut plain, view);
    for ops in [
        ops.split_at(ops.len() / 2).0,
        ops.split_at(ops.len() / 2).1,
        &[],
    ] {
        let mounted = mount();
        let mut subject = Real::new(mounted.path());
        subject.ghosts = ghosts;
        let done = oracle.run(&mut subject, ops);
        oracle.release(&mut subject);
        subject.close();
        mounted.unmount();
        done.map_err(|e| format!("{} operations in this mount: {e}", ops.len()))?;
    }
    stack.lowers_changed().map_or(Ok(()), Err)
}

/// A mount of an image in a store: what the layers show, imported.
fn image_against_plain(layers: &[Vec<Item>], ops: &[Op], io: Io) -> Result<(), String> {
    let stack = Stack::build(&without_sockets(layers));
    let root = stack.path().join("store");
    let store = root.to_str().unwrap();
    let plain = stack.plain();
    let import = ["import", "--root", store, plain.to_str().unwrap(), "x:1"];
    mounts::run(&import);
    let image = ["blobs", "vellum/layers", "vellum/objects", "vellum/index"];
    let state = || image.map(|part| fingerprint(&root.join(part)));
    let before = state();
    let mount = || mounts::mount_image(&stack, store, "x:1", io);
    stack_against_plain(&stack, ops, View::full(), false, &mount)?;
    match state() == before {
        true => Ok(()),
        false => Err("the image changed".into()),
    }
}

fn fail(e: String) -> TestCaseError {
    TestCaseError::fail(e)
}

/// The reference. What it is not asked for:
/// * link counts of directories (its documentation: merged ones show 1);
/// * readers that opened a file before it was copied up: they keep the lower's data;
/// * AUFS's, fuse-overlayfs's and `user.overlay.` marks in layers, which are not its own;
/// * whiteouts in a directory that only one layer has: it lists them, and finds nothing;
/// * whiteouts by attribute: a directory of one layer that has one is ENOTEMPTY to rmdir;
/// * names that a layer above hides: it counts them as links;
/// * with `index=off`, hard links of a lower; so it runs with `index=on`;
/// * with `metacopy=on`, times of files whose attributes were changed first; so it runs without.
#[test]
fn kernel_overlayfs_is_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/kernel_overlayfs_is_a_plain_directory.txt",
        15,
    );
    let asked = Asked { readers: false };
    proptest!(config, |(layers in reference_stack(), ops in any_ops(asked, 40))| {
        let view = kernel::view(true, View::full());
        against_plain(&layers, &ops, view, true, kernel::reference).map_err(fail)?;
    });
}

#[test]
fn cached_mount_is_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/cached_mount_is_a_plain_directory.txt",
        15,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(Asked { readers: true }, 40))| {
        against_plain(&layers, &ops, View::full(), false, |s| mounts::mount(s, Io::Cached)).map_err(fail)?;
    });
}

/// The other two are by io_uring, where the kernel offers that.
#[test]
fn mount_by_the_device_is_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/mount_by_the_device_is_a_plain_directory.txt",
        15,
    );
    let mount = |s: &Stack| mounts::mount_with(s, Io::Cached, &["-o", "io_uring=off"]);
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(Asked { readers: true }, 40))| {
        against_plain(&layers, &ops, View::full(), false, mount).map_err(fail)?;
    });
}

/// A reader that opened a lower file before it was copied up keeps the lower's data, for the
/// kernel cannot take a backing file back; so there are none here.
#[test]
fn passthrough_mount_is_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/passthrough_mount_is_a_plain_directory.txt",
        15,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(Asked { readers: false }, 40))| {
        against_plain(&layers, &ops, View::full(), false, |s| mounts::mount(s, Io::Passthrough)).map_err(fail)?;
    });
}

#[test]
fn cached_mount_of_an_image_is_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/cached_mount_of_an_image_is_a_plain_directory.txt",
        15,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(Asked { readers: true }, 40))| {
        image_against_plain(&layers, &ops, Io::Cached).map_err(fail)?;
    });
}

/// A file in a pack goes through the daemon, one in the upper does not; readers as above.
#[test]
fn passthrough_mount_of_an_image_is_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/passthrough_mount_of_an_image_is_a_plain_directory.txt",
        15,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(Asked { readers: false }, 40))| {
        image_against_plain(&layers, &ops, Io::Passthrough).map_err(fail)?;
    });
}
