//! Sequences of file system calls, on an upper over a small lower.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use vellum_fuzz::{Lower, Plan, run};

static LOWER: LazyLock<Lower> = LazyLock::new(Lower::new);

fuzz_target!(|plan: Plan| run(&LOWER, &plan));
