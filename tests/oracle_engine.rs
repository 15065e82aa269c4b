//! The oracle, in process: random operations on random layers, done to an engine and to a plain
//! directory. Everything is compared after every step, again after a remount, and again through
//! kernel overlayfs on the same upper. `VELLUM_CASES` says how many cases; failures shrink, and
//! their seeds are kept in `proptest-regressions/`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::inproc::InProcess;
use common::kernel;
use common::layers::{ALL_MARKS, Item, KERNEL_MARKS, any_stack};
use common::op::{Asked, Op, any_ops};
use common::oracle::Oracle;
use common::real::Real;
use common::stack::Stack;
use common::subject::Subject;
use common::tree::{View, diff};
use proptest::prelude::*;

const ALL: Asked = Asked { readers: true };

/// The engine against a plain directory; then both again after a remount, twice.
fn against_plain(layers: &[Vec<Item>], ops: &[Op], forgetful: bool) -> Result<(), String> {
    let view = View::full();
    let stack = Stack::build(layers);
    let mut plain = Real::new(&stack.plain());
    let mut oracle = Oracle::new(&mut plain, view);
    let (first, second) = ops.split_at(ops.len() / 2);
    let mut engine = InProcess::new(stack.engine(), forgetful);
    oracle.run(&mut engine, first)?;
    oracle.release(&mut engine);
    drop(engine);
    let mut engine = InProcess::new(stack.engine(), forgetful);
    oracle.compare(&mut engine, "after a remount")?;
    oracle
        .run(&mut engine, second)
        .map_err(|e| format!("after a remount: {e}"))?;
    oracle.release(&mut engine);
    drop(engine);
    oracle.compare(
        &mut InProcess::new(stack.engine(), forgetful),
        "after the last remount",
    )?;
    stack.lowers_changed().map_or(Ok(()), Err)
}

/// An upper that the engine wrote, read by the kernel.
fn then_kernel(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let view = View::full();
    let stack = Stack::build(layers);
    let mut plain = Real::new(&stack.plain());
    let mut engine = InProcess::new(stack.engine(), true);
    for op in ops {
        let done = (op.apply(&mut engine, &view), op.apply(&mut plain, &view));
        if done.0 != done.1 {
            return Err(format!("{op:?}: {done:?}"));
        }
    }
    drop(engine);
    let mount = kernel::overlay(&stack, false);
    let (a, b) = (kernel::tree(&mount), plain.tree());
    mount.unmount();
    match diff(&a, &b, &kernel::view(false, view)) {
        Some(diff) => Err(format!("through kernel overlayfs:\n{diff}")),
        None => stack.lowers_changed().map_or(Ok(()), Err),
    }
}

/// An upper that the kernel wrote, read and written on by the engine.
fn kernel_first(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let view = View::full();
    let stack = Stack::build(layers);
    let (first, second) = ops.split_at(ops.len() / 2);
    let mount = kernel::overlay(&stack, false);
    let mut subject = Real::new(mount.path());
    for op in first {
        // what the kernel makes of it is not our affair here
        drop(op.apply(&mut subject, &view));
    }
    subject.close();
    let said = kernel::tree(&mount);
    mount.unmount();
    let mut engine = InProcess::new(stack.engine(), true);
    if let Some(diff) = diff(&engine.tree(), &said, &kernel::view(false, view)) {
        return Err(format!("what kernel overlayfs left:\n{diff}"));
    }
    // a plain directory from the kernel's own tree, to go on from
    let plain_dir = stack.path().join("plain2");
    std::fs::create_dir(&plain_dir).unwrap();
    let mount = kernel::overlay(&stack, false);
    common::flatten::flatten(&[mount.path().to_owned()], &plain_dir);
    mount.unmount();
    drop(engine);
    engine = InProcess::new(stack.engine(), true);
    let mut plain = Real::new(&plain_dir);
    let mut oracle = Oracle::new(
        &mut plain,
        View {
            links: false,
            ..view
        },
    );
    oracle.inos = None; // names of one file parted in the kernel's copy-ups, and in `plain` with them
    oracle
        .run(&mut engine, second)
        .map_err(|e| format!("over what kernel overlayfs left: {e}"))?;
    stack.lowers_changed().map_or(Ok(()), Err)
}

fn fail(e: String) -> TestCaseError {
    TestCaseError::fail(e)
}

#[test]
fn engine_is_a_plain_directory() {
    let config = common::config("proptest-regressions/engine_is_a_plain_directory.txt", 40);
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(ALL, 40), forgetful: bool)| {
        against_plain(&layers, &ops, forgetful).map_err(fail)?;
    });
}

#[test]
fn what_the_engine_wrote_the_kernel_reads() {
    let config = common::config(
        "proptest-regressions/what_the_engine_wrote_the_kernel_reads.txt",
        40,
    );
    proptest!(config, |(layers in any_stack(KERNEL_MARKS), ops in any_ops(ALL, 40))| {
        then_kernel(&layers, &ops).map_err(fail)?;
    });
}

#[test]
fn what_the_kernel_wrote_the_engine_reads() {
    let config = common::config(
        "proptest-regressions/what_the_kernel_wrote_the_engine_reads.txt",
        40,
    );
    proptest!(config, |(layers in any_stack(KERNEL_MARKS), ops in any_ops(Asked { readers: false }, 40))| {
        kernel_first(&layers, &ops).map_err(fail)?;
    });
}
