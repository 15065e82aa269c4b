//! The drop-in form: the command line of fuse-overlayfs and of mount(8)'s helpers.
//!
//! `PROGRAM -o OPTIONS MOUNTPOINT`, as podman, buildah and dockerd call it, and
//! `PROGRAM SOURCE MOUNTPOINT -o OPTIONS`, as mount.fuse3 does for containerd and for fstab.
//! Parsing does no I/O.

use super::options::{self, Draft, Request};
use super::serve;
use nix::mount::MsFlags;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

/// The name it goes by in messages.
pub const NAME: &str = "vellum-overlayfs";

const USAGE: &str = "\
Usage: vellum-overlayfs [-f] [-d] [-s] -o OPTION[,OPTION...] MOUNTPOINT
       vellum-overlayfs SOURCE MOUNTPOINT -o OPTION[,OPTION...]
       vellum-overlayfs [SOURCE] MOUNTPOINT -o remount,FLAG[,FLAG...]

Stacks directories like fuse-overlayfs; for podman, buildah, containerd and fstab.

  -o OPTIONS     lowerdir=A:B,upperdir=U,workdir=W and what is listed below; may be repeated
  -f             stay in the foreground
  -d             log each request, in the foreground
  -s             answer requests with one thread
  -V, --version  print the version
  -h, --help     print this help
";

/// What a command line asks for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// A mount.
    Mount(Box<Request>),
    /// All checks of the command line, and no mount: mount(8)'s `--fake`.
    Fake(Box<Request>),
    /// Other flags for a mount that is there.
    Remount(Remount),
    /// The version.
    Version,
    /// The help.
    Help,
}

/// A change of a mount's flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remount {
    /// The mount.
    pub mountpoint: PathBuf,
    /// Flags to switch on.
    pub set: MsFlags,
    /// Flags to switch off.
    pub clear: MsFlags,
    /// mount(8)'s `--fake`: nothing is done.
    pub fake: bool,
    /// What people should know about the options.
    pub warnings: Vec<String>,
}

/// True for a command line as mount.fuse3 gives it to the program that the mount table names:
/// `vellum SOURCE MOUNTPOINT -o OPTIONS`. `args` are without the program's name.
pub fn is_from_mount(args: &[OsString]) -> bool {
    let plain = |arg: &OsString| !arg.as_bytes().starts_with(b"-") && !arg.is_empty();
    match args {
        [source, mountpoint, options] => {
            plain(source) && plain(mountpoint) && options.as_bytes().starts_with(b"-o")
        }
        [source, mountpoint, o, _] => plain(source) && plain(mountpoint) && o == "-o",
        _ => false,
    }
}

/// True for a program name that asks for the drop-in form.
pub fn is_name(program: &OsStr) -> bool {
    let name = program.as_bytes().rsplit(|b| *b == b'/').next();
    let name = name.unwrap_or_default();
    name.ends_with(b"overlayfs") || is_helper(program)
}

/// True for the name of a helper of mount(8), whose single letters mean other things.
fn is_helper(program: &OsStr) -> bool {
    let name = program.as_bytes().rsplit(|b| *b == b'/').next();
    name.unwrap_or_default().starts_with(b"mount.")
}

/// Reads a command line, without the program's name.
pub fn parse(
    program: &OsStr,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Invocation, String> {
    let mut line = Line::new(is_helper(program));
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        if line.read(arg, &mut args)? {
            break;
        }
    }
    line.positional.extend(args);
    line.finish()
}

/// What is read so far.
struct Line {
    draft: Draft,
    /// What stood after each `-o`.
    options: Vec<OsString>,
    positional: Vec<OsString>,
    helper: bool,
    fake: bool,
    info: Option<Invocation>,
}

impl Line {
    fn new(helper: bool) -> Line {
        let mut draft = Draft::default();
        // what fuse-overlayfs mounts with
        draft.mount.flags = MsFlags::MS_NODEV | MsFlags::MS_NOATIME;
        // containers run programs and install files: each close would have the next stat ask for the file's blocks
        draft.mount.writeback = false;
        Line {
            draft,
            options: Vec::new(),
            positional: Vec::new(),
            helper,
            fake: false,
            info: None,
        }
    }

