//! `vellum mount`.

use super::container;
use super::options::{self, Draft, Request};
use super::serve;
use super::store::StoreArgs;
use crate::fuse::Io;
use clap::{Args, ValueEnum, ValueHint};
use nix::mount::MsFlags;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Mount an image, or a stack of directories
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # an image, writable; what is changed is kept under the name
  vellum mount --name web debian:12 /mnt
  vellum umount /mnt
  vellum mount --name web /mnt

  # an image, read-only
  vellum mount --read-only debian:12 /mnt

  # a writable view of two directories, topmost first
  vellum mount --lower app --lower base --upper changes --work work /mnt

  # the same, read-only
  vellum mount --lower app --lower base /mnt

The command returns when the mount is ready. All options that -o takes are in
docs/mount-options.md; 'vellum overlayfs --help' lists them.")]
pub struct Mount {
    /// Read-only layer; give it once per layer, topmost first
    #[arg(short, long = "lower", value_name = "DIR", value_hint = ValueHint::DirPath)]
    lowers: Vec<PathBuf>,

    /// Writable layer that takes the changes; without one the mount is read-only
    #[arg(short, long, value_name = "DIR", requires = "work", value_hint = ValueHint::DirPath)]
    upper: Option<PathBuf>,

    /// Empty directory on the file system of the upper
    #[arg(short, long, value_name = "DIR", requires = "upper", value_hint = ValueHint::DirPath)]
    work: Option<PathBuf>,

    /// How file data travels
    #[arg(long, value_name = "MODE")]
    io: Option<IoMode>,

    /// Mount read-only
    #[arg(long)]
    read_only: bool,

    /// Stay in the foreground until the mount is gone
    #[arg(short, long)]
    foreground: bool,

    /// Log each request, in the foreground
    #[arg(short, long)]
    debug: bool,

    /// Mount options, as in -o noatime,volatile
    #[arg(short, long = "options", value_name = "OPTIONS")]
    options: Vec<OsString>,

    /// Name under which the changes to an image are kept; one that is there goes on
    #[arg(long, value_name = "NAME", conflicts_with_all = ["read_only", "lowers", "upper"])]
    name: Option<String>,

    #[command(flatten)]
    store: StoreArgs,

    /// Image to mount, and the directory to mount it on; without an image, layers are given by
    /// --lower, or a container by --name
    #[arg(value_names = ["IMAGE", "MOUNTPOINT"], num_args = 1..=2, required = true, value_hint = ValueHint::DirPath)]
    places: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum IoMode {
    /// The kernel keeps pages and asks nobody at open: best for many small files
    Cached,
    /// The kernel reads the files beneath by itself: best for large files; needs root
    Passthrough,
}

impl From<IoMode> for Io {
    fn from(mode: IoMode) -> Io {
        match mode {
            IoMode::Cached => Io::Cached,
            IoMode::Passthrough => Io::Passthrough,
        }
    }
}

impl Mount {
    /// Mounts.
    pub fn run(mut self) -> ExitCode {
        let mountpoint = self.places.pop().unwrap_or_default();
        let image = self.places.pop();
        if image.is_none() && self.name.is_none() {
            return match self.request(mountpoint) {
                Ok(request) => serve::mount("vellum", &request),
                Err(why) => super::usage_error("mount", &why),
            };
        }
        let Some(image) =
            image.map_or(Some(None), |text| text.to_str().map(|t| Some(t.to_owned())))
        else {
            return super::usage_error("mount", "the image's name is no text");
        };
        let (store, name) = (self.store.clone(), self.name.clone());
        match self.draft() {
            Err(why) => super::usage_error("mount", &why),
            Ok(draft) if !draft.lowers.is_empty() => {
                super::usage_error("mount", "an image or layers: not both")
            }
            Ok(draft) => container::mount(&store, image, name, draft, mountpoint),
        }
    }

    fn request(self, mountpoint: PathBuf) -> Result<Request, String> {
        let draft = self.draft()?;
        if draft.lowers.is_empty() && draft.upper.is_none() {
            return Err("no layer: give an image, or at least one --lower DIR".to_owned());
        }
        draft.finish(mountpoint)
    }

    fn draft(self) -> Result<Draft, String> {
        let mut draft = Draft {
            foreground: self.foreground,
            ..Draft::default()
        };
        for text in &self.options {
            options::apply(&mut draft, text)?;
        }
        for (flag, given, by_option) in [
            ("--lower", !self.lowers.is_empty(), !draft.lowers.is_empty()),
            ("--upper", self.upper.is_some(), draft.upper.is_some()),
            ("--work", self.work.is_some(), draft.work.is_some()),
        ] {
            if given && by_option {
                return Err(format!("{flag} and -o both name it; use one of them"));
            }
        }
        if !self.lowers.is_empty() {
            draft.lowers = self.lowers;
        }
        draft.upper = self.upper.or(draft.upper);
        draft.work = self.work.or(draft.work);
        if let Some(io) = self.io {
            draft.mount.io = io.into();
        }
        draft.mount.debug |= self.debug;
        if self.read_only {
            draft.flags(MsFlags::MS_RDONLY, MsFlags::empty());
        }
        Ok(draft)
    }
}
