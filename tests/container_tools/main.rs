//! The tools that people put roots under, over mounts of ours: podman and buildah of a user without root,
//! Docker with its storage driver, and what enters a directory: chroot, unshare, bubblewrap, systemd-nspawn,
//! runc. Each is the real program, in a room of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod docker;
mod entered;
#[path = "../live/mod.rs"]
mod live;
mod podman;
mod room;
#[path = "../running/mod.rs"]
mod running;
