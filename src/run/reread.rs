//! Reads what a container wrote, while it is written, over all files that there are of it.

use super::record::{Line, earlier};
use crate::vfs::error::{Context, absent_ok};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file, whatever its name is by now.
type Id = (u64, u64);

/// Reads what was kept, and what is added.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    current: Option<Part>,
    /// Those that come next. As long as there are some, the current one does not grow.
    next: VecDeque<Part>,
}

impl Reader {
    /// From the oldest line that there is.
    pub fn new(path: &Path) -> Reader {
        Reader {
            path: path.to_owned(),
            current: None,
            next: VecDeque::new(),
        }
    }

    /// The next whole line. Nothing at the end, for now.
    pub fn line(&mut self) -> Result<Option<Line<'static>>> {
        loop {
            if let Some(line) = self.read_current()? {
                return Ok(Some(line));
            }
            if self.next.is_empty() {
                self.next = self.newer()?;
                if self.next.is_empty() {
                    return Ok(None);
                }
                // what was added to this one before the next one was begun
                if let Some(line) = self.read_current()? {
                    return Ok(Some(line));
                }
            }
            self.current = self.next.pop_front();
        }
    }

    fn read_current(&mut self) -> Result<Option<Line<'static>>> {
        self.current.as_mut().map_or(Ok(None), Part::line)
    }

    /// The files after the current one, the oldest first.
    fn newer(&self) -> Result<VecDeque<Part>> {
        let current = self.current.as_ref().map(|part| part.id);
        if let (Some(current), Some(newest)) = (current, id_of(&self.path)?)
            && current == newest
        {
            return Ok(VecDeque::new());
        }
        loop {
            let newest = self.newest()?;
            if let Some(found) = self.pass(newest, self.names()?)? {
                return Ok(found);
            }
        }
    }

    /// What has these names, without what was read: the oldest first. Nothing if there is a newer file by now: then
    /// one may have got past the names, or was met later than an older one.
    fn pass(
        &self,
        newest: Option<Part>,
        names: impl Iterator<Item = PathBuf>,
    ) -> Result<Option<VecDeque<Part>>> {
        let current = self.current.as_ref().map(|part| part.id);
        let mut found: VecDeque<Part> = VecDeque::new();
        // each may get the next number meanwhile: from the newest on, none is missed that way
        for path in names {
            let Some(part) = Part::open(&path)? else {
                continue;
            };
            // this one and the older ones were read; one that is gone was older than all
            if current == Some(part.id) {
                break;
            }
            if !found.iter().any(|p| p.id == part.id) {
                found.push_front(part);
            }
        }
        let id = |part: &Option<Part>| part.as_ref().map(|part| part.id);
        Ok((id(&self.newest()?) == id(&newest)).then_some(found))
    }

    /// For a moment none may be there to be written to.
    fn newest(&self) -> Result<Option<Part>> {
        if let Some(part) = Part::open(&self.path)? {
            return Ok(Some(part));
        }
        let mut opened = self.names()?.map(|path| Part::open(&path));
        opened.find_map(Result::transpose).transpose()
    }

    /// The names of the files, the newest first, and the name that the last of them gets next.
    fn names(&self) -> Result<impl Iterator<Item = PathBuf> + use<'_>> {
        let what = || self.path.display().to_string();
        let mut last = 0;
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let listed = absent_ok(fs::read_dir(dir).map_err(Error::from)).context(what)?;
        for entry in listed.into_iter().flatten() {
            let entry = entry.context(what)?.file_name();
            let number = entry
                .to_str()
                .and_then(|e| e.strip_prefix(&*name)?.strip_prefix('.'));
            last = last.max(number.and_then(|n| n.parse::<u32>().ok()).unwrap_or(0));
        }
        let earlier = (1..=last.saturating_add(1)).map(|n| earlier(&self.path, n));
        Ok(std::iter::once(self.path.clone()).chain(earlier))
    }
}

fn id_of(path: &Path) -> Result<Option<Id>> {
    let meta = absent_ok(fs::metadata(path).map_err(Error::from));
    let meta = meta.context(|| path.display().to_string())?;
    Ok(meta.map(|m| (m.dev(), m.ino())))
}

