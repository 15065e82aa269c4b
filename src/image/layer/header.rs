//! The header: the block that every entry begins with, in one of five dialects.
//!
//! All of them agree on the first 257 bytes, which are v7's. What follows depends on the magic:
//! POSIX `ustar` has a prefix of the name, star has a shorter one and times, GNU has neither a
//! prefix nor room for one, but a map of a sparse file.

use super::invalid;
use super::stream::Block;
use crate::vfs::Result;
use crate::vfs::error::Context;
use tar::{GnuHeader, GnuSparseHeader, Header};

/// Who wrote the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// A header whose checksum is right.
pub struct Raw {
    header: Header,
    dialect: Dialect,
}

impl Raw {
    /// Checks the block's checksum.
    pub fn new(block: &Block) -> Result<Raw> {
        let header = Header::from_byte_slice(block).clone();
        let told = number(&header.as_old().cksum).context(|| "checksum")?;
        // the sum is of unsigned bytes; some old writers summed signed ones
        let field = 148..156;
        let (mut unsigned, mut signed) = (0, 0);
        for (i, &byte) in block.iter().enumerate() {
            let byte = if field.contains(&i) { b' ' } else { byte };
            unsigned += i128::from(byte);
            signed += i128::from(byte.cast_signed());
        }
        if told != unsigned && told != signed {
            return Err(invalid("this is no header of a tar: its checksum is wrong"));
        }
        let dialect = match block.get(257..265) {
            Some(b"ustar  \0") => Dialect::Gnu,
            Some([b'u', b's', b't', b'a', b'r', 0, ..]) if block.ends_with(b"tar\0") => {
                Dialect::Star
            }
            Some([b'u', b's', b't', b'a', b'r', 0, ..]) => Dialect::Ustar,
            _ => Dialect::V7,
        };
        Ok(Raw { header, dialect })
    }

    /// What kind of entry it is.
    pub fn kind(&self) -> u8 {
        self.header.as_old().linkflag[0]
    }

    /// The name with its prefix.
    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.header.as_old().name);
        let prefix = match self.dialect {
            Dialect::V7 | Dialect::Gnu => b"",
            Dialect::Ustar => text(self.field(345, 155)),
            Dialect::Star => text(self.field(345, 131)),
        };
        if prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    /// The target of a link.
    pub fn target(&self) -> Vec<u8> {
        text(&self.header.as_old().linkname).to_vec()
    }

    /// Permission bits; what v7 has above them is the type once more.
    pub fn perm(&self) -> Result<u32> {
        let mode = number(&self.header.as_old().mode).context(|| "mode")?;
        Ok((mode & 0o7777) as u32)
    }

    /// Owner.
    pub fn uid(&self) -> Result<u32> {
        fitting(number(&self.header.as_old().uid), "owner")
    }

    /// Group.
    pub fn gid(&self) -> Result<u32> {
        fitting(number(&self.header.as_old().gid), "group")
    }

    /// Bytes of data in the tar, if the entry is one that has data.
    pub fn size(&self) -> Result<u64> {
        fitting(number(&self.header.as_old().size), "size")
    }

    /// Seconds since the epoch.
    pub fn mtime(&self) -> Result<i64> {
        fitting(number(&self.header.as_old().mtime), "mtime")
    }

    /// Major and minor number of a device.
    pub fn device(&self) -> Result<(u32, u32)> {
        if self.dialect == Dialect::V7 {
            return Err(invalid("a device in a v7 header, which has no number"));
        }
        Ok((
            fitting(number(self.field(329, 8)), "major number")?,
            fitting(number(self.field(337, 8)), "minor number")?,
        ))
    }

    /// The GNU form, with its map of a sparse file.
    pub fn gnu(&self) -> Option<&GnuHeader> {
        self.header.as_gnu()
    }

    fn field(&self, at: usize, len: usize) -> &[u8] {
        self.header.as_bytes().get(at..at + len).unwrap_or_default()
    }
}

