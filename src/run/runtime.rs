//! The OCI runtime: which one, and what is asked of it.
//!
//! It is told to keep its own state in the container's folder, so that whatever becomes of it,
//! nothing is left anywhere else; and to write what fails to a file, since its standard error is the
//! container's.

use super::cgroup;
use super::failure::{Failure, code_of};
use super::folder::Folder;
use crate::sys::process::{spawn, unblock_signals};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{AccessFlags, Pid, access};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Runtimes that are known to do, the fastest first.
const KNOWN: &[&str] = &["crun", "runc", "youki"];

/// Where they are, beside the places of `PATH`: that of a user often has no `sbin`.
const PLACES: &[&str] = &[
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// A runtime, for one container.
#[derive(Clone, Debug)]
pub struct Runtime {
    program: PathBuf,
    folder: Folder,
}

/// Finds a program by its name, or takes a path.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(runs);
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&paths).chain(PLACES.iter().map(PathBuf::from));
    dirs.map(|dir| dir.join(name)).find(runs)
}

/// The order in which runtimes are looked for. `crun` refuses to work where some controllers are
/// of cgroup v2 and others of v1, so there it comes last.
fn order(mixed: bool) -> Vec<&'static str> {
    let mut names = KNOWN.to_vec();
    if mixed {
        names.sort_by_key(|name| *name == "crun");
    }
    names
}

/// Finds the runtime that is asked for, or one that is there.
fn find(asked: Option<&str>) -> Result<PathBuf> {
    let missing = |why: String| Error::because(Errno::ENOENT, why);
    match asked {
        Some(name) => find_program(name).ok_or_else(|| missing(format!("no runtime {name:?}"))),
        None => order(cgroup::is_mixed())
            .into_iter()
            .find_map(find_program)
            .ok_or_else(|| {
                missing(format!(
                    "no OCI runtime: install one of {}",
                    KNOWN.join(", ")
                ))
            }),
    }
}

/// Standard streams of a container.
pub struct Streams {
    /// Standard input.
    pub stdin: OwnedFd,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// What a stream is that nobody reads or writes.
pub fn nothing() -> Result<OwnedFd> {
    let null = fs::File::options().read(true).write(true).open("/dev/null");
    Ok(null.context(|| "/dev/null")?.into())
}

impl Runtime {
    /// The runtime for a container: the one asked for, or one that is there.
    pub fn new(asked: Option<&str>, folder: &Folder) -> Result<Runtime> {
        Ok(Runtime {
            program: find(asked)?,
            folder: folder.clone(),
        })
    }

    fn name(&self) -> String {
        self.program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    /// What every call of it begins with.
    fn options(&self, log: &Path) -> Vec<OsString> {
        let root = self.folder.path("runtime");
        let words: [&OsStr; 6] = [
            "--root".as_ref(),
            root.as_ref(),
            "--log".as_ref(),
            log.as_ref(),
            "--log-format".as_ref(),
            "json".as_ref(),
        ];
        words.map(OsStr::to_owned).into()
    }

    fn command(&self, log: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.options(log));
        unblock_signals(&mut command);
        command
    }

    /// Makes the container and starts it. Its first process, which becomes a child of this one if
    /// this one is a subreaper.
    pub fn run(
        &self,
        id: &str,
        console: Option<&Path>,
        streams: Streams,
    ) -> std::result::Result<Pid, Failure> {
        let (log, pid) = (self.folder.path("runtime.log"), self.folder.path("pid"));
        for stale in [&log, &pid] {
            fs::remove_file(stale).ok();
        }
        let mut args = self.options(&log);
        args.extend(["run", "--detach", "--bundle"].map(OsString::from));
        args.push(self.folder.path("bundle").into());
        args.extend(["--pid-file".into(), pid.clone().into()]);
        if let Some(socket) = console {
            args.extend(["--console-socket".into(), socket.into()]);
        }
        args.push(id.into());
        let status = self.finished(&args, streams);
        let status = status.context(|| format!("runtime {}", self.program.display()))?;
        if !status.success() {
            return Err(self.failure(&log, status));
        }
        let text = fs::read_to_string(&pid).context(|| pid.display().to_string())?;
        let number = text
            .trim()
            .parse()
            .map_err(|_| Error::because(Errno::EBADMSG, format!("{}: {text:?}", pid.display())))?;
        Ok(Pid::from_raw(number))
    }

