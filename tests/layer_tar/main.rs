//! Layers against other programs: what GNU tar and Python's tarfile write is read as the tree it was
//! made from, and what we write they, and umoci, read as that tree.
//!
//! Wants root, for owners and devices, and GNU tar; what needs Python or umoci is left out without.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod gnu;
mod layer;
mod made;
mod python;
mod umoci;

/// True if the program is there.
fn has(program: &str) -> bool {
    let found = std::process::Command::new(program)
        .arg("--version")
        .output();
    found.is_ok_and(|o| o.status.success())
}
