//! What the oracle found, shrunk: one named test for each, so that it is never lost with a seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::drive::{against_plain, kernel_first, then_kernel};
use common::layers::Item;
use common::op::Op;

/// In process, with a kernel that remembers and with one that forgets; then read by the kernel.
fn check(layers: &[Vec<Item>], ops: &[Op]) {
    for forgetful in [false, true] {
        against_plain(layers, ops, forgetful)
            .unwrap_or_else(|e| panic!("forgetful {forgetful}: {e}"));
    }
    then_kernel(layers, ops).unwrap();
}

fn file(path: &'static str) -> Item {
    Item::File {
        path,
        len: 5,
        byte: b'a',
        mode: 0o644,
        uid: 0,
    }
}

#[test]
fn a_parent_may_be_forgotten_before_its_child() {
    check(
        &[vec![file("c/d")]],
        &[Op::Append {
            path: "c/d",
            len: 1,
            byte: 65,
        }],
    );
}

#[test]
fn copy_up_of_two_names_keeps_the_directories_that_it_brought_along() {
    let layer = vec![
        Item::Fifo { path: "b" },
        Item::Link {
            from: "b",
            to: "d/a",
        },
    ];
    check(
        &[layer],
        &[Op::Chmod {
            path: "d/a",
            mode: 0o644,
        }],
    );
}

#[test]
fn a_name_hidden_by_a_layer_above_is_no_link() {
    let layers = [
        vec![file("c")],
        vec![file("c"), Item::Link { from: "c", to: "a" }],
    ];
    check(&layers, &[Op::Stat { path: "a" }]);
    check(
        &layers,
        &[
            Op::Hold {
                slot: 0,
                path: "a",
                write: false,
            },
            Op::Unlink { path: "a" },
            Op::HeldStat { slot: 0 },
        ],
    );
}

#[test]
fn what_the_kernel_left_goes_on() {
    kernel_first(
        &[vec![file("c/d")]],
        &[
            Op::Chmod {
                path: "c",
                mode: 0o700,
            },
            Op::Stat { path: "c" },
        ],
    )
    .unwrap();
}

#[test]
fn a_metadata_copy_of_the_kernel_is_renamed_and_linked() {
    let rename = Op::Rename {
        from: "d",
        to: "b",
        how: common::op::How::Plain,
    };
    let link = Op::Link { from: "d", to: "c" };
    let chmod = Op::Chmod {
        path: "d",
        mode: 0o644,
    };
    let stat = Op::Stat { path: "a" };
    for op in [rename, link] {
        kernel_first(
            &[vec![file("d")]],
            &[chmod.clone(), stat.clone(), op, stat.clone()],
        )
        .unwrap();
    }
}
