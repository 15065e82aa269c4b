//! Errors: an errno for the kernel, and for people the operation, the path and the cause.

use nix::errno::Errno;
use std::fmt;

/// What every fallible operation here returns.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation.
///
/// `errno` is what a program in the mount gets to see. `context`, outermost last, is for
/// the log and for the command line: operation, path, layer.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    errno: Errno,
    context: Option<Box<str>>,
}

impl Error {
    /// An error with nothing to say beyond its errno.
    pub const fn new(errno: Errno) -> Error {
        Error {
            errno,
            context: None,
        }
    }

    /// An error with a sentence for people.
    pub fn because(errno: Errno, why: impl fmt::Display) -> Error {
        Error::new(errno).context(why)
    }

    /// An error as another process told it: `reason` is what its [`Error::reason`] gave.
    pub fn told(errno: Errno, reason: &str) -> Error {
        Error {
            errno,
            context: (!reason.is_empty()).then(|| reason.into()),
        }
    }

    /// What was going on, without the errno; empty if nobody said.
    pub fn reason(&self) -> &str {
        self.context.as_deref().unwrap_or_default()
    }

    /// The errno.
    pub const fn errno(&self) -> Errno {
        self.errno
    }

    /// Says in which operation, on which path, the error came up.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Error {
        let context = match self.context {
            Some(inner) => format!("{what}: {inner}"),
            None => what.to_string(),
        };
        Error {
            errno: self.errno,
            context: Some(context.into_boxed_str()),
        }
    }

    /// True when the error is `errno`.
    pub fn is(&self, errno: Errno) -> bool {
        self.errno == errno
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        Error::new(errno)
    }
}

impl From<std::io::Error> for Error {
    /// Keeps the errno; an error without one (a short read, invalid data) is an I/O error.
    fn from(e: std::io::Error) -> Error {
        match e.raw_os_error() {
            Some(n) => Error::new(Errno::from_raw(n)),
            None => Error::because(Errno::EIO, e),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.context {
            Some(context) => write!(f, "{context}: {}", self.errno.desc()),
            None => f.write_str(self.errno.desc()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({self})", self.errno)
    }
}

impl std::error::Error for Error {}

/// Adds context to the error of a `Result`.
pub trait Context<T> {
    /// Says in which operation, on which path, the error came up.
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, what: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().context(what()))
    }
}

/// `Ok(None)` for ENOENT: absence is an answer, any other failure is not.
pub fn absent_ok<T>(r: Result<T>) -> Result<Option<T>> {
    match r {
        Ok(v) => Ok(Some(v)),
        Err(e) if e.is(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(e: rustix::io::Errno) -> Error {
        Error::new(Errno::from_raw(e.raw_os_error()))
    }
}
