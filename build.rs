//! How the program is linked.
//!
//! Each mount and each container in the background is a process of its own, and a program that can be
//! loaded anywhere (PIE) writes a third of a megabyte of addresses into memory of its own each time it
//! starts. At a fixed place nothing has to be written, and all processes share it. Libraries, stack,
//! heap and mappings stay where chance puts them. The feature `pie` is for who wants that of the
//! program too. `scripts/rustc.sh` sees to it that no libraries have to be loaded at all.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=scripts/rustc.sh");
    let target = |what: &str| var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let is_static = target("FEATURE").split(',').any(|f| f == "crt-static");
    // others have their own words for it, or are linked so already
    let knows = target("OS") == "linux" && target("ENV") == "gnu" && !is_static;
    if knows && var("CARGO_FEATURE_PIE").is_err() {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
