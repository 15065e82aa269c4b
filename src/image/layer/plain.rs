//! The plain header: a ustar block to be written, for as much as fits it.
//!
//! What does not fit its field is left zero, and whoever asked for it is told, to say it by a PAX
//! record.

use super::BLOCK;
use super::stream::Block;
use tar::{Header, UstarHeader};

/// A header in the making.
pub struct Plain(Header);

impl Plain {
    /// Of this kind, with everything else zero.
    pub fn new(kind: u8) -> Plain {
        let mut plain = Plain(Header::new_ustar());
        let h = plain.fields();
        h.typeflag = [kind];
        for field in [&mut h.mode, &mut h.uid, &mut h.gid] {
            put(field, 0);
        }
        put(&mut h.size, 0);
        put(&mut h.mtime, 0);
        plain
    }

    fn fields(&mut self) -> &mut UstarHeader {
        // the form is chosen by the magic, which stays
        match self.0.as_ustar_mut() {
            Some(h) => h,
            None => unreachable!("a ustar header is one"),
        }
    }

    /// Sets the name, which may be split at a `/`; false if it does not fit.
    pub fn name(&mut self, name: &[u8]) -> bool {
        let h = self.fields();
        if copy(&mut h.name, name) {
            return true;
        }
        for at in (1..name.len().min(h.prefix.len() + 1)).rev() {
            if let Some((prefix, [b'/', rest @ ..])) = name.split_at_checked(at)
                && !rest.is_empty()
                && rest.len() <= h.name.len()
            {
                return copy(&mut h.prefix, prefix) && copy(&mut h.name, rest);
            }
        }
        false
    }

    /// Sets the target of a link; false if it does not fit.
    pub fn target(&mut self, target: &[u8]) -> bool {
        copy(&mut self.fields().linkname, target)
    }

    /// Sets the permission bits.
    pub fn perm(&mut self, perm: u32) -> bool {
        put(&mut self.fields().mode, perm.into())
    }

    /// Sets the owner; false if it does not fit.
    pub fn uid(&mut self, uid: u32) -> bool {
        put(&mut self.fields().uid, uid.into())
    }

    /// Sets the group; false if it does not fit.
    pub fn gid(&mut self, gid: u32) -> bool {
        put(&mut self.fields().gid, gid.into())
    }

    /// Sets the bytes of data that follow; false if they do not fit.
    pub fn size(&mut self, size: u64) -> bool {
        put(&mut self.fields().size, size)
    }

    /// Sets the seconds since the epoch; false if they do not fit.
    pub fn mtime(&mut self, mtime: i64) -> bool {
        u64::try_from(mtime).is_ok_and(|m| put(&mut self.fields().mtime, m))
    }

    /// Sets the major number of a device; false if it does not fit.
    pub fn major(&mut self, major: u32) -> bool {
        put(&mut self.fields().dev_major, major.into())
    }

    /// Sets the minor number of a device; false if it does not fit.
    pub fn minor(&mut self, minor: u32) -> bool {
        put(&mut self.fields().dev_minor, minor.into())
    }

    /// The block, with its checksum.
    pub fn into_block(mut self) -> Block {
        self.0.set_cksum();
        let mut block = [0; BLOCK];
        block.copy_from_slice(self.0.as_bytes());
        block
    }
}

/// Octal digits and a NUL; false, and nothing done, if there are too many.
fn put(field: &mut [u8], n: u64) -> bool {
    let digits = format!("{n:0width$o}", width = field.len() - 1);
    if digits.len() >= field.len() {
        return false;
    }
    copy(field, digits.as_bytes())
}

/// Text, with NULs after it if there is room; false, and nothing done, if it does not fit or is not
/// ASCII: POSIX says nothing of what other bytes mean here.
fn copy(field: &mut [u8], text: &[u8]) -> bool {
    if text.len() > field.len() || !text.is_ascii() {
        return false;
    }
    field.fill(0);
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::header::Raw;
    use super::*;

    #[test]
    fn a_header_is_read_as_it_is_written() {
        let mut plain = Plain::new(b'3');
        let long = [vec![b'a'; 120], vec![b'/'], vec![b'b'; 90]].concat();
        assert!(plain.name(&long) && plain.target(b"t"));
        assert!(plain.perm(0o4755) && plain.uid(0o7_777_777) && plain.gid(5));
        assert!(plain.size(0o77_777_777_777) && plain.mtime(9));
        assert!(plain.major(8) && plain.minor(1));
        assert!(!plain.uid(0o10_000_000) && !plain.size(1 << 33) && !plain.mtime(-1));
        let raw = Raw::new(&plain.into_block()).unwrap();
        assert_eq!((raw.kind(), raw.name()), (b'3', long));
        assert_eq!(raw.target(), b"t");
        assert_eq!(raw.perm().unwrap(), 0o4755);
        assert_eq!((raw.uid().unwrap(), raw.gid().unwrap()), (0o7_777_777, 5));
        assert_eq!(raw.size().unwrap(), 0o77_777_777_777);
        assert_eq!(raw.mtime().unwrap(), 9);
        assert_eq!(raw.device().unwrap(), (8, 1));
    }

    #[test]
    fn names_that_do_not_fit() {
        assert!(Plain::new(b'0').name(&[b'a'; 100]));
        assert!(!Plain::new(b'0').name(&[b'a'; 101]));
        assert!(!Plain::new(b'0').name("ä".as_bytes()));
        let prefix = [vec![b'a'; 156], b"/b".to_vec()].concat();
        assert!(!Plain::new(b'0').name(&prefix));
        assert!(Plain::new(b'0').name(&prefix[1..]));
        let dir = [vec![b'a'; 100], b"/".to_vec()].concat();
        assert!(!Plain::new(b'5').name(&dir));
    }
}