/// One file. It is open, so nobody else gets its number.
#[derive(Debug)]
struct Part {
    file: BufReader<File>,
    id: Id,
    /// Where the first line is that was not read whole.
    at: u64,
}

impl Part {
    /// Nothing if there is none.
    fn open(path: &Path) -> Result<Option<Part>> {
        let what = || path.display().to_string();
        let Some(file) = absent_ok(File::open(path).map_err(Error::from)).context(what)? else {
            return Ok(None);
        };
        let meta = file.metadata().context(what)?;
        Ok(Some(Part {
            file: BufReader::new(file),
            id: (meta.dev(), meta.ino()),
            at: 0,
        }))
    }

    fn line(&mut self) -> Result<Option<Line<'static>>> {
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
    use super::super::record::{LogOptions, Recorder, Stream};
    use super::*;

    fn limited(path: &Path, files: u32) -> Recorder {
        let options = LogOptions {
            max_size: Some(400),
            max_file: files,
            none: false,
        };
        Recorder::new(path, options).unwrap()
    }

    #[test]
    fn who_follows_misses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut recorder = limited(&path, 4);
        let mut reader = Reader::new(&path);
        let mut number = 0;
        let mut seen = 0;
        // lines that fill less than a file, or some
        for step in [1, 3, 7, 12, 2, 18, 1, 1, 15] {
            for _ in 0..step {
                let line = format!("{number}\n");
                recorder.add(Stream::Stdout, line.as_bytes()).unwrap();
                number += 1;
            }
            while let Some(line) = reader.line().unwrap() {
                assert_eq!(line.log, format!("{seen}\n"));
                seen += 1;
            }
            assert_eq!(seen, number);
        }
    }

    #[test]
    fn who_is_too_slow_goes_on_with_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut recorder = limited(&path, 2);
        let mut reader = Reader::new(&path);
        recorder.add(Stream::Stdout, b"first\n").unwrap();
        assert_eq!(reader.line().unwrap().unwrap().log, "first\n");
        for n in 0..100 {
            let line = format!("{n}\n");
            recorder.add(Stream::Stdout, line.as_bytes()).unwrap();
        }
        let mut rest = Vec::new();
        while let Some(line) = reader.line().unwrap() {
            rest.push(line.log.trim().parse::<i32>().unwrap());
        }
        assert_eq!(rest.last(), Some(&99));
        // what is left of its own file, and then the last two: in order
        assert!(rest.is_sorted() && rest.first() == Some(&0), "{rest:?}");
    }

    #[test]
    fn files_that_move_on_more_than_once_are_looked_at_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut recorder = limited(&path, 200);
        let mut begin = |files: u32| {
            let last = |reader: &Reader| reader.names().unwrap().count();
            let reader = Reader::new(&path);
            let before = last(&reader);
            while last(&reader) < before + files as usize {
                recorder.add(Stream::Stdout, b"a line\n").unwrap();
            }
        };
        begin(2);
        let reader = Reader::new(&path);
        let newest = || reader.newest().unwrap();
        let mut times = 0;
        let moving = reader.names().unwrap().inspect(|_| {
            times += 1;
            begin(2);
        });
        // those that were met: the newest, then newer ones
        assert!(reader.pass(newest(), moving).unwrap().is_none());
        assert_eq!(times, 4);
        let found = reader.pass(newest(), reader.names().unwrap()).unwrap();
        let found: Vec<_> = found.unwrap().iter().map(|part| part.id).collect();
        let names = (1..=10).rev().map(|n| earlier(&path, n));
        let all = names.chain([path.clone()]);
        let all: Vec<_> = all.map(|name| id_of(&name).unwrap().unwrap()).collect();
        assert_eq!(found, all);
    }

    #[test]
    fn reading_and_writing_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut reader = Reader::new(&path);
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut recorder = limited(&path, 200);
                for n in 0..600 {
                    let line = format!("{n}\n");
                    recorder.add(Stream::Stdout, line.as_bytes()).unwrap();
                }
            }
        });
        let mut seen = 0;
        while seen < 600 {
            let ended = writer.is_finished();
            while let Some(line) = reader.line().unwrap() {
                assert_eq!(line.log, format!("{seen}\n"));
                seen += 1;
            }
            assert!(!ended || seen == 600, "{seen}");
        }
        writer.join().unwrap();
    }
}
