//! What a container wrote, as docker's driver `json-file` keeps it: an object a line, with `log`,
//! `stream` and `time`.

use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

/// A line that is longer becomes several.
const LINE_MAX: usize = 16 << 10;

/// Where something came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line<'a> {
    /// What was written, with the end of the line.
    pub log: Cow<'a, str>,
    /// Where to.
    pub stream: Stream,
    /// When, RFC 3339.
    pub time: String,
}

/// Keeps what a container writes.
#[derive(Debug)]
pub struct Recorder {
    file: Option<File>,
    partial: [Vec<u8>; 2],
}

impl Recorder {
    /// Adds to a file.
    pub fn new(path: &Path) -> Result<Recorder> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Recorder {
            file: Some(file.context(|| path.display().to_string())?),
            partial: Default::default(),
        })
    }

    /// Keeps what came, once lines are whole. The error is told once; from then on nothing is kept.
    pub fn add(&mut self, stream: Stream, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            self.of(stream).extend_from_slice(line);
            self.flush(stream)?;
        }
        self.of(stream).extend_from_slice(rest);
        while self.of(stream).len() > LINE_MAX {
            let at = boundary(self.of(stream), LINE_MAX);
            let after = self.of(stream).split_off(at);
            self.flush(stream)?;
            *self.of(stream) = after;
        }
        Ok(())
    }

    /// Keeps what is left.
    pub fn finish(&mut self) -> Result<()> {
        self.flush(Stream::Stdout)?;
        self.flush(Stream::Stderr)
    }

    fn of(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [out, err] = &mut self.partial;
        match stream {
            Stream::Stdout => out,
            Stream::Stderr => err,
        }
    }

    fn flush(&mut self, stream: Stream) -> Result<()> {
        let bytes = std::mem::take(self.of(stream));
        let Some(file) = self.file.as_mut().filter(|_| !bytes.is_empty()) else {
            return Ok(());
        };
        let line = Line {
            log: String::from_utf8_lossy(&bytes),
            stream,
            time: jiff::Timestamp::now().to_string(),
        };
        let written = serde_json::to_vec(&line)
            .map_err(std::io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                file.write_all(&text)
            });
        written.inspect_err(|_| self.file = None).context(|| "log")
    }
}

/// The last place up to `at` that no character goes across.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let begins = |i: &usize| bytes.get(*i).is_none_or(|b| b & 0xC0 != 0x80);
    (at.saturating_sub(3)..=at).rev().find(begins).unwrap_or(at)
}

/// Reads what was kept, and what is added.
#[derive(Debug)]
pub struct Reader {
    file: BufReader<File>,
    /// Where the first line is that was not read whole.
    at: u64,
}

impl Reader {
    /// Nothing if nothing was ever kept.
    pub fn open(path: &Path) -> Result<Option<Reader>> {
        let what = || path.display().to_string();
        let file = absent_ok(File::open(path).map_err(Error::from)).context(what)?;
        Ok(file.map(|file| Reader {
            file: BufReader::new(file),
            at: 0,
        }))
    }

    /// The next whole line. Nothing at the end, for now.
    pub fn line(&mut self) -> Result<Option<Line<'static>>> {
        let mut text = Vec::new();
        let n = self.file.read_until(b'\n', &mut text).context(|| "log")?;
        if !text.ends_with(b"\n") {
            self.file.seek(SeekFrom::Start(self.at)).context(|| "log")?;
            return Ok(None);
        }
        self.at += n as u64;
        let line = serde_json::from_slice(&text);
        line.map(Some)
            .map_err(|e| Error::because(Errno::EBADMSG, format!("log at byte {}: {e}", self.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert!(Reader::open(&path).unwrap().is_none());
        let mut recorder = Recorder::new(&path).unwrap();
        let mut reader = Reader::open(&path).unwrap().unwrap();
        recorder.add(Stream::Stdout, b"one\ntw").unwrap();
        recorder.add(Stream::Stderr, b"error\n").unwrap();
        let mut next = || {
            reader
                .line()
                .unwrap()
                .map(|l| (l.log.into_owned(), l.stream))
        };
        assert_eq!(next(), Some(("one\n".into(), Stream::Stdout)));
        assert_eq!(next(), Some(("error\n".into(), Stream::Stderr)));
        assert_eq!(next(), None);
        recorder
            .add(Stream::Stdout, "o größe\n".as_bytes())
            .unwrap();
        assert_eq!(next(), Some(("two größe\n".into(), Stream::Stdout)));
        let long = "ä".repeat(LINE_MAX);
        for part in long.as_bytes().chunks(1001) {
            recorder.add(Stream::Stdout, part).unwrap();
        }
        recorder.finish().unwrap();
        let mut all = String::new();
        while let Some((text, _)) = next() {
            assert!(text.len() <= LINE_MAX);
            all.push_str(&text);
        }
        assert!(all == long);
    }
}
