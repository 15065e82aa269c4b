//! The reader of an image's index, on bytes that nobody wrote: no panic, no loop, and whoever gets
//! an answer gets one that can be.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use vellum::image::index::Index;
use vellum::vfs::Kind;

/// An index that is right, to begin from.
static SMALL: LazyLock<Vec<u8>> =
    LazyLock::new(|| include_bytes!("../../tests/golden/small.vellum-index").to_vec());

#[derive(Arbitrary, Debug)]
enum Input {
    /// Any bytes.
    Raw(Vec<u8>),
    /// The small index with bytes changed, and all checksums made right again.
    Changed(Vec<(u16, u8)>),
    /// The same with words of four bytes changed.
    Words(Vec<(u16, u32)>),
}

const SUPERBLOCK: usize = 256;
const BLOCK: usize = 4096;

fuzz_target!(|input: Input| {
    let mut bytes = match &input {
        Input::Raw(bytes) => return read(bytes),
        Input::Changed(_) | Input::Words(_) => SMALL.clone(),
    };
    match input {
        Input::Raw(_) => {}
        Input::Changed(changes) => {
            for (at, value) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = value;
            }
        }
        Input::Words(changes) => {
            for (at, value) in changes {
                let at = usize::from(at) % (bytes.len() / 4) * 4;
                bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
    }
    seal(&mut bytes);
    read(&bytes);
});

/// Makes the checksums right.
fn seal(bytes: &mut [u8]) {
    let sums = u64::from_le_bytes(SMALL[24..32].try_into().expect("8 bytes")) as usize;
    let table: Vec<u8> = (0..sums)
        .step_by(BLOCK)
        .flat_map(|at| {
            let block = &bytes[at.max(SUPERBLOCK)..sums.min(at + BLOCK)];
            crc32c::crc32c(block).to_le_bytes()
        })
        .collect();
    bytes[sums..].copy_from_slice(&table);
    let of_table = crc32c::crc32c(&table);
    bytes[32..36].copy_from_slice(&of_table.to_le_bytes());
    let own = crc32c::crc32c(&bytes[..SUPERBLOCK - 4]);
    bytes[SUPERBLOCK - 4..SUPERBLOCK].copy_from_slice(&own.to_le_bytes());
}

/// Asks everything. What is asked of one inode does not keep the next from being asked.
fn read(bytes: &[u8]) {
    let Ok(index) = Index::new(bytes) else {
        return;
    };
    let _answers = (index.layers(), index.objects(), index.identity());
    let inodes = index.inodes();
    for i in (0..inodes).take(1000) {
        if let Ok(inode) = index.inode(i) {
            assert!(i == 0 || inode.parent < i);
            assert!(inode.perm <= 0o7777 && inode.mtime.nsec < 1_000_000_000);
        }
        if let Ok(entries) = index.entries(i, 0) {
            for entry in entries.flatten().take(1000) {
                assert!(entry.inode < inodes && !entry.name.contains(&b'/'));
                assert!(entry.kind != Kind::Dir || entry.inode > i);
                let _answer = index.lookup(i, entry.name);
            }
        }
        if let Ok(xattrs) = index.xattrs(i) {
            assert!(
                xattrs
                    .flatten()
                    .take(1000)
                    .all(|(name, _)| !name.is_empty())
            );
        }
        if let Ok(target) = index.target(i) {
            assert!(!target.is_empty() && !target.contains(&0));
        }
        let _answers = (index.place(i), index.links(i), index.content(i));
        let _answer = index.lookup(i, b"etc");
    }
    let _answers = (index.inode(inodes), index.check());
}
