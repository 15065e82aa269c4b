//! What the oracle and the scenario tests share.
//!
//! A plain directory that got the same operations *is* the right answer for a union mount. So:
//! [`layers`] makes stacks of layers, [`flatten`] makes the plain directory that such a stack
//! stands for, [`image`] an image of such a directory, [`op`] has operations, [`random`] makes random ones, [`subject`] says what they can be done to, [`real`] and
//! [`inproc`] do them to a directory and to an engine, [`tree`] is the text form of a whole tree,
//! and [`oracle`] brings them together.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test crate uses a part of this; a test fails by panicking"
)]

pub mod drive;
pub mod flatten;
pub mod image;
pub mod inproc;
mod inproc_tree;
pub mod kernel;
pub mod layers;
pub mod mounts;
pub mod op;
pub mod oracle;
pub mod posix;
pub mod random;
pub mod real;
pub mod stack;
pub mod subject;
pub mod tree;
pub mod walk;

/// Number of random cases a test tries: `VELLUM_CASES`, or `default`.
pub fn cases(default: u32) -> u32 {
    match std::env::var("VELLUM_CASES") {
        Ok(n) => n.parse().expect("VELLUM_CASES is a number"),
        Err(_) => default,
    }
}

/// Failing seeds of a test are kept in `proptest-regressions/NAME.txt`, which is committed. The
/// cases are the same in every run, so that a run says something of the change it is run for;
/// with `VELLUM_CASES` they are new ones.
pub fn config(name: &'static str, default: u32) -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};
    let rng_seed = match std::env::var_os("VELLUM_CASES") {
        Some(_) => RngSeed::Random,
        None => RngSeed::Fixed(1),
    };
    Config {
        cases: cases(default),
        rng_seed,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(name))),
        max_shrink_iters: 2000,
        ..Config::default()
    }
}
