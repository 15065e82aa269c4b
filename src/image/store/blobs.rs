//! Blobs: files named by their digest.
//!
//! What has such a name was compared with it when it came. It is compared again when it is unpacked,
//! and by nobody else: a disk that changes bytes is for `fsck` to find.

use super::{BLOBS, Store, Temp};
use crate::image::digest::{Digest, Digesting};
use crate::image::oci::{self, Descriptor, descriptor, digest_of, read_document, verify};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;

/// A blob that is being written.
#[derive(Debug)]
pub struct BlobWriter(Digesting<Temp>);

impl Write for Temp {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.file().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for BlobWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl BlobWriter {
    /// Ends it; it has to be what is expected.
    pub fn finish(self, expected: Option<&Descriptor>) -> Result<PendingBlob> {
        let size = self.0.len();
        let (temp, digest) = self.0.finish();
        if let Some(expected) = expected {
            same(expected, digest, size)?;
        }
        Ok(PendingBlob { temp, digest, size })
    }
}

/// Says what is wrong if a blob is not what a descriptor says.
fn same(expected: &Descriptor, digest: Digest, size: u64) -> Result<()> {
    let want = digest_of(expected)?;
    if size != expected.size() {
        return Err(Error::because(
            Errno::EBADMSG,
            format!("blob {want}: has {size} bytes, not {}", expected.size()),
        ));
    }
    if digest != want {
        return Err(Error::because(
            Errno::EBADMSG,
            format!("blob {want}: its content has the digest {digest}"),
        ));
    }
    Ok(())
}

/// A blob that is whole, and that nobody sees yet.
#[derive(Debug)]
pub struct PendingBlob {
    temp: Temp,
    digest: Digest,
    size: u64,
}

impl PendingBlob {
    /// Its descriptor, with this media type.
    pub fn descriptor(&self, media_type: &str) -> Descriptor {
        descriptor(media_type, self.digest, self.size)
    }

    /// To read it before it is published.
    pub fn open(&self) -> Result<File> {
        File::open(self.temp.path()).context(|| format!("blob {}", self.digest))
    }
}

impl Store {
    /// The file of a blob, whether it is there or not.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.path(BLOBS).join(digest.hex())
    }

    /// A new blob, to be written.
    pub fn blob_writer(&self) -> Result<BlobWriter> {
        self.temp().map(|temp| BlobWriter(Digesting::new(temp)))
    }

    /// Makes a blob visible.
    pub fn publish_blob(&self, blob: PendingBlob) -> Result<()> {
        if self.has_blob(blob.digest) {
            return Ok(());
        }
        blob.temp.publish(&self.blob_path(blob.digest))
    }

    /// Stores what is read, if it is what is expected.
    pub fn put_blob(
        &self,
        media_type: &str,
        mut from: impl Read,
        expected: Option<&Descriptor>,
    ) -> Result<Descriptor> {
        let mut writer = self.blob_writer()?;
        match expected {
            // one byte more tells that it is too long; no need to read all of it
            Some(d) => io::copy(&mut from.take(d.size().saturating_add(1)), &mut writer),
            None => io::copy(&mut from, &mut writer),
        }
        .context(|| match expected {
            Some(d) => format!("blob {}", d.digest()),
            None => "blob".to_owned(),
        })?;
        let blob = writer.finish(expected)?;
        let descriptor = blob.descriptor(media_type);
        self.publish_blob(blob)?;
        Ok(descriptor)
    }

    /// Stores a document.
    pub fn put_document(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor> {
        if bytes.len() as u64 > oci::DOCUMENT_MAX {
            read_document(media_type, bytes)?;
        }
        self.put_blob(media_type, bytes, None)
    }

    /// True if the blob is there.
    pub fn has_blob(&self, digest: Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// Opens a blob.
    pub fn blob(&self, digest: Digest) -> Result<File> {
        File::open(self.blob_path(digest)).context(|| format!("blob {digest}"))
    }

    /// Reads a document, and compares it with what refers to it.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let digest = digest_of(descriptor)?;
        let what = format!("document {digest}");
        let bytes = read_document(&what, self.blob(digest)?)?;
        verify(descriptor, &bytes).context(|| "document")?;
        Ok(bytes)
    }

    /// All blobs.
    pub fn blobs(&self) -> Result<Vec<Digest>> {
        digests_in(&self.path(BLOBS))
    }
}

/// The digests that entries of a directory are named by; others are not ours.
pub(super) fn digests_in(dir: &std::path::Path) -> Result<Vec<Digest>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).context(|| dir.display().to_string())? {
        let name = entry?.file_name();
        if let Some(Ok(digest)) = name.to_str().map(Digest::from_hex) {
            all.push(digest);
        }
    }
    all.sort_unstable();
    Ok(all)
}
