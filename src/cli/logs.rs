//! `vellum logs`.

use super::store::{StoreArgs, finish};
use crate::image::container::Container;
use crate::run::{Folder, Line, Reader, Stream};
use crate::vfs::Result;
use crate::vfs::error::Context;
use clap::Args;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// How often a log that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Show what a container wrote
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  vellum logs web
  vellum logs -f -n 20 web

What the container wrote to its standard error goes to standard error.")]
pub struct Logs {
    #[command(flatten)]
    store: StoreArgs,

    /// Go on until the container ends
    #[arg(short, long)]
    follow: bool,

    /// Only the last lines
    #[arg(short = 'n', long, value_name = "NUMBER")]
    tail: Option<usize>,

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
        // the store is not kept open meanwhile: nobody could remove anything from it
        let container = self.store.open()?.container(&self.name)?;
        match self.lines(&container) {
            // who reads has enough
            Err(e) if e.is(nix::errno::Errno::EPIPE) => Ok(ExitCode::SUCCESS),
            other => other.map(|()| ExitCode::SUCCESS),
        }
    }

    fn lines(&self, container: &Container) -> Result<()> {
        let folder = Folder::of(container);
        let mut reader = None;
        let mut last = VecDeque::new();
        let mut first = true;
        loop {
            // asked before the log is read: what is written until the end is then read
            let goes_on = self.follow && folder.is_held()?;
            if reader.is_none() {
                reader = Reader::open(&folder.path("log"))?;
            }
            while let Some(line) = reader.as_mut().map_or(Ok(None), Reader::line)? {
                match self.tail.filter(|_| first) {
                    Some(most) => {
                        last.push_back(line);
                        if last.len() > most {
                            last.pop_front();
                        }
                    }
                    None => self.print(&line)?,
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
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Err(nix::errno::Errno::EPIPE.into()),
            other => other.context(|| "standard output"),
        }
    }
}
