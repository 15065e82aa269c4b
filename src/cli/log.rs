//! The log: lines on stderr, for as long as that is open. A command has warnings there, a process that serves a
//! mount what it has to say.

use log::{LevelFilter, Log, Metadata, Record};
use std::io::Write;
use std::sync::OnceLock;

static LOGGER: OnceLock<Stderr> = OnceLock::new();

struct Stderr {
    program: &'static str,
}

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            let line = format!("{}: {level}: {}\n", self.program, record.args());
            // best effort: nobody could be told that stderr is gone
            std::io::stderr().write_all(line.as_bytes()).ok();
        }
    }

    fn flush(&self) {}
}

/// Sends the log to stderr: warnings and errors, or with `debug` everything.
pub fn init(program: &'static str, debug: bool) {
    let level = if debug {
        LevelFilter::Trace
    } else {
        LevelFilter::Warn
    };
    // a command that mounts says anew how much it wants; the logger is there by then
    log::set_logger(LOGGER.get_or_init(|| Stderr { program })).ok();
    log::set_max_level(level);
}
