//! Random operations that shrink. The names are few, so that operations meet on the same files.

use super::op::{How, Node, Op, SLOTS};
use super::posix::OMIT;
use super::subject::join;
use proptest::prelude::*;
use std::sync::OnceLock;

const NAMES: &[&str] = &["a", "b", "c", "d"];

/// All paths there are, the root first, deeper ones last.
pub fn paths() -> &'static [&'static str] {
    static PATHS: OnceLock<Vec<&'static str>> = OnceLock::new();
    PATHS.get_or_init(|| {
        let mut out = vec![""];
        let mut level = vec![String::new()];
        for _ in 0..3 {
            level = level
                .iter()
                .flat_map(|p| NAMES.iter().map(move |n| join(p, n)))
                .collect();
            for p in &level {
                out.push(&*p.clone().leak());
            }
        }
        out
    })
}

/// A path that is not the root. Shallow ones come as often as deep ones.
pub fn any_path() -> impl Strategy<Value = &'static str> + Clone {
    let level = |from: usize, to: usize| prop::sample::select(&paths()[from..to]);
    prop_oneof![3 => level(1, 5), 4 => level(5, 21), 3 => level(21, 85)]
}

fn any_path_or_root() -> impl Strategy<Value = &'static str> + Clone {
    prop_oneof![9 => any_path(), 1 => Just("")]
}

/// Which operations a subject can be asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// A file may be held open for reading only while others write to it. False for kernel
    /// overlayfs, where such a reader keeps the lower's bytes (its documented non-standard
    /// behaviour a).
    pub readers: bool,
}

fn names_ops() -> impl Strategy<Value = Op> {
    let mode = prop::sample::select(&[0o644u32, 0o600, 0o755, 0o4711, 0o2755][..]);
    let dir_mode = prop::sample::select(&[0o755u32, 0o700, 0o2775, 0o1777][..]);
    let node = prop::sample::select(
        &[
            Node::File,
            Node::Fifo,
            Node::Socket,
            Node::Char,
            Node::Block,
        ][..],
    );
    let how =
        prop_oneof![4 => Just(How::Plain), 1 => Just(How::NoReplace), 2 => Just(How::Exchange)];
    prop_oneof![
        1 => any_path_or_root().prop_map(|path| Op::Stat { path }),
        3 => (any_path(), mode).prop_map(|(path, mode)| Op::Create { path, mode }),
        4 => (any_path(), dir_mode).prop_map(|(path, mode)| Op::Mkdir { path, mode }),
        1 => (any_path(), node).prop_map(|(path, node)| Op::Mknod { path, node }),
        1 => (any_path(), any_path()).prop_map(|(path, target)| Op::Symlink { path, target }),
        3 => (any_path(), any_path()).prop_map(|(from, to)| Op::Link { from, to }),
        4 => any_path().prop_map(|path| Op::Unlink { path }),
        2 => any_path().prop_map(|path| Op::Rmdir { path }),
        3 => any_path_or_root().prop_map(|path| Op::RmRf { path }),
        9 => (any_path(), any_path(), how).prop_map(|(from, to, how)| Op::Rename { from, to, how }),
        1 => (any_path_or_root(), prop::sample::select(NAMES), prop::sample::select(NAMES))
            .prop_map(|(path, gone, new)| Op::ListAcross { path, gone, new }),
    ]
}

fn data_ops() -> impl Strategy<Value = Op> {
    let at = prop::sample::select(&[0u64, 3, 4096, 10_000, 24_000][..]);
    let len = prop::sample::select(&[1usize, 7, 4096, 9001][..]);
    let size = prop::sample::select(&[0u64, 2, 4096, 5000, 30_000][..]);
    let long = prop::sample::select(&[1u64, 4096, 12_345][..]);
    prop_oneof![
        4 => (any_path(), at.clone(), len.clone(), 65u8..91)
            .prop_map(|(path, at, len, byte)| Op::Write { path, at, len, byte }),
        1 => (any_path(), len.clone(), 65u8..91).prop_map(|(path, len, byte)| Op::Append { path, len, byte }),
        2 => (any_path(), size).prop_map(|(path, len)| Op::Truncate { path, len }),
        1 => (any_path(), at.clone(), long).prop_map(|(path, at, len)| Op::Punch { path, at, len }),
        1 => (any_path(), at.clone(), any_path(), at, len)
            .prop_map(|(from, at, to, to_at, len)| Op::CopyRange { from, at, to, to_at, len }),
    ]
}

