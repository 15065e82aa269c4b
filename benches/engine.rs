//! The engine in process, at sizes that grow by ten, so that the cost's growth is seen.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench fails by panicking; criterion_group! makes a public function"
)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use vellum::overlay::{Config, Engine, UpperConfig};
use vellum::vfs::NodeId;

const SIZES: [usize; 3] = [10, 100, 1000];

/// `layers` layers with `files` files in one directory, file i in layer i modulo `layers`.
fn stack(root: &Path, layers: usize, files: usize, size: usize) -> Vec<PathBuf> {
    let paths: Vec<PathBuf> = (0..layers).map(|l| root.join(format!("l{l}"))).collect();
    for layer in &paths {
        fs::create_dir_all(layer.join("d")).unwrap();
    }
    let data = vec![b'v'; size];
    for i in 0..files {
        fs::write(paths[i % layers].join(format!("d/file-{i:05}")), &data).unwrap();
    }
    paths
}

fn engine(root: &Path, lowers: Vec<PathBuf>) -> Engine {
    let upper = tempfile::tempdir_in(root).unwrap().keep();
    for dir in ["upper", "work"] {
        fs::create_dir(upper.join(dir)).unwrap();
    }
    let mut config = UpperConfig::new(upper.join("upper"), upper.join("work"));
    config.volatile = true; // the code is measured, not the disk
    Engine::open(&Config {
        lowers,
        upper: Some(config),
        ..Config::default()
    })
    .unwrap()
}

fn dir_of(e: &Engine) -> NodeId {
    e.lookup(NodeId::ROOT, b"d").unwrap().unwrap().ino
}

fn name(i: usize) -> Vec<u8> {
    format!("file-{i:05}").into_bytes()
}

fn list(e: &Engine, dir: NodeId, plus: bool) -> usize {
    let (mut cookie, mut n) = (0, 0);
    loop {
        let before = n;
        let mut seen: Vec<NodeId> = Vec::new();
        e.readdir(dir, cookie, plus, &mut |entry| {
            (cookie, n) = (entry.cookie, n + 1);
            if entry.attr.is_some() {
                seen.push(entry.ino);
            }
            true
        })
        .unwrap();
        for ino in seen {
            e.forget(ino, 1);
        }
        if n == before {
            return n;
        }
    }
}

/// One lookup among so many files of one directory, found and absent.
fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup in a directory of");
    for files in SIZES {
        let tmp = TempDir::new().unwrap();
        let e = engine(tmp.path(), stack(tmp.path(), 4, files, 0));
        let dir = dir_of(&e);
        let (there, absent) = (name(files / 2), name(files));
        group.bench_function(BenchmarkId::new("found", files), |b| {
            b.iter(|| {
                let attr = e.lookup(dir, &there).unwrap().unwrap();
                e.forget(attr.ino, 1);
            });
        });
        group.bench_function(BenchmarkId::new("absent", files), |b| {
            b.iter(|| assert!(e.lookup(dir, &absent).unwrap().is_none()));
        });
    }
    group.finish();
}

/// A whole listing, with and without attributes.
fn readdir(c: &mut Criterion) {
    let mut group = c.benchmark_group("readdir of");
    for files in SIZES {
        let tmp = TempDir::new().unwrap();
        let e = engine(tmp.path(), stack(tmp.path(), 4, files, 0));
        let dir = dir_of(&e);
        group.throughput(Throughput::Elements(files as u64));
        for (what, plus) in [("names", false), ("attributes", true)] {
            group.bench_function(BenchmarkId::new(what, files), |b| {
                b.iter(|| assert_eq!(list(&e, dir, plus), files + 2));
            });
        }
    }
    group.finish();
}

/// The first look into a directory that so many layers have: the merge.
fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("first lookup in a directory of layers");
    for layers in SIZES {
        let tmp = TempDir::new().unwrap();
        let lowers = stack(tmp.path(), layers, 1000, 0);
        group.bench_function(BenchmarkId::from_parameter(layers), |b| {
            b.iter_batched(
                || engine(tmp.path(), lowers.clone()),
                |e| {
                    let dir = dir_of(&e);
                    assert!(e.lookup(dir, b"file-00007").unwrap().is_some());
                    e
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// The first write to a file of a layer, of so many KiB.
fn copy_up(c: &mut Criterion) {
    let mut group = c.benchmark_group("copy-up of KiB");
    for kib in SIZES {
        let tmp = TempDir::new().unwrap();
        let lowers = stack(tmp.path(), 4, 1, kib << 10);
        group.throughput(Throughput::Bytes((kib as u64) << 10));
        group.bench_function(BenchmarkId::from_parameter(kib), |b| {
            b.iter_batched(
                || engine(tmp.path(), lowers.clone()),
                |e| {
                    let file = e.lookup(dir_of(&e), &name(0)).unwrap().unwrap().ino;
                    assert_eq!(e.write(file, 0, b"x", false).unwrap(), 1);
                    e
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = engine_benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = lookup, readdir, merge, copy_up
}
criterion_main!(engine_benches);
