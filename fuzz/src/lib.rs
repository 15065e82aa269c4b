//! What the target `engine_ops` does: calls as the kernel would make them, and what must hold
//! after each run.

mod check;
mod ops;
mod tree;

pub use ops::{Op, Plan};
pub use tree::Lower;

use check::dump;
use std::fs;
use std::path::Path;
use vellum::overlay::{Config, Engine, UpperConfig};

/// Runs a plan on a new upper over `lower`, and checks what must hold.
pub fn run(lower: &Lower, plan: &Plan) {
    let dir = tempfile::tempdir().expect("a directory for the upper");
    let mut engine = open(lower, dir.path());
    let mut calls = ops::Calls::default();
    for op in plan.ops.iter().take(ops::MOST) {
        if matches!(op, Op::Remount) {
            calls.forget_all(&engine);
            engine = remounted(engine, lower, dir.path());
        } else {
            calls.make(&engine, op);
        }
    }
    calls.forget_all(&engine);
    drop(remounted(engine, lower, dir.path()));
    assert_eq!(lower.fingerprint(), *lower.before(), "the lower changed");
}

fn open(lower: &Lower, dir: &Path) -> Engine {
    for name in ["upper", "work"] {
        fs::create_dir_all(dir.join(name)).expect("an upper");
    }
    Engine::open(&Config {
        lowers: lower.layers(),
        upper: Some(UpperConfig {
            volatile: false,
            ..UpperConfig::new(dir.join("upper"), dir.join("work"))
        }),
        ..Config::default()
    })
    .expect("the layers are fine")
}

/// Unmounts and mounts again; the tree stays what it was.
fn remounted(engine: Engine, lower: &Lower, dir: &Path) -> Engine {
    let before = dump(&engine);
    drop(engine);
    let engine = open(lower, dir);
    assert_eq!(dump(&engine), before, "the tree changed by a remount");
    engine
}
