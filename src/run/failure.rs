//! Failures of a run, with docker's exit codes.

use crate::vfs::Error;
use std::fmt;

/// Exit code where the container could not be made, or Vellum itself failed.
pub const FAILED: u8 = 125;
/// Exit code where the command is there and cannot be run.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit code where the command is not there.
pub const NOT_FOUND: u8 = 127;

/// Exit code of what was killed.
pub const KILLED: u8 = 137;

/// What went wrong, and the exit code that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code of the command.
    pub code: u8,
    /// The reason.
    pub error: Error,
    /// The runtime has told the user already.
    pub told: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure {
            code: FAILED,
            error,
            told: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {}

/// The exit code for what a runtime says of a command that it could not start. Runtimes have no
/// code of their own for it; these are the words of runc, crun and youki.
pub fn code_of(said: &str) -> u8 {
    let said = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    // what is said of a mount or of the root file system is no matter of the command
    if !has(&["exec", "executable", "stat ", "open executable"]) || has(&["mounting", "rootfs"]) {
        return FAILED;
    }
    if has(&["not found", "no such file or directory"]) {
        return NOT_FOUND;
    }
    if has(&[
        "permission denied",
        "is a directory",
        "exec format error",
        "not have correct permissions",
    ]) {
        return NOT_EXECUTABLE;
    }
    FAILED
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_dockers() {
        for (said, code) in [
            (
                "runc run failed: unable to start container process: exec: \"nope\": executable file not found in $PATH",
                NOT_FOUND,
            ),
            (
                "runc run failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
                NOT_FOUND,
            ),
            (
                "executable file `nope` not found in $PATH: No such file or directory",
                NOT_FOUND,
            ),
            (
                "runc run failed: unable to start container process: exec: \"/etc/passwd\": permission denied",
                NOT_EXECUTABLE,
            ),
            ("open executable: Permission denied", NOT_EXECUTABLE),
            ("exec: \"/bin\": is a directory", NOT_EXECUTABLE),
            ("exec /x: exec format error", NOT_EXECUTABLE),
            (
                "error mounting \"/nope\" to rootfs at \"/x\": stat /nope: no such file or directory",
                FAILED,
            ),
            ("cgroups in hybrid mode not supported", FAILED),
            (
                "error in executing command: failed to create container: executable 'nope' not found in $PATH",
                NOT_FOUND,
            ),
            (
                "executable '/etc' at path '\"/etc\"' does not have correct permissions",
                NOT_EXECUTABLE,
            ),
        ] {
            assert_eq!(code_of(said), code, "{said}");
        }
    }
}
