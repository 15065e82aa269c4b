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

use common::drive::{
    against_plain, image_against_plain, kernel_first, marks_against_plain, read_only,
    read_only_image, stacked_against_plain, then_kernel, then_kernel_userxattr,
    unmet_against_plain, without_sockets,
};
use common::layers::{ALL_MARKS, KERNEL_MARKS, USER_MARKS, any_stack};
use common::random::{Asked, any_ops};
use common::stack::Stack;
use proptest::prelude::*;
use vellum::overlay::Marks;

const ALL: Asked = Asked { readers: true };

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
fn an_engine_over_an_image_is_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/an_engine_over_an_image_is_a_plain_directory.txt",
        40,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(ALL, 40), forgetful: bool)| {
        image_against_plain(&layers, &ops, forgetful).map_err(fail)?;
    });
}

/// Nothing that the engine learned on the way helps here: all must be in the upper.
#[test]
fn an_engine_that_met_nothing_is_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/an_engine_that_met_nothing_is_a_plain_directory.txt",
        40,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(ALL, 20))| {
        let stack = Stack::build(&layers);
        unmet_against_plain(&stack, &|| stack.engine(), &ops).map_err(fail)?;
        let stack = Stack::build(&without_sockets(&layers));
        let image = stack.image();
        unmet_against_plain(&stack, &|| stack.engine_over(&image), &ops).map_err(fail)?;
    });
}

#[test]
fn uppers_that_became_layers_are_a_plain_directory() {
    let config = common::config(
        "proptest-regressions/uppers_that_became_layers_are_a_plain_directory.txt",
        40,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(ALL, 40))| {
        stacked_against_plain(&layers, &ops).map_err(fail)?;
    });
}

#[test]
fn an_image_alone_is_what_its_layers_flatten_to() {
    let config = common::config(
        "proptest-regressions/an_image_alone_is_what_its_layers_flatten_to.txt",
        40,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(ALL, 6))| {
        read_only_image(&layers, &ops).map_err(fail)?;
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

#[test]
fn what_the_engine_wrote_without_privilege_the_kernel_reads() {
    let config = common::config(
        "proptest-regressions/what_the_engine_wrote_without_privilege_the_kernel_reads.txt",
        40,
    );
    proptest!(config, |(layers in any_stack(USER_MARKS), ops in any_ops(ALL, 40))| {
        then_kernel_userxattr(&layers, &ops).map_err(fail)?;
    });
}

#[test]
fn marks_of_every_form_do() {
    let config = common::config("proptest-regressions/marks_of_every_form_do.txt", 40);
    let forms = prop::sample::select(vec![Marks::Attributes, Marks::Devices, Marks::Names]);
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(ALL, 40), marks in forms, forgetful: bool)| {
        marks_against_plain(&layers, &ops, marks, forgetful).map_err(fail)?;
    });
}

#[test]
fn layers_alone_are_what_they_flatten_to() {
    let config = common::config(
        "proptest-regressions/layers_alone_are_what_they_flatten_to.txt",
        40,
    );
    proptest!(config, |(layers in any_stack(ALL_MARKS), ops in any_ops(ALL, 6))| {
        read_only(&layers, &ops).map_err(fail)?;
    });
}
