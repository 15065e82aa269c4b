//! Layers as streams: decompressed, counted, limited.

use crate::image::oci::Compression;
use crate::vfs::{Error, Result};
use flate2::bufread::MultiGzDecoder;
use nix::errno::Errno;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much may come out of how little.
///
/// Deflate makes 1032 times as much of a run of zeros, zstd much more. A layer of programs and texts
/// becomes 2 to 5 times as large, one with the blank image of a disk in it a hundred times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest layer, uncompressed, in bytes.
    pub layer_max: u64,
    /// How many times its size a blob may become, once it is past `ratio_free`.
    pub ratio_max: u64,
    /// So many bytes come out before the ratio is looked at.
    pub ratio_free: u64,
    /// Largest archive that is written to disk before it is read.
    pub archive_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            layer_max: 64 << 30,
            ratio_max: 200,
            ratio_free: 1 << 30,
            archive_max: 256 << 30,
        }
    }
}

/// What comes out of a compressed stream. It ends where the stream does; what stands after the
/// compressed data is an error.
pub(in crate::image) enum Decoder<R: BufRead> {
    Plain(R),
    Gzip(Box<MultiGzDecoder<R>>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
}

impl<R: BufRead> Decoder<R> {
    /// Of a stream that is compressed so.
    pub fn new(compression: Compression, from: R) -> io::Result<Decoder<R>> {
        Ok(match compression {
            Compression::None => Decoder::Plain(from),
            Compression::Gzip => Decoder::Gzip(Box::new(MultiGzDecoder::new(from))),
            Compression::Zstd => Decoder::Zstd(zstd::stream::read::Decoder::with_buffer(from)?),
        })
    }

    /// What it reads from.
    pub fn into_inner(self) -> R {
        match self {
            Decoder::Plain(r) => r,
            Decoder::Gzip(r) => r.into_inner(),
            Decoder::Zstd(r) => r.finish(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Decoder::Plain(_) => "plain",
            Decoder::Gzip(_) => "gzip",
            Decoder::Zstd(_) => "zstd",
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Decoder::Plain(r) => r.read(buf),
            Decoder::Gzip(r) => r.read(buf),
            Decoder::Zstd(r) => r.read(buf),
        };
        read.map_err(|e| match e.raw_os_error() {
            Some(_) => e,
            None => io::Error::new(
                e.kind(),
                format!(
                    "truncated, damaged or followed by other data ({}: {e})",
                    self.name()
                ),
            ),
        })
    }
}

/// Counts what goes in.
pub(super) struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub fn new(inner: R, read: Arc<AtomicU64>) -> Counted<R> {
        Counted { inner, read }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Counts what comes out, and ends it where the limits are.
pub(super) struct Limited<R> {
    inner: R,
    limits: Limits,
    /// How much went in.
    consumed: Arc<AtomicU64>,
    out: u64,
    over: Option<Error>,
}

impl<R: Read> Limited<R> {
    pub fn new(inner: R, limits: Limits, consumed: Arc<AtomicU64>) -> Limited<R> {
        Limited {
            inner,
            limits,
            consumed,
            out: 0,
            over: None,
        }
    }

    /// What is inside, and why it was ended, if it was.
    pub fn finish(self) -> (R, Result<()>) {
        (self.inner, self.over.map_or(Ok(()), Err))
    }

    fn check(&self) -> Option<Error> {
        let Limits {
            layer_max,
            ratio_max,
            ratio_free,
            ..
        } = self.limits;
        let consumed = self.consumed.load(Ordering::Relaxed).max(1);
        if self.out > layer_max {
            return Some(Error::because(
                Errno::EFBIG,
                format!("it unpacks to more than {layer_max} bytes, which is the limit"),
            ));
        }
        if self.out > ratio_free && self.out / consumed > ratio_max {
            return Some(Error::because(
                Errno::EFBIG,
                format!(
                    "{consumed} bytes of it unpack to {}, more than {ratio_max} times as many, which is the limit",
                    self.out
                ),
            ));
        }
        None
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.over.is_some() {
            return Err(io::Error::other("over the limit"));
        }
        let n = self.inner.read(buf)?;
        self.out += n as u64;
        self.over = self.check();
        match &self.over {
            None => Ok(n),
            Some(e) => Err(io::Error::other(e.reason().to_owned())),
        }
    }
}
