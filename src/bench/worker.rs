//! A process of its own that does a part of an operation: where many processes are what is measured, and
//! where a fault would end the process, as a mapped file does that cannot be read.
//!
//! It is told its job as a line of JSON, makes ready, says so, waits for a second line, works, and answers
//! with a line of JSON.

use super::failure::{Failure, Result, Step, go_on};
use super::latency::{Latency, Watch};
use super::manifest;
use super::ops::pass::{self, Done, PAGE, fold};
use super::rng::Rng;
use crate::sys::map::Map;
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

/// What to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Job {
    /// Open, read whole and close files, after a pass that is not timed.
    Read {
        /// The mount.
        root: PathBuf,
        /// A file with the names, a NUL after each.
        names: PathBuf,
    },
    /// Read a file through memory, so many times, each in a mapping of its own.
    Map {
        /// The file.
        file: PathBuf,
        /// So many pages at random; without it, all in order.
        random: Option<Random>,
        /// How often.
        passes: usize,
    },
}

/// Pages at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random {
    /// How many.
    pub pages: usize,
    /// Which.
    pub seed: u64,
}

impl Random {
    /// Where they begin, in a file of so many bytes.
    pub fn places(&self, size: u64) -> Vec<u64> {
        let mut rng = Rng::new(self.seed, "random pages");
        let of = usize::try_from(size / PAGE as u64).unwrap_or(usize::MAX);
        (0..self.pages)
            .map(|_| (rng.below(of.max(1)) * PAGE) as u64)
            .collect()
    }
}

/// What one pass gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What was done.
    pub done: Done,
    /// How long it took.
    pub seconds: f64,
    /// How long single calls took.
    pub latency: Option<Latency>,
}

/// What the process writes when it is ready.
const READY: &str = "ready";

/// The process: reads its job from standard input, and answers on standard output.
pub fn serve() -> Result<()> {
    let mut lines = std::io::stdin().lines();
    let mut line = || match lines.next() {
        Some(line) => Ok(line?),
        None => Err(Failure::new("no job")),
    };
    let job: Job = serde_json::from_str(&line()?).map_err(Failure::new)?;
    let answer = run(&job, &mut || {
        println!("{READY}");
        line().map(drop)
    })?;
    println!("{}", serde_json::to_string(&answer).map_err(Failure::new)?);
    Ok(())
}

