//! The bytes of an index, each block of them checked before it is first used.

use super::format::{ALIGN, BLOCK, Extent, MAGIC, Section, Superblock, VERSION, block_range};
use crate::sys::map::Map;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fmt::Display;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Where an index is.
pub trait Bytes {
    /// All of it.
    fn bytes(&self) -> &[u8];

    /// Brings a part into memory, or says that it cannot be had.
    fn bring(&self, _part: Range<usize>) -> Result<()> {
        Ok(())
    }
}

impl Bytes for Map {
    fn bytes(&self) -> &[u8] {
        Map::bytes(self)
    }
    fn bring(&self, part: Range<usize>) -> Result<()> {
        Map::bring(self, part)
    }
}

impl Bytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl Bytes for &[u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// An error that says that the index is not as it should be.
pub(super) fn damaged(what: impl Display) -> Error {
    Error::because(Errno::EIO, format!("index: {what}"))
}

/// The bytes, and which of their blocks were checked.
#[derive(Debug)]
pub(super) struct Blocks<B> {
    bytes: B,
    superblock: Superblock,
    /// Where the table of checksums begins.
    sums: usize,
    /// A bit a block: it was found to be what its checksum says.
    checked: Box<[AtomicU64]>,
}

impl<B: Bytes> Blocks<B> {
    /// Checks the superblock, the table of checksums, and that all sections are in the file.
    pub(super) fn open(bytes: B) -> Result<Blocks<B>> {
        let superblock = read_superblock(&bytes)?;
        let length = bytes.bytes().len();
        if superblock.length.get() != length as u64 {
            let says = superblock.length.get();
            return Err(damaged(format!(
                "the file has {length} bytes, and should have {says}"
            )));
        }
        let sums = usize::try_from(superblock.sums.get())
            .ok()
            .filter(|sums| (size_of::<Superblock>()..=length).contains(sums))
            .ok_or_else(|| damaged("the table of checksums lies outside"))?;
        let blocks = sums.div_ceil(BLOCK);
        if length - sums != blocks * 4 {
            return Err(damaged("not one checksum for each block"));
        }
        bytes.bring(sums..length).context(|| "index")?;
        let table = bytes.bytes().get(sums..).unwrap_or_default();
        if crc32c::crc32c(table) != superblock.sums_sum.get() {
            return Err(damaged("the table of checksums is damaged"));
        }
        check_sections(&superblock, sums)?;
        Ok(Blocks {
            bytes,
            superblock,
            sums,
            checked: (0..blocks.div_ceil(64))
                .map(|_| AtomicU64::new(0))
                .collect(),
        })
    }

    pub(super) fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// Number of records in a section.
    pub(super) fn count(&self, section: Section) -> u64 {
        self.extent(section).1
    }

    fn extent(&self, section: Section) -> (u64, u64) {
        let extent = &self.superblock.sections[section as usize];
        (extent.offset.get(), extent.count.get())
    }

    /// Record `i` of a section. `T` is that section's record.
    pub(super) fn record<T>(&self, section: Section, i: u64) -> Result<&T>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let bytes = self.records(section, i, 1)?;
        T::ref_from_bytes(bytes).map_err(|_| damaged(format!("{section:?} {i} is of no size")))
    }

    /// The bytes of `n` records from number `i` on.
    pub(super) fn records(&self, section: Section, i: u64, n: u64) -> Result<&[u8]> {
        let (offset, count) = self.extent(section);
        let size = section.record() as u64;
        let range = i
            .checked_add(n)
            .filter(|end| *end <= count)
            // the whole section is in the file, so these do not overflow
            .map(|end| offset + i * size..offset + end * size);
        match range {
            Some(range) => self.part(range.start as usize..range.end as usize),
            None => Err(damaged(format!(
                "no {section:?} {i} to {}, there are {count}",
                i.saturating_add(n)
            ))),
        }
    }

    /// A part of the sections, checked.
    fn part(&self, range: Range<usize>) -> Result<&[u8]> {
        if range.is_empty() {
            return Ok(&[]);
        }
        for block in range.start / BLOCK..=(range.end - 1) / BLOCK {
            self.touch(block)?;
        }
        self.bytes
            .bytes()
            .get(range)
            .ok_or_else(|| damaged("a part lies outside"))
    }

    /// Sees to it that a block is what it was when it was written.
    fn touch(&self, block: usize) -> Result<()> {
        let word = self
            .checked
            .get(block / 64)
            .ok_or_else(|| damaged("a block lies outside"))?;
        let bit = 1 << (block % 64);
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        self.verify(block)?;
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// Compares a block with its checksum.
    pub(super) fn verify(&self, block: usize) -> Result<()> {
        let all = self.bytes.bytes();
        let range = block_range(block, self.sums);
        self.bytes
            .bring(range.clone())
            .context(|| format!("index: block {block}"))?;
        let sum = all
            .get(self.sums..)
            .and_then(|table| table.get(block * 4..block * 4 + 4))
            .and_then(|sum| sum.try_into().ok())
            .map(u32::from_le_bytes);
        match all.get(range) {
            Some(data) if Some(crc32c::crc32c(data)) == sum => Ok(()),
            _ => Err(damaged(format!("block {block} is damaged"))),
        }
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> usize {
        self.sums.div_ceil(BLOCK)
    }

    /// All between the superblock and the table of checksums, unchecked.
    pub(super) fn body(&self) -> &[u8] {
        self.bytes
            .bytes()
            .get(size_of::<Superblock>()..self.sums)
            .unwrap_or_default()
    }
}

fn read_superblock<B: Bytes>(bytes: &B) -> Result<Superblock> {
    let all = bytes.bytes();
    if all.len() < size_of::<Superblock>() {
        return Err(damaged("the file ends within the superblock"));
    }
    bytes
        .bring(0..size_of::<Superblock>())
        .context(|| "index: superblock")?;
    let (superblock, _) = Superblock::read_from_prefix(all)
        .map_err(|_| damaged("the file ends within the superblock"))?;
    if superblock.magic != MAGIC {
        return Err(damaged("this is none"));
    }
    let version = superblock.version.get();
    if version != VERSION {
        return Err(Error::because(
            Errno::ESTALE,
            format!("index: version {version}, this program reads {VERSION}"),
        ));
    }
    let summed = all.get(..size_of::<Superblock>() - 4).unwrap_or_default();
    if crc32c::crc32c(summed) != superblock.sum.get() {
        return Err(damaged("the superblock is damaged"));
    }
    if superblock.block.get() != BLOCK as u32 {
        return Err(damaged("blocks of another size"));
    }
    Ok(superblock)
}

fn check_sections(superblock: &Superblock, sums: usize) -> Result<()> {
    let mut free = size_of::<Superblock>() as u64;
    for (section, Extent { offset, count }) in Section::ALL.iter().zip(&superblock.sections) {
        let size = count.get().checked_mul(section.record() as u64);
        let end = size.and_then(|size| offset.get().checked_add(size));
        let after_the_last = offset.get() >= free && offset.get() % ALIGN as u64 == 0;
        match end {
            Some(end) if after_the_last && end <= sums as u64 => free = end,
            _ => return Err(damaged(format!("the section {section:?} lies outside"))),
        }
    }
    let inodes = superblock.sections[Section::Inodes as usize].count.get();
    if inodes == 0 || inodes >= u64::from(super::format::NONE) {
        return Err(damaged(format!("{inodes} inodes")));
    }
    Ok(())
}
