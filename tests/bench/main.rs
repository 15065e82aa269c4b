//! The benchmark's own promises: a cut tree is the tree again, nothing is left behind, a peer
//! that fails or lies is found out, and what comes out can be read and compared.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod command;
mod cuts;
mod helpers;
#[path = "../live/mod.rs"]
mod live;
mod page;
mod runs;
