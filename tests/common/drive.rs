//! Whole cases: layers and operations, from the start to the last comparison.

use super::inproc::InProcess;
use super::kernel;
use super::layers::Item;
use super::op::Op;
use super::oracle::Oracle;
use super::real::Real;
use super::stack::Stack;
use super::subject::Subject;
use super::tree::{View, diff};
use super::walk::fingerprint;
use vellum::overlay::{Config, Engine, Marks, UpperConfig};

/// The engine against a plain directory; then both again after a remount, twice.
pub fn against_plain(layers: &[Vec<Item>], ops: &[Op], forgetful: bool) -> Result<(), String> {
    let stack = Stack::build(layers);
    remounted_against_plain(&stack, &|| stack.engine(), ops, forgetful)
}

/// The same with an image of the layers beneath. An image has no sockets.
pub fn image_against_plain(
    layers: &[Vec<Item>],
    ops: &[Op],
    forgetful: bool,
) -> Result<(), String> {
    let stack = Stack::build(&without_sockets(layers));
    let image = stack.image();
    let before = fingerprint(&image.0);
    remounted_against_plain(&stack, &|| stack.engine_over(&image), ops, forgetful)?;
    match fingerprint(&image.0) == before {
        true => Ok(()),
        false => Err("the image changed".into()),
    }
}

/// The layers without what no image has.
pub fn without_sockets(layers: &[Vec<Item>]) -> Vec<Vec<Item>> {
    let mut layers = layers.to_vec();
    for layer in &mut layers {
        layer.retain(|item| !matches!(item, Item::Socket { .. }));
    }
    layers
}

fn remounted_against_plain(
    stack: &Stack,
    open: &dyn Fn() -> Engine,
    ops: &[Op],
    forgetful: bool,
) -> Result<(), String> {
    let view = View::full();
    let mut plain = Real::new(&stack.plain());
    let mut oracle = Oracle::new(&mut plain, view);
    let (first, second) = ops.split_at(ops.len() / 2);
    let mut engine = InProcess::new(open(), forgetful);
    oracle.run(&mut engine, first)?;
    oracle.release(&mut engine);
    drop(engine);
    let mut engine = InProcess::new(open(), forgetful);
    oracle.compare(&mut engine, "after a remount")?;
    oracle
        .run(&mut engine, second)
        .map_err(|e| format!("after a remount: {e}"))?;
    oracle.release(&mut engine);
    drop(engine);
    oracle.compare(
        &mut InProcess::new(open(), forgetful),
        "after the last remount",
    )?;
    stack.lowers_changed().map_or(Ok(()), Err)
}

/// Each operation in a mount of its own, which has met nothing else; at the end the trees.
/// Operations on what an earlier one holds open are left out.
pub fn unmet_against_plain(
    stack: &Stack,
    open: &dyn Fn() -> Engine,
    ops: &[Op],
) -> Result<(), String> {
    let view = View::full();
    let mut plain = Real::new(&stack.plain());
    for op in ops.iter().filter(|op| op.slot().is_none()) {
        let mut engine = InProcess::new(open(), true);
        let done = (op.apply(&mut engine, &view), op.apply(&mut plain, &view));
        if done.0 != done.1 {
            return Err(format!("{op:?}: {done:?}"));
        }
    }
    match diff(&InProcess::new(open(), true).tree(), &plain.tree(), &view) {
        Some(diff) => Err(format!("at the end:\n{diff}")),
        None => stack.lowers_changed().map_or(Ok(()), Err),
    }
}

/// Each upper is the topmost layer of the next mount, as podman and containerd stack what was
/// written.
pub fn stacked_against_plain(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let view = View::full();
    let stack = Stack::build(layers);
    let mut plain = Real::new(&stack.plain());
    let mut lowers = stack.lowers.clone();
    for (at, ops) in ops.chunks(ops.len().div_ceil(3)).enumerate() {
        let dir = stack.path().join(format!("stacked{at}"));
        let (upper, work) = (dir.join("upper"), dir.join("work"));
        for new in [&dir, &upper, &work] {
            std::fs::create_dir(new).unwrap();
        }
        super::flatten::copy_attributes(&stack.plain(), &upper);
        let config = |upper| Config {
            lowers: lowers.clone(),
            upper,
            ..Config::default()
        };
        let engine = Engine::open(&config(Some(UpperConfig::new(upper.clone(), work)))).unwrap();
        let mut engine = InProcess::new(engine, true);
        let mut oracle = Oracle::new(&mut plain, view);
        let done = oracle.run(&mut engine, ops);
        oracle.release(&mut engine);
        drop(engine);
        done.map_err(|e| format!("over {at} uppers: {e}"))?;
        lowers.insert(0, upper);
        let written = fingerprint(&lowers[0]);
        let config = Config {
            lowers: lowers.clone(),
            ..Config::default()
        };
        let mut engine = InProcess::new(Engine::open(&config).unwrap(), true);
        oracle.inos = None;
        oracle.compare(&mut engine, &format!("{} uppers alone", at + 1))?;
        if fingerprint(&lowers[0]) != written {
            return Err("the topmost layer changed".into());
        }
    }
    stack.lowers_changed().map_or(Ok(()), Err)
}

