//! A case on disk: lowers, upper, work directory, and the plain directory to compare with.

use super::flatten::{copy_attributes, flatten};
use super::image::Image;
use super::layers::{Item, build};
use super::walk::fingerprint;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use vellum::overlay::{Config, Engine, Marks, UpperConfig, UserXattr};

/// Directories of a case.
pub struct Stack {
    dir: TempDir,
    pub lowers: Vec<PathBuf>,
    before: Vec<String>,
}

impl Stack {
    /// Builds the layers, topmost first, an empty upper, and the plain directory.
    pub fn build(layers: &[Vec<Item>]) -> Stack {
        let dir = tempfile::Builder::new()
            .prefix("vellum-")
            .tempdir()
            .unwrap();
        let lowers: Vec<PathBuf> = (0..layers.len())
            .map(|i| dir.path().join(format!("l{i}")))
            .collect();
        for (i, (lower, items)) in lowers.iter().zip(layers).enumerate() {
            fs::create_dir(lower).unwrap();
            build(lower, i, items);
        }
        Stack::over(dir, lowers)
    }

    /// Layers that are there already, in `dir` or elsewhere.
    pub fn over(dir: TempDir, lowers: Vec<PathBuf>) -> Stack {
        rustix::process::umask(rustix::fs::Mode::empty());
        // others than root go in, too
        super::posix::chmod(dir.path(), 0o755).unwrap();
        let at = |name: &str| fs::create_dir(dir.path().join(name)).unwrap();
        at("upper");
        at("work");
        Stack::with_upper(dir, lowers)
    }

    /// The same where the upper and the work directory are there, too.
    pub fn with_upper(dir: TempDir, lowers: Vec<PathBuf>) -> Stack {
        let (plain, upper) = (dir.path().join("plain"), dir.path().join("upper"));
        fs::create_dir(&plain).unwrap();
        fs::create_dir(dir.path().join("mnt")).unwrap();
        flatten(&lowers, &plain);
        // the root of a mount with an upper is the upper's
        copy_attributes(&plain, &upper);
        let before = lowers.iter().map(|l| fingerprint(l)).collect();
        Stack {
            dir,
            lowers,
            before,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    pub fn plain(&self) -> PathBuf {
        self.dir.path().join("plain")
    }
    pub fn upper(&self) -> PathBuf {
        self.dir.path().join("upper")
    }
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }
    /// Where a test mounts.
    pub fn mnt(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    /// Makes an image of what the layers show. Before anything is done to the plain directory.
    pub fn image(&self) -> Image {
        Image::of(&self.plain(), &self.path().join("image"))
    }

    /// An engine with the upper over an image.
    pub fn engine_over(&self, image: &Image) -> Engine {
        let config = Config {
            upper: Some(UpperConfig::new(self.upper(), self.work())),
            ..Config::default()
        };
        Engine::over(image.make(), &config).unwrap()
    }

    /// One without the upper.
    pub fn read_only_engine_over(&self, image: &Image) -> Engine {
        Engine::over(image.make(), &Config::default()).unwrap()
    }

    /// An engine over it.
    pub fn engine(&self) -> Engine {
        self.engine_with(|_| {})
    }

    /// One whose marks are in `user.overlay.`, without those that the kernel does not know there.
    pub fn engine_userxattr(&self) -> Engine {
        self.engine_with(|upper| {
            upper.userxattr = UserXattr::On;
            (upper.redirect, upper.metacopy) = (false, false);
        })
    }

    /// One whose marks have a form of the caller's choice.
    pub fn engine_marks(&self, marks: Marks) -> Engine {
        self.engine_with(|upper| upper.marks = marks)
    }

    fn engine_with(&self, change: impl FnOnce(&mut UpperConfig)) -> Engine {
        let mut upper = UpperConfig::new(self.upper(), self.work());
        change(&mut upper);
        self.open(Some(upper))
    }

    /// One without the upper.
    pub fn read_only_engine(&self) -> Engine {
        self.open(None)
    }

    fn open(&self, upper: Option<UpperConfig>) -> Engine {
        Engine::open(&Config {
            lowers: self.lowers.clone(),
            upper,
            ..Config::default()
        })
        .unwrap()
    }

    /// What changed in a lower: nothing may.
    pub fn lowers_changed(&self) -> Option<String> {
        let now: Vec<String> = self.lowers.iter().map(|l| fingerprint(l)).collect();
        for (i, (was, is)) in self.before.iter().zip(&now).enumerate() {
            for (a, b) in was.lines().zip(is.lines()) {
                if a != b {
                    return Some(format!("lower {i} changed:\n  was {a}\n  is  {b}"));
                }
            }
            if was != is {
                return Some(format!("lower {i} changed:\n{was}\nis\n{is}"));
            }
        }
        None
    }
}
