//! What the oracle found, shrunk: one named test for each, so that it is never lost with a seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use common::drive::{
    against_plain, kernel_first, stacked_against_plain, then_kernel, unmet_against_plain,
};
use common::layers::Item;
use common::op::{How, Op};
use common::stack::Stack;

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

fn moved(from: &'static str, to: &'static str, how: How) -> Op {
    Op::Rename { from, to, how }
}

/// One file, as `b/d` and as `c/a`, and others of two names.
fn two_names_in_two_directories() -> Vec<Item> {
    vec![
        file("b/d"),
        Item::Link {
            from: "b/d",
            to: "c/a",
        },
        file("c/c"),
        Item::Link {
            from: "c/c",
            to: "c/d",
        },
    ]
}

/// Each in a mount of its own that has met nothing else, and then the trees.
fn check_unmet(layers: &[Vec<Item>], ops: &[Op]) {
    let stack = Stack::build(layers);
    unmet_against_plain(&stack, &|| stack.engine(), ops).unwrap_or_else(|e| panic!("{e}"));
    let stack = Stack::build(layers);
    let image = stack.image();
    unmet_against_plain(&stack, &|| stack.engine_over(&image), ops)
        .unwrap_or_else(|e| panic!("over an image: {e}"));
}

/// A directory that was moved is not where the lower has it, also in a mount that has not met it.
#[test]
fn a_name_in_a_directory_that_was_moved_is_still_a_link() {
    let layers = [two_names_in_two_directories()];
    let hide = Op::Unlink { path: "c/d" };
    let stat = Op::Stat { path: "c/a" };
    let rename = moved("b", "a", How::Plain);
    check_unmet(&layers, &[rename.clone(), hide.clone(), stat.clone()]);
    check_unmet(&layers, &[hide, rename, stat]);
}

/// So a change by one name shows under the other.
#[test]
fn a_name_in_a_directory_that_was_moved_gets_the_copy() {
    let layers = [two_names_in_two_directories()];
    let append = |path| Op::Append {
        path,
        len: 1,
        byte: 65,
    };
    let (plain, last) = (How::Plain, How::Exchange);
    check_unmet(&layers, &[moved("b", "a", plain), append("c/a")]);
    check_unmet(
        &layers,
        &[
            moved("b", "c/b", plain),
            moved("c", "d", plain),
            append("d/a"),
        ],
    );
    check_unmet(
        &layers,
        &[moved("b", "c", last), moved("c", "a", plain), append("b/a")],
    );
}

/// A directory that is where the lower has another does not show that one's names.
#[test]
fn a_name_is_hidden_by_another_directory_in_its_place() {
    let mut layer = two_names_in_two_directories();
    layer.push(Item::Dir {
        path: "a/a",
        mode: 0o755,
        uid: 0,
    });
    let ops = [
        moved("a", "b", How::Exchange),
        Op::RmRf { path: "a" },
        Op::Stat { path: "c/a" },
        Op::Append {
            path: "c/a",
            len: 1,
            byte: 65,
        },
    ];
    check(std::slice::from_ref(&layer), &ops[..2]);
    check(std::slice::from_ref(&layer), &ops[..3]);
    check(&[layer], &ops);
}

/// The kernel calls the directory that such a copy is moved into not "impure".
#[test]
fn a_metadata_copy_of_one_of_two_names_is_found_where_the_kernel_moved_it() {
    let layer = vec![
        file("c"),
        Item::Link { from: "c", to: "b" },
        Item::Dir {
            path: "a",
            mode: 0o755,
            uid: 0,
        },
    ];
    let stat = Op::Stat { path: "a" };
    kernel_first(
        std::slice::from_ref(&layer),
        &[moved("b", "a/a", How::Plain), stat.clone()],
    )
    .unwrap();
    let ops = [
        Op::Mkdir {
            path: "d",
            mode: 0o755,
        },
        moved("b", "d/a", How::Plain),
        stat.clone(),
        stat,
    ];
    kernel_first(&[layer], &ops).unwrap();
}

/// An upper that moved a directory, and then is a layer: podman stacks them so.
#[test]
fn names_in_a_directory_that_a_layer_moved_are_links() {
    let layer = vec![
        file("a/c"),
        Item::Link {
            from: "a/c",
            to: "a/a",
        },
        Item::Link {
            from: "a/c",
            to: "b",
        },
        Item::Dir {
            path: "c/b",
            mode: 0o755,
            uid: 0,
        },
    ];
    let append = Op::Append {
        path: "b",
        len: 1,
        byte: 65,
    };
    let stat = Op::Stat { path: "b" };
    for how in [
        moved("a", "c/b", How::Exchange),
        moved("a", "c/d", How::Plain),
    ] {
        let rename_twice = [how.clone(), moved("c", "d", How::Plain), append.clone()];
        stacked_against_plain(std::slice::from_ref(&layer), &rename_twice).unwrap();
        stacked_against_plain(
            std::slice::from_ref(&layer),
            &[how, append.clone(), stat.clone()],
        )
        .unwrap();
    }
}
