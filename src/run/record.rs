//! What a container wrote, as docker's driver `json-file` keeps it: an object a line, with `log`,
//! `stream` and `time`; in one file, or in several of limited size, of which the oldest goes when a new one
//! begins.

use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A line that is longer becomes several.
const LINE_MAX: usize = 16 << 10;

/// Longer than a line is as it is kept.
const KEPT_MAX: u64 = 256 << 10;

/// How what a container writes is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// It is not.
    pub none: bool,
    /// A file has no more bytes than this.
    pub max_size: Option<u64>,
    /// There are no more files than this.
    pub max_file: u32,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            none: false,
            max_size: None,
            max_file: 1,
        }
    }
}

impl LogOptions {
    /// `--log-driver`, and each `--log-opt`.
    pub fn parse(driver: Option<&str>, options: &[String]) -> Result<LogOptions> {
        let bad = |why: String| Error::because(Errno::EINVAL, why);
        let mut parsed = LogOptions::default();
        match driver {
            None | Some("json-file") => {}
            Some("none") => parsed.none = true,
            Some(other) => {
                let why = format!("--log-driver {other:?} is not supported: 'json-file' or 'none'");
                return Err(bad(why));
            }
        }
        let mut files = None;
        for option in options {
            let say = |why: &str| bad(format!("--log-opt {option:?}: {why}"));
            match option.split_once('=') {
                _ if parsed.none => return Err(say("nothing is kept with --log-driver none")),
                Some(("max-size", size)) => {
                    let bytes = super::limits::decimal_size(size).map_err(|e| say(e.reason()))?;
                    parsed.max_size = u64::try_from(bytes).ok();
                }
                Some(("max-file", number)) => {
                    let number = number.parse().ok().filter(|n| (1..=1000).contains(n));
                    files = Some(number.ok_or_else(|| say("a number from 1 to 1000 is expected"))?);
                }
                Some((name, _)) => {
                    return Err(say(&format!(
                        "{name:?} is not supported: 'max-size' or 'max-file'"
                    )));
                }
                None => return Err(say("NAME=VALUE is expected")),
            }
        }
        if files.is_some() && parsed.max_size.is_none() {
            return Err(bad("--log-opt max-file needs max-size".to_owned()));
        }
        parsed.max_file = files.unwrap_or(1);
        Ok(parsed)
    }
}

/// The file before the one that is written to, or the `n`th before it.
pub fn earlier(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

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
    path: PathBuf,
    options: LogOptions,
    file: Option<File>,
    size: u64,
    partial: [Vec<u8>; 2],
}

impl Recorder {
    /// Adds to a file.
    pub fn new(path: &Path, options: LogOptions) -> Result<Recorder> {
        let mut recorder = Recorder {
            path: path.to_owned(),
            options,
            file: None,
            size: 0,
            partial: Default::default(),
        };
        if !options.none {
            let what = || path.display().to_string();
            let mut open = File::options();
            let opened = open.create(true).read(true).append(true).open(path);
            let mut file = opened.context(what)?;
            recorder.size = cut_partial(&mut file).context(what)?;
            recorder.file = Some(file);
        }
        Ok(recorder)
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
        if bytes.is_empty() || self.file.is_none() {
            return Ok(());
        }
        let line = Line {
            log: String::from_utf8_lossy(&bytes),
            stream,
            time: jiff::Timestamp::now().to_string(),
        };
        let written = serde_json::to_vec(&line)
            .map_err(|e| Error::because(Errno::EINVAL, e))
            .and_then(|mut text| {
                text.push(b'\n');
                self.write(&text)
            });
        written.inspect_err(|_| self.file = None).context(|| "log")
    }

    fn write(&mut self, text: &[u8]) -> Result<()> {
        let length = text.len() as u64;
        let is_full = |max| self.size > 0 && self.size + length > max;
        if self.options.max_size.is_some_and(is_full) {
            self.rotate()?;
        }
        let Some(file) = self.file.as_mut() else {
            return Ok(());
        };
        if let Err(e) = file.write_all(text) {
            // half a line would be in the way of the next one; if it stays, the next start cuts it off
            file.set_len(self.size).ok();
            return Err(e.into());
        }
        self.size += length;
        Ok(())
    }