fn run(job: &Job, ready: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Answer>> {
    match job {
        Job::Read { root, names } => {
            let fd = manifest::open(root)?;
            let names = read_names(names)?;
            let off = &mut Watch::off();
            let first = pass::read_files(fd.as_fd(), &names, off)?;
            ready()?;
            let start = Instant::now();
            let done = pass::read_files(fd.as_fd(), &names, off)?;
            let seconds = start.elapsed().as_secs_f64();
            if done != first {
                return Err(Failure::new("two passes saw different things"));
            }
            Ok(vec![Answer {
                done,
                seconds,
                latency: None,
            }])
        }
        Job::Map {
            file,
            random,
            passes,
        } => {
            ready()?;
            (0..*passes).map(|_| map(file, *random)).collect()
        }
    }
}

/// Maps a file and touches its pages.
fn map(path: &Path, random: Option<Random>) -> Result<Answer> {
    let start = Instant::now();
    let file = File::open(path).at("open", path)?;
    let map = Map::of(&file).at("map", path)?;
    let bytes = map.bytes();
    let Some(random) = random else {
        let done = Done {
            count: bytes.len(),
            check: fold(0, bytes).wrapping_add(bytes.len() as u64),
        };
        let seconds = start.elapsed().as_secs_f64();
        return Ok(Answer {
            done,
            seconds,
            latency: None,
        });
    };
    let places = random.places(bytes.len() as u64);
    let mut watch = Watch::on(places.len());
    let mut done = Done::default();
    let start = Instant::now();
    for at in places {
        let at = usize::try_from(at).map_err(Failure::new)?;
        let page = &bytes[at..bytes.len().min(at + PAGE)];
        done.check = watch.time(|| fold(done.check, page));
        done.count += 1;
    }
    Ok(Answer {
        done,
        seconds: start.elapsed().as_secs_f64(),
        latency: watch.latency(),
    })
}

/// Writes names down for [`Job::Read`].
pub fn write_names(names: &[CString], to: &Path) -> Result<()> {
    let all: Vec<&[u8]> = names.iter().map(|n| n.to_bytes_with_nul()).collect();
    fs::write(to, all.concat()).at("write", to)
}

fn read_names(from: &Path) -> Result<Vec<CString>> {
    let all = fs::read(from).at("read", from)?;
    let names = all.split_inclusive(|b| *b == 0);
    names
        .map(|n| CString::from_vec_with_nul(n.to_vec()).map_err(Failure::new))
        .collect()
}

/// A process with a job. Dropping it ends it.
pub struct Worker {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one and waits until it is ready. `vellum` is the program, which is a worker too.
    pub fn start(vellum: &Path, job: &Job) -> Result<Worker> {
        let mut child = Command::new(vellum)
            .args(["bench", "worker"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // ctrl-C is for us
            .spawn()
            .at("start", vellum)?;
        let Some(out) = child.stdout.take() else {
            return Err(Failure::new("a worker without an output"));
        };
        let mut worker = Worker {
            child,
            answers: BufReader::new(out),
        };
        let job = serde_json::to_string(job).map_err(Failure::new)?;
        worker.say(&job)?;
        match worker.line()?.trim_end() {
            READY => Ok(worker),
            other => Err(Failure::new(format!("a worker said {other:?}"))),
        }
    }

    /// Lets it work. It does not wait for the end.
    pub fn go(&mut self) -> Result<()> {
        self.say("go")
    }

    /// What it found.
    pub fn answer(mut self) -> Result<Vec<Answer>> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(Failure::new)
    }

    fn say(&mut self, text: &str) -> Result<()> {
        let said = match &mut self.child.stdin {
            Some(to) => writeln!(to, "{text}"),
            None => Ok(()),
        };
        said.step("tell a worker its job")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).step("hear a worker")?;
        if !line.is_empty() {
            return Ok(line);
        }
        go_on()?;
        let status = self.child.wait()?;
        let mut text = String::new();
        if let Some(err) = &mut self.child.stderr {
            std::io::Read::read_to_string(err, &mut text)?;
        }
        let text = text.trim();
        Err(Failure::new(format!(
            "a worker ended with {status}: {text}"
        )))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // it may be over already
        if self.child.kill().is_err() {
            log::debug!("a worker is over");
        }
        if let Err(e) = self.child.wait() {
            log::debug!("reap a worker: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::scratch::Scratch;

    #[test]
    fn reading_and_mapping_see_the_same() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let file = scratch.path().join("file");
        let data: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        fs::write(&file, &data).unwrap();
        let ready = &mut || Ok(());
        let job = |random| Job::Map {
            file: file.clone(),
            random,
            passes: 2,
        };
        let whole = run(&job(None), ready).unwrap();
        let fd = pass::open(manifest::open(scratch.path()).unwrap().as_fd(), c"file").unwrap();
        let read = pass::read_all(&fd, &mut vec![0; 8192]).unwrap();
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[0].done.check, whole[1].done.check), (read, read));
        let random = Random { pages: 9, seed: 4 };
        let some = run(&job(Some(random)), ready).unwrap();
        assert_eq!(some[0].done.count, 9);
        assert_eq!(some[0].done, some[1].done);
        assert!(some[0].latency.is_some());
    }

    #[test]
    fn names_of_any_bytes_are_handed_on() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let names = vec![c"a".to_owned(), CString::new(b"\xff/ \n").unwrap()];
        let at = scratch.path().join("names");
        write_names(&names, &at).unwrap();
        assert_eq!(read_names(&at).unwrap(), names);
    }
}