/// Where a piece of a sparse file is, as GNU says it; `None` after the last.
pub fn sparse_piece(piece: &GnuSparseHeader) -> Result<Option<(u64, u64)>> {
    if piece.numbytes[0] == 0 {
        return Ok(None);
    }
    Ok(Some((
        fitting(number(&piece.offset), "offset of a sparse file's data")?,
        fitting(number(&piece.numbytes), "length of a sparse file's data")?,
    )))
}

/// The size of a sparse file with its holes, as GNU says it.
pub fn sparse_size(header: &GnuHeader) -> Result<u64> {
    fitting(number(&header.realsize), "size of a sparse file")
}

/// A text up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|b| *b == 0).next().unwrap_or_default()
}

/// A number in octal digits, or in GNU's base-256: two's complement, big-endian, with the highest
/// bit set to tell it from a digit.
fn number(field: &[u8]) -> Result<i128> {
    match field.split_first() {
        Some((first, rest)) if first & 0x80 != 0 => {
            let high = i128::from(first & 0x7f);
            let high = if high & 0x40 != 0 { high - 0x80 } else { high };
            // twelve bytes at most, so nothing is shifted out
            Ok(rest.iter().fold(high, |n, b| n << 8 | i128::from(*b)))
        }
        _ => octal(field),
    }
}

/// Digits after spaces or NULs and before spaces or a NUL; none are zero.
fn octal(field: &[u8]) -> Result<i128> {
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = field.get(start..).unwrap_or_default();
    let digits = digits.split(blank).next().unwrap_or_default();
    digits.iter().try_fold(0, |n: i128, b| match b {
        b'0'..=b'7' => Ok(n << 3 | i128::from(b - b'0')),
        _ => Err(invalid(format!(
            "\"{}\" is no octal number",
            field.escape_ascii()
        ))),
    })
}

fn fitting<T: TryFrom<i128>>(n: Result<i128>, what: &str) -> Result<T> {
    let n = n.context(|| what)?;
    T::try_from(n).map_err(|_| invalid(format!("{what} {n} is out of range")))
}

#[cfg(test)]
mod tests {
    use super::super::BLOCK;
    use super::*;

    #[test]
    fn numbers_in_octal() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b"   644 \0").unwrap(), 0o644);
        assert_eq!(number(b"77777777").unwrap(), 0o77_777_777);
        assert_eq!(number(b"\0\0\0\0").unwrap(), 0);
        for bad in [&b"8"[..], b"0x1", b"-1\0", b"+1\0"] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_in_base_256() {
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0").unwrap(), 256);
        assert_eq!(number(&[0xff; 12]).unwrap(), -1);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\0").unwrap(), -256);
        assert_eq!(number(b"\x80\0\0\0\xff\xff\xff\xff").unwrap(), 0xffff_ffff);
        assert!(fitting::<u64>(number(&[0xff; 12]), "size").is_err());
        let huge = [[0xbf].as_slice(), &[0xff; 11]].concat();
        assert!(fitting::<u64>(number(&huge), "size").is_err());
    }

    #[test]
    fn a_signed_sum_is_one() {
        let mut block = [0; BLOCK];
        block[0] = 0xe4;
        let sum = 8 * 32 - 28;
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(Raw::new(&block).unwrap().name(), [0xe4]);
        block[1] = b'x';
        assert!(Raw::new(&block).is_err());
    }

    #[test]
    fn stars_prefix_ends_where_its_times_begin() {
        let mut h = Header::new_ustar();
        let u = h.as_ustar_mut().unwrap();
        u.name[0] = b'n';
        u.prefix.fill(b'p');
        u.pad[8..].copy_from_slice(b"tar\0");
        h.set_cksum();
        let block = *h.as_bytes();
        let name = Raw::new(&block).unwrap().name();
        assert_eq!(name, [vec![b'p'; 131], b"/n".to_vec()].concat());
    }
}