/// An upper that the engine wrote, read by the kernel.
pub fn then_kernel(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let view = View::full();
    let stack = Stack::build(layers);
    let mut plain = Real::new(&stack.plain());
    let mut engine = InProcess::new(stack.engine(), true);
    for op in ops {
        let done = (op.apply(&mut engine, &view), op.apply(&mut plain, &view));
        if done.0 != done.1 {
            return Err(format!("{op:?}: {done:?}"));
        }
    }
    drop(engine);
    let mount = kernel::overlay(&stack);
    let (a, b) = (kernel::subject(&mount).tree(), plain.tree());
    mount.unmount();
    match diff(&a, &b, &kernel::view(false, view)) {
        Some(diff) => Err(format!("through kernel overlayfs:\n{diff}")),
        None => stack.lowers_changed().map_or(Ok(()), Err),
    }
}

/// The same with all marks in `user.overlay.`, as an upper without privilege has them. The kernel's
/// `userxattr` knows neither redirects nor metadata-only copies, so both are off: a directory of a
/// lower is not renamed (EXDEV), here as there.
pub fn then_kernel_userxattr(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let view = View::full();
    let stack = Stack::build(layers);
    let mut plain = Real::new(&stack.plain());
    let mut engine = InProcess::new(stack.engine_userxattr(), true);
    for op in ops {
        let done = op.apply(&mut engine, &view);
        if matches!(op, Op::Rename { .. }) && done == Err(libc::EXDEV) {
            continue;
        }
        let expected = op.apply(&mut plain, &view);
        if done != expected {
            return Err(format!("{op:?}: {done:?}, expected {expected:?}"));
        }
    }
    drop(engine);
    let mount = kernel::overlay_userxattr(&stack);
    let (a, b) = (kernel::subject(&mount).tree(), plain.tree());
    mount.unmount();
    match diff(&a, &b, &kernel::view(false, view)) {
        Some(diff) => Err(format!("through kernel overlayfs:\n{diff}")),
        None => stack.lowers_changed().map_or(Ok(()), Err),
    }
}

/// An upper whose marks have another form. Where they are names, a directory of a lower is not
/// renamed (EXDEV), and a number is kept for as long as the mount lives.
pub fn marks_against_plain(
    layers: &[Vec<Item>],
    ops: &[Op],
    marks: Marks,
    forgetful: bool,
) -> Result<(), String> {
    let stack = Stack::build(layers);
    let mut plain = Real::new(&stack.plain());
    let mut oracle = Oracle::new(&mut plain, View::full());
    let names = matches!(marks, Marks::Devices | Marks::Names);
    oracle.exdev = names;
    let (first, second) = ops.split_at(ops.len() / 2);
    for ops in [first, second, &[]] {
        // a file that the mount need not know any more may get its own number
        if names {
            oracle.inos = (!forgetful).then(Default::default);
        }
        let mut engine = InProcess::new(stack.engine_marks(marks), forgetful);
        oracle
            .run(&mut engine, ops)
            .map_err(|e| format!("{marks:?}: {e}"))?;
        oracle.release(&mut engine);
    }
    stack.lowers_changed().map_or(Ok(()), Err)
}

/// Layers without an upper: what they show is what they flatten to, and nothing can be written.
pub fn read_only(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let stack = Stack::build(layers);
    unchanged(&stack, stack.read_only_engine(), ops)
}

/// The same for an image of the layers.
pub fn read_only_image(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let stack = Stack::build(&without_sockets(layers));
    let image = stack.image();
    unchanged(&stack, stack.read_only_engine_over(&image), ops)
}

fn unchanged(stack: &Stack, engine: Engine, ops: &[Op]) -> Result<(), String> {
    let view = View::full();
    let mut plain = Real::new(&stack.plain());
    let mut engine = InProcess::new(engine, true);
    let mut oracle = Oracle::new(&mut plain, view);
    oracle.compare(&mut engine, "at the start")?;
    for op in ops {
        // what it answers depends on which check comes first; what it shows must not change
        drop(op.apply(&mut engine, &view));
        oracle.compare(&mut engine, &format!("after {op:?} on a read-only stack"))?;
    }
    stack.lowers_changed().map_or(Ok(()), Err)
}

/// An upper that the kernel wrote, read and written on by the engine.
pub fn kernel_first(layers: &[Vec<Item>], ops: &[Op]) -> Result<(), String> {
    let view = View::full();
    let stack = Stack::build(layers);
    let (first, second) = ops.split_at(ops.len() / 2);
    let mount = kernel::overlay(&stack);
    let mut subject = kernel::subject(&mount);
    for op in first {
        // what the kernel makes of it is not our affair here
        drop(op.apply(&mut subject, &view));
    }
    subject.close();
    let said = subject.tree();
    mount.unmount();
    let mut engine = InProcess::new(stack.engine(), true);
    if let Some(diff) = diff(&engine.tree(), &said, &kernel::view(false, view)) {
        return Err(format!("what kernel overlayfs left:\n{diff}"));
    }
    // a plain directory from the kernel's own tree, to go on from
    let plain_dir = stack.path().join("plain2");
    std::fs::create_dir(&plain_dir).unwrap();
    let mount = kernel::overlay(&stack);
    super::flatten::flatten(&[mount.path().to_owned()], &plain_dir);
    mount.unmount();
    drop(engine);
    engine = InProcess::new(stack.engine(), true);
    let mut plain = Real::new(&plain_dir);
    let mut oracle = Oracle::new(
        &mut plain,
        View {
            links: false,
            ..view
        },
    );
    oracle.inos = None; // names of one file parted in the kernel's copy-ups, and in `plain` with them
    oracle
        .run(&mut engine, second)
        .map_err(|e| format!("over what kernel overlayfs left: {e}"))?;
    stack.lowers_changed().map_or(Ok(()), Err)
}