    /// Runs it until it ends. What was handed over stays open in nobody but the container.
    fn finished(&self, args: &[OsString], streams: Streams) -> Result<ExitStatus> {
        let Streams {
            stdin,
            stdout,
            stderr,
        } = streams;
        let child = spawn(
            &self.program,
            args,
            [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        )?;
        drop((stdin, stdout, stderr));
        loop {
            match waitpid(child, None) {
                Err(Errno::EINTR) => {}
                Ok(WaitStatus::Exited(_, code)) => return Ok(ExitStatus::from_raw(code << 8)),
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    return Ok(ExitStatus::from_raw(signal as i32));
                }
                Ok(_) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// The command that runs a process in the container, with the streams of this process, in the foreground
    /// unless it is to go on by itself; and the file in which it says what failed.
    pub fn exec(&self, id: &str, process: &Path, log: &Path, detach: bool) -> Command {
        let mut command = self.command(log);
        command.args(["exec", "--process"]).arg(process);
        if detach {
            command.arg("--detach");
        }
        command.arg(id);
        command
    }

    /// True if it also says to its standard error what fails. What a container writes comes there, too.
    pub fn tells(&self) -> bool {
        !self.name().starts_with("youki")
    }

    /// What a runtime that failed said.
    pub fn failure(&self, log: &Path, status: ExitStatus) -> Failure {
        let said = said_in(&fs::read_to_string(log).unwrap_or_default());
        let why = match said {
            Some(said) => said,
            None => format!("failed ({status})"),
        };
        let code = code_of(&why);
        let errno = match code {
            super::failure::NOT_FOUND => Errno::ENOENT,
            super::failure::NOT_EXECUTABLE => Errno::EACCES,
            _ => Errno::EINVAL,
        };
        Failure {
            code,
            error: Error::because(errno, format!("{}: {why}", self.name())),
            told: false,
        }
    }

    /// Ends and removes what there is of a container, as far as the runtime knows it. Best effort:
    /// what it did not do is done by the caller's own means.
    pub fn delete(&self, id: &str) {
        if !self.folder.path("runtime").join(id).exists() {
            return;
        }
        let log = self.folder.path("runtime.log");
        let done = self
            .command(&log)
            .args(["delete", "--force", id])
            .stdin(Stdio::null())
            .output();
        match done {
            Ok(output) if output.status.success() => {}
            Ok(output) => log::debug!("{}", self.failure(&log, output.status)),
            Err(e) => log::debug!("{}: {e}", self.program.display()),
        }
    }
}

/// The last error in a log, if there is one.
pub fn said_in(log: &str) -> Option<String> {
    let line = |line: &str| -> Option<String> {
        let value: Value = serde_json::from_str(line).ok()?;
        let level = value
            .get("level")
            .and_then(Value::as_str)
            .unwrap_or("error");
        let serious = ["error", "fatal", "panic"].contains(&level.to_lowercase().as_str());
        // youki's are those without 'msg': old ones below 'fields'
        let said = value
            .get("msg")
            .or_else(|| value.get("message"))
            .or_else(|| value.get("fields")?.get("message"));
        let said = said.and_then(Value::as_str).filter(|_| serious)?;
        let end = said.find("\n\nStack backtrace").unwrap_or(said.len());
        said.get(..end).map(str::to_owned)
    };
    log.lines().filter_map(line).next_back()
}

/// The init process of the host that a container may be given. The first two are linked statically,
/// and so run in any image.
pub fn find_init() -> Result<PathBuf> {
    const NAMES: &[&str] = &[
        "catatonit",
        "docker-init",
        "tini-static",
        "/usr/libexec/podman/catatonit",
        "/usr/lib/podman/catatonit",
    ];
    NAMES
        .iter()
        .find_map(|name| find_program(name))
        .ok_or_else(|| {
            let why = "--init: no init program: install catatonit, docker-init or tini-static";
            Error::because(Errno::ENOENT, why)
        })
}

/// Arguments that a process is to get, as text: the runtime takes no other.
pub fn text(arg: OsString) -> Result<String> {
    arg.into_string()
        .map_err(|arg| Error::because(Errno::EILSEQ, format!("{arg:?} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crun_comes_last_where_it_would_fail() {
        assert_eq!(order(false), ["crun", "runc", "youki"]);
        assert_eq!(order(true), ["runc", "youki", "crun"]);
        assert!(find_program("sh").is_some() && find_program("no-such-program").is_none());
        assert!(find(Some("/no/runtime")).unwrap_err().is(Errno::ENOENT));
    }

    #[test]
    fn what_a_log_says() {
        let log = "{\"level\":\"warning\",\"msg\":\"w\"}\nnothing\n\
            {\"level\":\"error\",\"msg\":\"runc run failed: x\",\"time\":\"t\"}\n{\"level\":\"info\",\"msg\":\"i\"}\n";
        assert_eq!(said_in(log).unwrap(), "runc run failed: x");
        let youki = "{\"timestamp\":\"t\",\"level\":\"ERROR\",\"fields\":{\"message\":\"y\"}}";
        assert_eq!(said_in(youki).unwrap(), "y");
        let youki = "{\"timestamp\":\"t\",\"level\":\"ERROR\",\"message\":\"y\\n\\nStack backtrace:\\n  0: <unknown>\"}";
        assert_eq!(said_in(youki).unwrap(), "y");
        assert_eq!(said_in("{\"level\":\"debug\",\"msg\":\"d\"}"), None);
    }
}