fn attr_ops() -> impl Strategy<Value = Op> {
    let mode = prop::sample::select(&[0o644u32, 0o600, 0o4755, 0o2755, 0o1777, 0o700, 0][..]);
    let id = prop::sample::select(&[0u32, 1000, 3_000_000_000][..]);
    let stamp = prop::sample::select(
        &[
            OMIT,
            (1_234_567_890, 123_456_789),
            (-77, 5),
            (0, libc::UTIME_NOW),
            (4_000_000_000, 999_999_999),
        ][..],
    );
    let name = prop::sample::select(&["user.a", "user.b", "trusted.t", "security.s"][..]);
    let flags = prop::sample::select(&[0, libc::XATTR_CREATE, libc::XATTR_REPLACE][..]);
    prop_oneof![
        3 => (any_path_or_root(), mode).prop_map(|(path, mode)| Op::Chmod { path, mode }),
        2 => (any_path_or_root(), id.clone(), id).prop_map(|(path, uid, gid)| Op::Chown { path, uid, gid }),
        2 => (any_path_or_root(), stamp.clone(), stamp)
            .prop_map(|(path, atime, mtime)| Op::Utimens { path, atime, mtime }),
        2 => (any_path_or_root(), name.clone(), 0usize..60, flags)
            .prop_map(|(path, name, len, flags)| Op::SetXattr { path, name, len, flags }),
        1 => (any_path_or_root(), name).prop_map(|(path, name)| Op::RemoveXattr { path, name }),
        1 => (any_path(), any::<bool>(), 0u16..8)
            .prop_map(|(path, default, mask)| Op::SetAcl { path, default, mask }),
    ]
}

fn held_ops(asked: Asked) -> impl Strategy<Value = Op> {
    let slot = || 0..SLOTS;
    let len = prop::sample::select(&[1usize, 4096, 9001][..]);
    prop_oneof![
        6 => (slot(), any_path(), any::<bool>()).prop_map(move |(slot, path, write)| {
            Op::Hold { slot, path, write: write || !asked.readers }
        }),
        1 => slot().prop_map(|slot| Op::Release { slot }),
        2 => slot().prop_map(|slot| Op::HeldStat { slot }),
        2 => slot().prop_map(|slot| Op::HeldRead { slot }),
        2 => (slot(), 0u64..9000, len.clone(), 48u8..58)
            .prop_map(|(slot, at, len, byte)| Op::HeldWrite { slot, at, len, byte }),
        1 => (slot(), len, 48u8..58).prop_map(|(slot, len, byte)| Op::HeldAppend { slot, len, byte }),
        1 => (slot(), 0u64..9000).prop_map(|(slot, len)| Op::HeldTruncate { slot, len }),
        1 => (slot(), 0u64..9000, 1u64..9000).prop_map(|(slot, at, len)| Op::HeldPunch { slot, at, len }),
        1 => (slot(), prop::sample::select(&[0o600u32, 0o4755][..])).prop_map(|(slot, mode)| Op::HeldChmod { slot, mode }),
        1 => (slot(), 0usize..50).prop_map(|(slot, len)| Op::HeldSetXattr { slot, len }),
        1 => slot().prop_map(|slot| Op::HeldSync { slot }),
    ]
}

/// A random sequence.
pub fn any_ops(asked: Asked, most: usize) -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        10 => names_ops(),
        4 => data_ops(),
        4 => attr_ops(),
        4 => held_ops(asked),
    ];
    prop::collection::vec(op, 1..most)
}