    /// Begins a new file. The earlier ones get the next numbers; the last of them goes.
    fn rotate(&mut self) -> Result<()> {
        let path = &self.path;
        let shift = |from: &Path, to: &Path| {
            absent_ok(fs::rename(from, to).map_err(Error::from))
                .context(|| to.display().to_string())
        };
        let last = self.options.max_file.saturating_sub(1);
        for n in (1..last).rev() {
            shift(&earlier(path, n), &earlier(path, n + 1))?;
        }
        match last {
            0 => fs::remove_file(path).context(|| path.display().to_string())?,
            _ => drop(shift(path, &earlier(path, 1))?),
        }
        let mut open = File::options();
        let made = open.create_new(true).read(true).append(true).open(path);
        self.file = Some(made.context(|| path.display().to_string())?);
        self.size = 0;
        Ok(())
    }
}

/// Takes away what was written of a line when whoever wrote it died. The size of the rest.
fn cut_partial(file: &mut File) -> std::io::Result<u64> {
    let size = file.metadata()?.len();
    let from = size.saturating_sub(KEPT_MAX);
    let mut end = [b'\n'];
    if size > 0 {
        file.seek(SeekFrom::Start(size - 1))?;
        match file.read_exact(&mut end) {
            // somebody else made it shorter
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {}
            other => other?,
        }
    }
    if end == [b'\n'] {
        return Ok(size);
    }
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut tail)?;
    let whole = tail
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let whole = from + whole as u64;
    file.set_len(whole)?;
    Ok(whole)
}

/// The last place up to `at` that no character goes across.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let begins = |i: &usize| bytes.get(*i).is_none_or(|b| b & 0xC0 != 0x80);
    (at.saturating_sub(3)..=at).rev().find(begins).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::super::reread::Reader;
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut reader = Reader::new(&path);
        assert!(reader.line().unwrap().is_none());
        let mut recorder = Recorder::new(&path, LogOptions::default()).unwrap();
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

    #[test]
    fn half_a_line_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut recorder = Recorder::new(&path, LogOptions::default()).unwrap();
        recorder.add(Stream::Stdout, b"one\n").unwrap();
        // whoever wrote died in the middle
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"log\":\"hal").unwrap();
        let mut recorder = Recorder::new(&path, LogOptions::default()).unwrap();
        recorder.add(Stream::Stdout, b"two\n").unwrap();
        let mut reader = Reader::new(&path);
        let mut next = || reader.line().unwrap().map(|l| l.log.into_owned());
        assert_eq!(
            [next(), next(), next()],
            [Some("one\n".into()), Some("two\n".into()), None]
        );
    }

    #[test]
    fn files_have_a_limit() {
        for (files, most) in [(1, 1), (3, 3)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("log");
            let options = LogOptions {
                max_size: Some(1000),
                max_file: files,
                none: false,
            };
            let mut recorder = Recorder::new(&path, options).unwrap();
            for n in 0..100 {
                let line = format!("line {n}\n");
                recorder.add(Stream::Stdout, line.as_bytes()).unwrap();
                if n == 50 {
                    // begun again in the middle of a file
                    recorder = Recorder::new(&path, options).unwrap();
                }
            }
            let mut all = Vec::new();
            for entry in fs::read_dir(dir.path()).unwrap() {
                let meta = entry.unwrap().metadata().unwrap();
                assert!(meta.len() <= 1000);
                all.push(meta.len());
            }
            assert_eq!(all.len(), most);
            let mut reader = Reader::new(&path);
            let mut lines = Vec::new();
            while let Some(line) = reader.line().unwrap() {
                lines.push(line.log.into_owned());
            }
            // the last ones, without a gap
            let wanted: Vec<String> = (100 - lines.len()..100)
                .map(|n| format!("line {n}\n"))
                .collect();
            assert_eq!(lines, wanted);
            assert!(lines.len() > (most - 1) * 10, "{}", lines.len());
        }
    }

    #[test]
    fn options_are_dockers() {
        let parse = |driver, options: &[&str]| {
            let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
            LogOptions::parse(driver, &options)
        };
        assert_eq!(parse(None, &[]).unwrap(), LogOptions::default());
        assert!(parse(Some("none"), &[]).unwrap().none);
        let both = parse(Some("json-file"), &["max-size=10m", "max-file=3"]).unwrap();
        assert_eq!((both.max_size, both.max_file), (Some(10_000_000), 3));
        assert_eq!(parse(None, &["max-size=1k"]).unwrap().max_size, Some(1000));
        for (driver, options) in [
            (Some("syslog"), &[][..]),
            (Some("none"), &["max-size=1k"]),
            (None, &["max-file=3"]),
            (None, &["max-size=1k", "max-file=0"]),
            (None, &["max-size=-1"]),
            (None, &["max-size"]),
            (None, &["compress=true"]),
        ] {
            assert!(parse(driver, options).is_err(), "{driver:?} {options:?}");
        }
    }
}
