//! One layer, read once: stored, digested, decompressed, digested, unpacked.

use super::archive::Files;
use super::plan::{Done, Job, Ready, invalid};
use super::progress::{Outcome, Progress};
use super::stream::{Decoder, Limited, Limits};
use super::{FoundLayer, Unpack};
use crate::image::digest::Digesting;
use crate::image::oci::{Compression, Descriptor, compression_of, digest_of};
use crate::image::spill::Digests;
use crate::image::store::{BlobWriter, LayerFacts, Staging, Store};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How much is read at once.
const BUFFER: usize = 256 << 10;

/// What all layers of a source have in common.
pub(super) struct Work<'a> {
    pub store: &'a Store,
    pub files: &'a Files,
    pub limits: &'a Limits,
    pub unpack: &'a dyn Unpack,
    pub progress: &'a dyn Progress,
}

/// Reads all, several at once. The first that fails ends it.
pub(super) fn run_all(work: &Work<'_>, jobs: Vec<Job>, threads: usize) -> Result<Ready> {
    let threads = threads.clamp(1, jobs.len().max(1));
    let queue = Mutex::new(VecDeque::from(jobs));
    let (done, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(job) = queue.lock().pop_front() else {
                        return;
                    };
                    match run(work, &job, &stop) {
                        Ok(one) => done.lock().push(one),
                        Err(e) => {
                            // what fails after it was told to stop is no reason: so the reason is there
                            // before anybody is told
                            failed.lock().get_or_insert(e);
                            stop.store(true, Ordering::Release);
                        }
                    }
                }
            });
        }
    });
    match failed.into_inner() {
        Some(e) => Err(e),
        None => Ok(Ready::new(done.into_inner())),
    }
}

fn run(work: &Work<'_>, job: &Job, stop: &AtomicBool) -> Result<Done> {
    let layer = &job.layer;
    let what = || match &layer.expected {
        Some(d) => format!("layer {}", d.digest()),
        None => format!("layer {}", layer.file),
    };
    let done = read(work, job, stop).context(what)?;
    work.progress.done(layer.diff_id, Outcome::Loaded);
    Ok(done)
}

fn read(work: &Work<'_>, job: &Job, stop: &AtomicBool) -> Result<Done> {
    let layer = &job.layer;
    let (from, size) = open(work, job)?;
    work.progress.start(layer.diff_id, size);
    let consumed = Arc::new(AtomicU64::new(0));
    let tee = Tee {
        from,
        to: match job.want_blob {
            true => Sink::Blob(work.store.blob_writer()?),
            false => Sink::Check(Digesting::new(io::sink())),
        },
        consumed: Arc::clone(&consumed),
        advance: &|n| work.progress.advance(layer.diff_id, n),
        stop,
        failed: None,
    };
    let mut buffered = BufReader::with_capacity(BUFFER, tee);
    let compression = Compression::sniff(buffered.fill_buf()?);
    let plain = Decoder::new(compression, buffered)?;
    let mut tar = Digesting::new(Limited::new(plain, *work.limits, consumed));
    let unpacked = unpack(work, job, &mut tar);
    let tar_size = tar.len();
    let (limited, diff_id) = tar.finish();
    let (plain, within) = limited.finish();
    let mut rest = plain.into_inner();
    if within.is_err() {
        // more of a bomb tells nothing
        within?;
    }
    // what is wrong with the blob is the cause of what is wrong with its content
    let left = io::copy(&mut rest, &mut io::sink())?;
    let (descriptor, blob) = rest.into_inner().finish(layer, compression)?;
    let staged = unpacked?;
    if left > 0 {
        return Err(invalid(format!("{left} bytes stand after the data")));
    }
    if diff_id != layer.diff_id {
        return Err(invalid(format!(
            "its tar has the digest {diff_id}, and the diff ID is {}",
            layer.diff_id
        )));
    }
    let unpacked = staged.map(|(stage, objects)| {
        let size = tar_size;
        (diff_id, stage, LayerFacts { size, objects })
    });
    Ok(Done {
        file: layer.file.clone(),
        descriptor,
        blob,
        unpacked,
    })
}

/// The blob, from the source, or from the store if it is there. No more than one byte too many.
fn open(work: &Work<'_>, job: &Job) -> Result<(Box<dyn Read + Send>, u64)> {
    let layer = &job.layer;
    let Some(expected) = &layer.expected else {
        return Ok((work.files.read(&layer.file)?, work.files.size(&layer.file)?));
    };
    compression_of(expected)?;
    let from: Box<dyn Read + Send> = match job.want_blob {
        true => work.files.read(&layer.file)?,
        false => Box::new(work.store.blob(digest_of(expected)?)?),
    };
    let size = expected.size();
    Ok((Box::new(from.take(size.saturating_add(1))), size))
}

/// Has it unpacked, if it is to be, and reads it to its end.
fn unpack(work: &Work<'_>, job: &Job, tar: &mut impl Read) -> Result<Option<(Staging, Digests)>> {
    let staged = match job.want_layer {
        true => {
            let stage = work.store.staging()?;
            let diff_id = job.layer.diff_id;
            let objects = work.unpack.unpack(work.store, tar, diff_id, stage.path())?;
            Some((stage, objects))
        }
        false => None,
    };
    io::copy(tar, &mut io::sink())?;
    Ok(staged)
}

enum Sink {
    Blob(BlobWriter),
    Check(Digesting<io::Sink>),
}

/// What is read is written too.
struct Tee<'a> {
    from: Box<dyn Read + Send>,
    to: Sink,
    consumed: Arc<AtomicU64>,
    advance: &'a dyn Fn(u64),
    stop: &'a AtomicBool,
    /// What failed here. It is told again to whoever reads on: bytes that a full disk did not take
    /// would else be missing from a blob that is then called damaged.
    failed: Option<(io::ErrorKind, Option<i32>)>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Acquire) {
            return Err(io::Error::other("another layer failed"));
        }
        match self.failed {
            Some((_, Some(errno))) => return Err(io::Error::from_raw_os_error(errno)),
            Some((kind, None)) => return Err(kind.into()),
            None => {}
        }
        let read = self.pass_on(buf);
        if let Err(e) = &read
            && e.kind() != io::ErrorKind::Interrupted
        {
            self.failed = Some((e.kind(), e.raw_os_error()));
        }
        read
    }
}

impl Tee<'_> {
    fn pass_on(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buf)?;
        let bytes = buf.get(..n).unwrap_or_default();
        match &mut self.to {
            Sink::Blob(to) => to.write_all(bytes)?,
            Sink::Check(to) => to.write_all(bytes)?,
        }
        self.consumed.fetch_add(n as u64, Ordering::Relaxed);
        (self.advance)(n as u64);
        Ok(n)
    }

    /// Compares all that was read with what was expected.
    fn finish(
        self,
        layer: &FoundLayer,
        compression: Compression,
    ) -> Result<(Descriptor, Option<crate::image::store::PendingBlob>)> {
        let expected = layer.expected.as_ref();
        match self.to {
            Sink::Blob(writer) => {
                let blob = writer.finish(expected)?;
                let own = blob.descriptor(compression.layer_type());
                Ok((expected.cloned().unwrap_or(own), Some(blob)))
            }
            Sink::Check(sink) => {
                let (_, digest) = sink.finish();
                match expected {
                    Some(d) if digest_of(d)? == digest => Ok((d.clone(), None)),
                    _ => Err(Error::because(
                        Errno::EBADMSG,
                        format!("the blob in the store has the digest {digest}"),
                    )),
                }
            }
        }
    }
}