    /// Reads one argument. True: only positional ones follow.
    fn read(
        &mut self,
        arg: OsString,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<bool, String> {
        match arg.as_bytes() {
            b"--" => return Ok(true),
            b"--version" => self.info = Some(Invocation::Version),
            b"--help" => self.info = Some(Invocation::Help),
            b"--debug" => self.draft.mount.debug = true,
            [b'-', b'-', ..] => return Err(format!("unknown option {}", arg.display())),
            [b'-', letters @ ..] if !letters.is_empty() => self.letters(letters, rest)?,
            _ => self.positional.push(arg),
        }
        Ok(false)
    }

    /// Reads single letters, as in `-fd` and `-oro`.
    fn letters(
        &mut self,
        letters: &[u8],
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        for (at, letter) in letters.iter().enumerate() {
            let takes_value = *letter == b'o' || self.helper && matches!(letter, b't' | b'N');
            if takes_value {
                let value = match &letters[at + 1..] {
                    [] => rest
                        .next()
                        .ok_or_else(|| format!("-{} needs a value", char::from(*letter)))?,
                    inline => OsString::from_vec(inline.to_vec()),
                };
                return match letter {
                    b'o' => {
                        self.options.push(value);
                        Ok(())
                    }
                    b't' => Ok(()), // the type mount(8) was asked for: this one
                    _ => Err("-N: other mount namespaces are not supported; use nsenter".into()),
                };
            }
            self.letter(*letter)?;
        }
        Ok(())
    }

    fn letter(&mut self, letter: u8) -> Result<(), String> {
        match letter {
            b'f' if self.helper => self.fake = true,
            b'n' | b's' | b'v' if self.helper => {} // no mtab, sloppy, verbose: nothing to do
            b'f' => self.draft.foreground = true,
            b's' => self.draft.mount.threads = 1,
            b'd' => self.draft.mount.debug = true,
            b'r' => self.options.push("ro".into()),
            b'w' => self.options.push("rw".into()),
            b'V' => self.info = Some(Invocation::Version),
            b'h' => self.info = Some(Invocation::Help),
            other => {
                return Err(format!(
                    "unknown option -{}",
                    char::from(other).escape_debug()
                ));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Invocation, String> {
        if let Some(info) = self.info {
            return Ok(info);
        }
        if let Some(flags) = options::remount(&self.options)? {
            return self.remount(flags);
        }
        for text in &self.options {
            options::apply(&mut self.draft, text)?;
        }
        let (source, mountpoint) = places(self.positional)?;
        if let Some(source) = source {
            name_source(&mut self.draft, &source);
        }
        if self.draft.lowers.is_empty() {
            return Err("no lower layer: -o lowerdir=DIR[:DIR]... is missing".to_owned());
        }
        let request = Box::new(self.draft.finish(mountpoint)?);
        Ok(match self.fake {
            true => Invocation::Fake(request),
            false => Invocation::Mount(request),
        })
    }

    fn remount(self, flags: options::Remount) -> Result<Invocation, String> {
        let (_, mountpoint) = places(self.positional)?;
        Ok(Invocation::Remount(Remount {
            mountpoint,
            set: flags.set,
            clear: flags.clear,
            fake: self.fake,
            warnings: flags.warnings,
        }))
    }
}

/// The source, if there is one, and the mountpoint.
fn places(positional: Vec<OsString>) -> Result<(Option<OsString>, PathBuf), String> {
    let mut positional = positional.into_iter();
    let (source, mountpoint) = match (positional.next(), positional.next(), positional.next()) {
        (None, ..) => return Err("no mountpoint".to_owned()),
        (Some(mountpoint), None, _) => (None, mountpoint),
        (Some(source), Some(mountpoint), None) => (Some(source), mountpoint),
        (_, _, Some(extra)) => {
            return Err(format!("{}: one argument too many", extra.display()));
        }
    };
    if mountpoint.is_empty() {
        return Err("the mountpoint is empty".to_owned());
    }
    Ok((source, PathBuf::from(mountpoint)))
}

/// mount(8) and umount(8) compare the source in fstab with the one in the mount table.
fn name_source(draft: &mut Draft, source: &OsStr) {
    if !draft.seen.contains(&"fsname") && !source.is_empty() {
        draft.mount.fsname = source.to_string_lossy().into_owned();
    }
}

/// Runs the drop-in form.
pub fn run(program: &OsStr, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(program, args) {
        Ok(Invocation::Mount(request)) => serve::mount(NAME, &request),
        Ok(Invocation::Fake(request)) => {
            serve::warn(NAME, &request.warnings);
            ExitCode::SUCCESS
        }
        Ok(Invocation::Remount(remount)) => serve::remount(NAME, &remount),
        Ok(Invocation::Version) => super::print(&version()),
        Ok(Invocation::Help) => super::print(&help()),
        Err(why) => {
            eprintln!("{NAME}: {why}\nTry '{NAME} --help'.");
            ExitCode::from(super::USAGE_ERROR)
        }
    }
}

/// The first line has the form that `podman info` shows of a mount program.
fn version() -> String {
    format!(
        "{NAME}: version {0}\nvellum {0}, without libfuse\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn help() -> String {
    let mut out = USAGE.to_owned();
    for section in options::SECTIONS {
        let names: Vec<String> = section
            .options
            .iter()
            .filter(|o| matches!(o.class, options::Class::Honoured(_)))
            .map(|o| format!("  {}{}\n", o.name, o.value))
            .collect();
        if !names.is_empty() {
            out.push_str(&format!("\n{}:\n{}", section.title, names.concat()));
        }
    }
    out.push_str(
        "\nOther options of podman, libfuse, overlayfs and fstab are ignored with a warning, or \
         refused\nwith the reason: see docs/mount-options.md.\n",
    );
    out
}
