//! What the options given so far add up to.

use crate::fuse::MountOptions;
use crate::overlay::{Config, UpperConfig, UserXattr};
use nix::mount::MsFlags;
use std::path::PathBuf;
use std::time::Duration;

/// What the options given so far add up to. [`Draft::finish`] checks what only all of them
/// together show.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The read-only layers, topmost first.
    pub lowers: Vec<PathBuf>,
    /// The writable layer.
    pub upper: Option<PathBuf>,
    /// Its work directory.
    pub work: Option<PathBuf>,
    /// How the upper is written; its paths are not used.
    pub writing: UpperConfig,
    /// How the layers are shown; its layers are not used.
    pub config: Config,
    /// How the mount behaves.
    pub mount: MountOptions,
    /// Every file belongs to root, unless it belongs to another by `squash_to_uid` or `_gid`.
    pub squash_to_root: bool,
    /// The command does not go to the background.
    pub foreground: bool,
    /// What people should know about the options.
    pub warnings: Vec<String>,
    /// Options that were given with a value.
    pub seen: Vec<&'static str>,
}

/// What is to be mounted where, checked as far as words can be.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is stacked.
    pub config: Config,
    /// How the mount behaves.
    pub mount: MountOptions,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// The command serves the mount itself and returns when it is gone.
    pub foreground: bool,
    /// What people should know about the options.
    pub warnings: Vec<String>,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            lowers: Vec::new(),
            upper: None,
            work: None,
            writing: UpperConfig::new("", ""),
            config: Config::default(),
            mount: MountOptions::default(),
            squash_to_root: false,
            foreground: false,
            warnings: Vec::new(),
            seen: Vec::new(),
        }
    }
}

impl Draft {
    /// Adds a warning.
    pub fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }

    /// Sets flags of mount(2), and clears those that contradict them.
    pub fn flags(&mut self, set: MsFlags, clear: MsFlags) {
        self.mount.flags.remove(clear);
        self.mount.flags.insert(set);
    }

    /// There is one time for names, attributes and absent names: the shortest that was asked for.
    pub fn at_most(&mut self, timeout: Duration) {
        self.mount.timeout = self.mount.timeout.min(timeout);
    }

    /// Takes the layers of `lowerdir=`.
    pub fn set_lowers(&mut self, paths: Vec<PathBuf>) -> Result<(), String> {
        let empty = |p: &PathBuf| p.as_os_str().is_empty();
        let inner = paths.get(1..paths.len().saturating_sub(1));
        if inner.is_some_and(|p| p.iter().any(empty)) {
            return Err(
                "has an empty path: data-only layers (\"::\") are not supported".to_owned(),
            );
        }
        let given = paths.len();
        self.lowers = paths.into_iter().filter(|p| !empty(p)).collect();
        if self.lowers.is_empty() {
            return Err("names no layer".to_owned());
        }
        if self.lowers.len() < given {
            self.warn("option lowerdir: the colon at its beginning or end is ignored");
        }
        self.refuse_plugins()
    }

    /// Adds a layer below those that there are.
    pub fn add_lower(&mut self, path: PathBuf) -> Result<(), String> {
        self.lowers.push(path);
        self.refuse_plugins()
    }

    fn refuse_plugins(&self) -> Result<(), String> {
        let plugin = |p: &PathBuf| {
            let bytes = p.as_os_str().as_encoded_bytes();
            bytes
                .strip_prefix(b"//")
                .is_some_and(|rest| rest.windows(2).any(|w| w == b"//"))
        };
        match self.lowers.iter().find(|p| plugin(p)) {
            Some(p) => Err(format!(
                "{}: layers from plugins are not supported; give a directory",
                p.display()
            )),
            None => Ok(()),
        }
    }

    /// Checks the whole.
    pub fn finish(mut self, mountpoint: PathBuf) -> Result<Request, String> {
        if self.mount.debug {
            self.foreground = true;
        }
        if self.squash_to_root {
            self.config.ids.squash_uid.get_or_insert(0);
            self.config.ids.squash_gid.get_or_insert(0);
        }
        let user = self.writing.userxattr == UserXattr::On;
        if user && self.writing.metacopy && self.seen.contains(&"metacopy") {
            // who owns a file could forge such a mark; overlayfs does not follow it either
            self.warn("option metacopy=on is ignored: with userxattr, data is always copied");
        }
        let upper = match (self.upper.take(), self.work.take()) {
            (Some(upper), Some(work)) => Some(UpperConfig {
                upper,
                work,
                ..self.writing
            }),
            (Some(upper), None) => {
                return Err(format!(
                    "upper directory {} without a work directory; it must be an empty directory \
                     on the same file system",
                    upper.display()
                ));
            }
            (None, work) => {
                if let Some(work) = work {
                    self.warnings.push(format!(
                        "work directory {} is not used: without an upper directory the mount is \
                         read-only",
                        work.display()
                    ));
                }
                None
            }
        };
        Ok(Request {
            config: Config {
                lowers: self.lowers,
                upper,
                ..self.config
            },
            mount: self.mount,
            mountpoint,
            foreground: self.foreground,
            warnings: self.warnings,
        })
    }
}
