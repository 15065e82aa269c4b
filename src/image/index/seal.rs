//! The file around the sections: alignment, checksums, superblock.

use super::format::{ALIGN, BLOCK, Extent, MAGIC, Section, Superblock, VERSION};
use crate::image::digest::{Digest, Digesting};
use crate::vfs::Result;
use std::io::{self, Seek, SeekFrom, Write};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// An index that is written from its first section on, so that no more of it is in memory than
/// the checksums of its blocks. The superblock comes last, to the place that was left for it.
pub(super) struct Sealing<'w, W> {
    out: Digesting<&'w mut W>,
    /// How long the file is.
    len: u64,
    /// The checksum of the block that is being written.
    sum: u32,
    sums: Vec<u8>,
    sections: [Extent; 8],
}

impl<'w, W: Write + Seek> Sealing<'w, W> {
    /// Leaves room for the superblock.
    pub fn begin(out: &'w mut W) -> Result<Sealing<'w, W>> {
        out.rewind()?;
        out.write_all(Superblock::new_zeroed().as_bytes())?;
        Ok(Sealing {
            out: Digesting::new(out),
            len: size_of::<Superblock>() as u64,
            sum: 0,
            sums: Vec::new(),
            sections: [Extent::new_zeroed(); 8],
        })
    }

    /// Begins a section, which has so many records. They come next, in the sections' order.
    pub fn section(&mut self, section: Section, records: u64) -> Result<()> {
        self.align()?;
        self.sections[section as usize] = Extent {
            offset: self.len.into(),
            count: records.into(),
        };
        Ok(())
    }

    /// A record.
    pub fn record(&mut self, record: &(impl IntoBytes + Immutable)) -> Result<()> {
        Ok(self.write(record.as_bytes())?)
    }

    /// Bytes of a section.
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = BLOCK - (self.len % BLOCK as u64) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.out.write_all(now)?;
            self.sum = crc32c::crc32c_append(self.sum, now);
            self.len += now.len() as u64;
            if now.len() == room {
                self.end_block();
            }
            bytes = later;
        }
        Ok(())
    }

    fn align(&mut self) -> io::Result<()> {
        let past = (self.len % ALIGN as u64) as usize;
        match past {
            0 => Ok(()),
            past => self.write(&[0; ALIGN][past..]),
        }
    }

    fn end_block(&mut self) {
        self.sums.extend_from_slice(&self.sum.to_le_bytes());
        self.sum = 0;
    }

    /// Writes the checksums and the superblock.
    pub fn finish(mut self) -> Result<()> {
        self.align()?;
        if !self.len.is_multiple_of(BLOCK as u64) {
            self.end_block();
        }
        let (out, identity) = self.out.finish();
        out.write_all(&self.sums)?;
        let mut superblock = Superblock {
            magic: MAGIC,
            version: VERSION.into(),
            block: (BLOCK as u32).into(),
            length: (self.len + self.sums.len() as u64).into(),
            sums: self.len.into(),
            sums_sum: crc32c::crc32c(&self.sums).into(),
            reserved: 0.into(),
            identity: *Digest::as_bytes(&identity),
            sections: self.sections,
            reserved2: [0; 52],
            sum: 0.into(),
        };
        let own = superblock.as_bytes();
        let own = &own[..own.len() - size_of::<u32>()];
        superblock.sum = crc32c::crc32c(own).into();
        out.seek(SeekFrom::Start(0))?;
        out.write_all(superblock.as_bytes())?;
        Ok(())
    }
}
