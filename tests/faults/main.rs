//! One test for each fault of the union file systems there are, on real mounts, in both I/O modes:
//! what public suites and users found in them (missing opaque marks, wrong link counts, writes
//! into layers, lost modes, unlinked files that cannot be used, ...). A scenario is a function of
//! the mode; after each, the layers beneath must be what they were, byte for byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

/// Runs scenarios in both modes, each as a test of its own.
macro_rules! in_both_modes {
    ($($scenario:ident),* $(,)?) => {
        mod cached {
            $(#[test] fn $scenario() { super::$scenario(crate::common::mounts::Io::Cached); })*
        }
        mod passthrough {
            $(#[test] fn $scenario() { super::$scenario(crate::common::mounts::Io::Passthrough); })*
        }
    };
}

mod bed;
#[path = "../common/mod.rs"]
mod common;
mod deletions;
mod directories;
mod files;
mod links;
mod mount;
mod names;
mod ownership;
mod raw;
mod readers;
mod times;
mod unlinked;
