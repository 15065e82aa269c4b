//! Variables of the environment, as `run` and `exec` take them.

use crate::run;
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::path::PathBuf;

/// Variables of files, and then those of the command line. One without a value is this process's own,
/// or left out if that has none.
pub fn environment(files: &[PathBuf], given: &[String]) -> Result<Vec<String>> {
    let mut env = Vec::new();
    for path in files {
        let what = || format!("--env-file {}", path.display());
        let text = std::fs::read_to_string(path).context(what)?;
        let lines = text.lines().map(str::trim_start);
        for line in lines.filter(|l| !l.is_empty() && !l.starts_with('#')) {
            env.extend(variable(line).context(what)?);
        }
    }
    for text in given {
        env.extend(variable(text)?);
    }
    Ok(env)
}

fn variable(text: &str) -> Result<Option<String>> {
    let name = text.split('=').next().unwrap_or_default();
    if name.is_empty() || name.contains(char::is_whitespace) || text.contains('\0') {
        let why = format!("{text:?} is no variable: NAME=VALUE is expected");
        return Err(Error::because(Errno::EINVAL, why));
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    match std::env::var_os(text) {
        Some(value) => Ok(Some(format!("{text}={}", run::text(value)?))),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_come_from_files_and_from_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("env");
        std::fs::write(&file, "# c\nA=1\n\n  B=x y\nPATH\nNO_SUCH_VARIABLE_HERE\n").unwrap();
        let env = environment(std::slice::from_ref(&file), &["B=2".into(), "C=".into()]).unwrap();
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        assert_eq!(env, ["A=1", "B=x y", &path, "B=2", "C="]);
        std::fs::write(&file, "A B=1\n").unwrap();
        assert!(environment(&[file], &[]).is_err());
        assert!(environment(&[], &["=x".into()]).is_err());
    }
}
