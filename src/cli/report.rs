//! How a failure is told.

use crate::vfs::Error;
use std::path::Path;
use std::process::ExitCode;

/// `vellum: mount /mnt: lower layer /x: No such file or directory (ENOENT)`, and exit code 1.
pub fn failed(program: &str, what: &str, path: &Path, error: &Error) -> ExitCode {
    eprintln!("{}", line(program, what, path, error));
    ExitCode::FAILURE
}

fn line(program: &str, what: &str, path: &Path, error: &Error) -> String {
    format!(
        "{program}: {what} {}: {error} ({:?})",
        path.display(),
        error.errno()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::errno::Errno;

    #[test]
    fn a_failure_names_operation_path_cause_and_errno() {
        let e = Error::because(Errno::ENOENT, "lower layer /x");
        assert_eq!(
            line("vellum", "mount", Path::new("/mnt"), &e),
            "vellum: mount /mnt: lower layer /x: No such file or directory (ENOENT)"
        );
    }
}
