//! Digests: what names a blob.

use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

/// A SHA-256, written `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

const PREFIX: &str = "sha256:";

impl Digest {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The 64 digits, without `sha256:`: the name of a blob's file.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// From 64 digits.
    pub fn from_hex(hex: &str) -> Result<Digest> {
        let mut bytes = [0; 32];
        // upper-case digits would be a second name for the same blob
        if hex.bytes().any(|c| c.is_ascii_uppercase())
            || hex::decode_to_slice(hex, &mut bytes).is_err()
        {
            let why = format!("{hex:?} is no SHA-256");
            return Err(Error::because(Errno::EINVAL, why));
        }
        Ok(Digest(bytes))
    }

    /// The first 12 digits, as people are shown it.
    pub fn short(&self) -> String {
        self.hex().chars().take(12).collect()
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(s: &str) -> Result<Digest> {
        match s.strip_prefix(PREFIX) {
            Some(hex) => Digest::from_hex(hex),
            None => Err(Error::because(
                Errno::EINVAL,
                format!("digest {s:?}: only sha256 is understood"),
            )),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Digest {
    /// As text where people read it, else as bytes.
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            to.collect_str(self)
        } else {
            self.0.serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Digest, D::Error> {
        if from.is_human_readable() {
            let text = String::deserialize(from)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(from).map(Digest)
        }
    }
}

/// What goes through it is digested and counted: put it around a reader or a writer.
#[derive(Debug)]
pub struct Digesting<T> {
    inner: T,
    hasher: Sha256,
    len: u64,
}

impl<T> Digesting<T> {
    /// Around `inner`.
    pub fn new(inner: T) -> Digesting<T> {
        Digesting {
            inner,
            hasher: Sha256::new(),
            len: 0,
        }
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if nothing went through yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is inside, and the digest of what went through.
    pub fn finish(self) -> (T, Digest) {
        (self.inner, Digest(self.hasher.finalize().into()))
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.note(buf.get(..n).unwrap_or_default());
        Ok(n)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buf)?;
        self.note(buf.get(..n).unwrap_or_default());
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest: Digest = EMPTY.parse().unwrap();
        assert_eq!(digest, Digest::of(b""));
        assert_eq!(digest.to_string(), EMPTY);
        assert_eq!(digest.short(), "e3b0c44298fc");
    }

    #[test]
    fn documents_have_it_as_text() {
        let digest = Digest::of(b"");
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{EMPTY}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        let bytes = postcard::to_stdvec(&digest).unwrap();
        assert_eq!(bytes, digest.as_bytes());
        assert_eq!(postcard::from_bytes::<Digest>(&bytes).unwrap(), digest);
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for bad in [
            "sha256:e3b0",
            "sha512:00",
            &EMPTY.to_uppercase(),
            &EMPTY.replace('e', "g"),
            &format!("{EMPTY}0"),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_goes_through_is_digested() {
        let mut out = Digesting::new(Vec::new());
        out.write_all(b"abc").unwrap();
        assert_eq!(out.len(), 3);
        assert_eq!(out.finish(), (b"abc".to_vec(), Digest::of(b"abc")));
        let mut read = Digesting::new(&b"abc"[..]);
        let mut all = Vec::new();
        read.read_to_end(&mut all).unwrap();
        assert_eq!(read.finish().1, Digest::of(b"abc"));
    }
}
