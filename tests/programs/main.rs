//! Large programs in containers of `vellum run`: a database that is killed while it writes, a web server,
//! interpreters that load thousands of small files, a compiler with a cache, a package manager. A real
//! Debian, a real runtime; what they do is what they do on a plain file system.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bed;
mod build;
mod interpreters;
#[path = "../live/mod.rs"]
mod live;
mod packages;
mod postgresql;
#[path = "../running/mod.rs"]
mod running;
mod web;
