//! The options of a mount and the drop-in command line: pure parsing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod document;
mod effects;
mod lines;
mod random;
mod remount;

use std::ffi::{OsStr, OsString};
use vellum::cli::options::Request;
use vellum::cli::overlayfs::{Invocation, parse};

/// Reads a command line of the drop-in form.
fn invoke(args: &[&str]) -> Result<Invocation, String> {
    parse(
        OsStr::new("vellum-overlayfs"),
        args.iter().map(OsString::from),
    )
}

/// The mount that a command line asks for.
fn request(args: &[&str]) -> Request {
    match invoke(args) {
        Ok(Invocation::Mount(request)) => *request,
        other => panic!("{args:?}: {other:?}"),
    }
}

/// The mount that `-o lowerdir=/l,upperdir=/u,workdir=/w,OPTIONS /m` asks for.
fn with(options: &str) -> Request {
    request(&[
        "-o",
        "lowerdir=/l,upperdir=/u,workdir=/w",
        "-o",
        options,
        "/m",
    ])
}

/// Why that is refused.
fn refusal(options: &str) -> String {
    let args = [
        "-o",
        "lowerdir=/l,upperdir=/u,workdir=/w",
        "-o",
        options,
        "/m",
    ];
    match invoke(&args) {
        Err(why) => why,
        other => panic!("{options}: {other:?}"),
    }
}
