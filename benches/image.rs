//! Images without a mount, at sizes that grow by ten: layers out of and into tars, layers merged, indexes
//! built, opened and asked, digests.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench fails by panicking; criterion_group! makes a public function"
)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::time::Duration;
use tempfile::TempDir;
use vellum::image::digest::Digest;
use vellum::image::entry::{Entry, Item, Meta};
use vellum::image::index::{self, Index};
use vellum::image::layer::{LayerReader, LayerWriter, Limits};
use vellum::image::merge::Merge;
use vellum::image::table::Table;
use vellum::image::tree::Tree;
use vellum::image::unpack::{TABLE, unpack};

const SIZES: [usize; 4] = [10, 100, 1000, 10_000];
/// Files in a directory.
const PER_DIR: usize = 100;
/// Bytes in a file.
const FILE: u64 = 2000;

fn path(parts: &[String]) -> Vec<Box<[u8]>> {
    parts.iter().map(|p| p.as_bytes().into()).collect()
}

/// A layer of so many small files, every hundred in a directory of their own. `layer` tells layers apart:
/// a tenth of the files is in all of them.
fn entries(files: usize, layer: usize) -> Vec<Entry> {
    let meta = || Meta {
        perm: 0o644,
        mtime: 1_700_000_000,
        ..Meta::default()
    };
    let mut all = Vec::new();
    for i in 0..files {
        let dir = format!("dir-{:04}", i / PER_DIR);
        if i % PER_DIR == 0 {
            all.push(Entry {
                path: path(std::slice::from_ref(&dir)),
                item: Item::Dir(meta()),
            });
        }
        let name = match i % 10 {
            0 => format!("shared-{i:06}"),
            _ => format!("file-{layer:04}-{i:06}"),
        };
        all.push(Entry {
            path: path(&[dir, name]),
            item: Item::File(meta(), FILE),
        });
    }
    all
}

fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut writer = LayerWriter::new(Vec::new()).unwrap();
    for entry in entries {
        writer.add(entry, &mut std::io::repeat(b'v')).unwrap();
    }
    writer.finish().unwrap()
}

/// Unpacks a tar into a new directory of `tmp`; gives its table.
fn table(tar: &[u8], tmp: &TempDir) -> Vec<u8> {
    let stage = tempfile::tempdir_in(tmp.path()).unwrap();
    unpack(tar, Limits::default(), stage.path(), &|_| false).unwrap();
    fs::read(stage.path().join(TABLE)).unwrap()
}

fn merged(tables: &[Vec<u8>]) -> Tree {
    let mut merge = Merge::new().unwrap();
    for (i, bytes) in tables.iter().enumerate() {
        let mut table = Table::open(Cursor::new(bytes.as_slice())).unwrap();
        let diff_id = Digest::of(&i.to_le_bytes());
        merge.add(diff_id, &mut table).unwrap();
    }
    merge.finish()
}

/// Entries to a tar, and a tar to entries.
fn layers(c: &mut Criterion) {
    let mut group = c.benchmark_group("layer of files");
    for files in SIZES {
        let entries = entries(files, 0);
        let bytes = tar(&entries);
        group.throughput(Throughput::Elements(files as u64));
        group.bench_function(BenchmarkId::new("out", files), |b| {
            b.iter(|| assert_eq!(tar(&entries).len(), bytes.len()));
        });
        group.bench_function(BenchmarkId::new("in", files), |b| {
            b.iter(|| {
                let mut reader = LayerReader::new(bytes.as_slice(), Limits::default());
                let mut n = 0;
                while let Some(entry) = reader.next_entry().unwrap() {
                    n += usize::from(matches!(entry.item, Item::File(..)));
                }
                assert_eq!(n, files);
            });
        });
        let tmp = TempDir::new().unwrap();
        group.bench_function(BenchmarkId::new("unpack", files), |b| {
            b.iter_batched(
                || tempfile::tempdir_in(tmp.path()).unwrap(),
                |stage| {
                    let none = &|_| false;
                    unpack(bytes.as_slice(), Limits::default(), stage.path(), none).unwrap();
                    stage
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// So many layers of a hundred files made one tree.
fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge of layers");
    let tmp = TempDir::new().unwrap();
    for n in [1, 10, 100] {
        let tables: Vec<Vec<u8>> = (0..n)
            .map(|layer| table(&tar(&entries(PER_DIR, layer)), &tmp))
            .collect();
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(BenchmarkId::from_parameter(n), |b| {
            b.iter(|| merged(&tables).children(Tree::ROOT).count());
        });
    }
    group.finish();
}

/// An index of so many files: written, opened, asked for one.
fn indexes(c: &mut Criterion) {
    let mut group = c.benchmark_group("index of files");
    let tmp = TempDir::new().unwrap();
    for files in SIZES {
        let tree = merged(&[table(&tar(&entries(files, 0)), &tmp)]);
        group.bench_function(BenchmarkId::new("build", files), |b| {
            b.iter(|| {
                let mut out = Cursor::new(Vec::new());
                index::write(&tree, &mut out).unwrap();
                out.into_inner().len()
            });
        });
        let at = tmp.path().join("index");
        index::write(&tree, &mut File::create(&at).unwrap()).unwrap();
        group.bench_function(BenchmarkId::new("open", files), |b| {
            b.iter(|| Index::open(&at).unwrap());
        });
        let index = Index::open(&at).unwrap();
        let dir = index.lookup(Tree::ROOT, b"dir-0000").unwrap().unwrap();
        group.bench_function(BenchmarkId::new("found", files), |b| {
            b.iter(|| {
                assert!(
                    index
                        .lookup(dir.inode, b"file-0000-000007")
                        .unwrap()
                        .is_some()
                )
            });
        });
        group.bench_function(BenchmarkId::new("absent", files), |b| {
            b.iter(|| assert!(index.lookup(dir.inode, b"file-0000-9").unwrap().is_none()));
        });
    }
    group.finish();
}

fn digest(c: &mut Criterion) {
    let mut group = c.benchmark_group("digest of KiB");
    for kib in SIZES {
        let mut data = Vec::new();
        let len = (kib as u64) << 10;
        std::io::repeat(7).take(len).read_to_end(&mut data).unwrap();
        group.throughput(Throughput::Bytes(len));
        group.bench_function(BenchmarkId::from_parameter(kib), |b| {
            b.iter(|| Digest::of(&data));
        });
    }
    group.finish();
}

criterion_group! {
    name = image_benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = layers, merge, indexes, digest
}
criterion_main!(image_benches);
