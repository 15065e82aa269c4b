//! `vellum logs`.

use super::moment;
use super::store::{StoreArgs, finish};
use crate::image::container::Container;
use crate::run::{Folder, Line, Reader, Stream};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use clap::Args;
use jiff::Timestamp;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// How often a log that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// How many of the last lines.
#[derive(Clone, Copy, Debug)]
enum Tail {
    All,
    Lines(usize),
}

impl std::str::FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Tail, String> {
        match text {
            "all" => Ok(Tail::All),
            number => number
                .parse()
                .map(Tail::Lines)
                .map_err(|_| "a number or 'all' is expected".to_owned()),
        }
    }
}

/// When what is meant was written.
struct Span {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Span {
    fn has(&self, line: &Line<'_>) -> Result<bool> {
        if self.since.is_none() && self.until.is_none() {
            return Ok(true);
        }
        let time: Timestamp = line.time.parse().map_err(|_| {
            Error::because(Errno::EBADMSG, format!("log: {:?} is no time", line.time))
        })?;
        Ok(self.since.is_none_or(|s| time >= s) && self.until.is_none_or(|u| time <= u))
    }

    /// Nothing more can come.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Timestamp::now() > until)
    }
}

/// Show what a container wrote
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum logs web
  vellum logs -f -n 20 web
  vellum logs -t --since 10m web

What the container wrote to its standard error goes to standard error.")]
pub struct Logs {
    #[command(flatten)]
    store: StoreArgs,

    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,

    /// Only the last lines
    #[arg(short = 'n', long, value_name = "NUMBER")]
    tail: Option<Tail>,

    /// Only what was written since then: a time, as in 2026-01-02T15:04:05Z, or how long ago, as in 1h30m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only what was written until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Say when each line was written
    #[arg(short, long)]
    timestamps: bool,

    /// Name of the container
    #[arg(value_name = "NAME")]
    name: String,
}

impl Logs {
    /// Shows them.
    pub fn run(self) -> ExitCode {
        finish("logs", self.show())
    }

    fn show(&self) -> Result<ExitCode> {
        let now = Timestamp::now();
        let moment = |option: &str, text: &Option<String>| {
            let parse = |text: &String| moment::parse(option, text, now);
            text.as_ref().map(parse).transpose()
        };
        let span = Span {
            since: moment("--since", &self.since)?,
            until: moment("--until", &self.until)?,
        };
        // the store is not kept open meanwhile: nobody could remove anything from it
        let container = self.store.open()?.container(&self.name)?;
        let config = Folder::of(&container).config()?;
        if config.is_some_and(|c| c.log.none) {
            let why = format!(
                "container {:?} has --log-driver none: nothing is kept",
                self.name
            );
            return Err(Error::because(Errno::EOPNOTSUPP, why));
        }
        match self.lines(&container, &span) {
            // who reads has enough
            Err(e) if e.is(Errno::EPIPE) => Ok(ExitCode::SUCCESS),
            other => other.map(|()| ExitCode::SUCCESS),
        }
    }

    fn lines(&self, container: &Container, span: &Span) -> Result<()> {
        let folder = Folder::of(container);
        let mut reader = Reader::new(&folder.path("log"));
        let mut last = VecDeque::new();
        let mut first = true;
        loop {
            // asked before the log is read: what is written until the end is then read
            let goes_on = self.follow && folder.is_held()? && !span.is_over();
            while let Some(line) = reader.line()? {
                if !span.has(&line)? {
                    continue;
                }
                match self.tail.filter(|_| first) {
                    Some(Tail::Lines(most)) => {
                        last.push_back(line);
                        if last.len() > most {
                            last.pop_front();
                        }
                    }
                    Some(Tail::All) | None => self.print(&line)?,
                }
            }
            for line in last.drain(..) {
                self.print(&line)?;
            }
            first = false;
            if !goes_on {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn print(&self, line: &Line<'_>) -> Result<()> {
        let text = match self.timestamps {
            true => format!("{} {}", line.time, line.log),
            false => line.log.clone().into_owned(),
        };
        let mut to: Box<dyn Write> = match line.stream {
            Stream::Stdout => Box::new(stdout()),
            Stream::Stderr => Box::new(stderr()),
        };
        let written = to.write_all(text.as_bytes()).and_then(|()| to.flush());
        match written {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(Errno::EPIPE.into()),
            other => other.context(|| "standard output"),
        }
    }
}
