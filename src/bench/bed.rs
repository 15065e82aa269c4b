//! The test bed: one peer over one stack, mounted afresh for each operation.
//!
//! A mount of its own for each run puts every peer in the same state: nothing looked up,
//! nothing cached above the layers, an empty upper.

use super::cold;
use super::cut::Stack;
use super::failure::{Failure, Result, Step};
use super::fixture::Fixtures;
use super::images::Images;
use super::manifest::{self, Manifest};
use super::peers::{How, Mounted, Peer, Places};
use super::scratch::{Scratch, mounts_beneath};
use super::transfer;
use super::work::Work;
use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How caches are made cold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cold {
    /// A fresh mount, and the dentry and inode caches of the machine emptied.
    Drop,
    /// A fresh mount only, for want of privilege: what is beneath may be warm.
    Remount,
}

/// What an operation does to the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It changes it.
    Write,
}

/// Everything that an operation needs for one run.
pub struct Bed<'a> {
    /// Who is measured.
    pub peer: &'a Peer,
    /// The layers.
    pub stack: &'a Stack,
    /// The merged tree as a plain directory.
    pub source: &'a Path,
    /// What is in it.
    pub manifest: &'a Manifest,
    /// What to work on.
    pub work: &'a Work,
    /// Further things to work on.
    pub fixtures: &'a Fixtures<'a>,
    /// The stacks as stored images.
    pub images: &'a Images<'a>,
    /// The program, which is a worker too.
    pub vellum: &'a Path,
    /// Where to put things.
    pub scratch: &'a Scratch,
    /// How caches are made cold.
    pub cold: Cold,
    /// A mount that lasts longer is aborted.
    pub limit: Duration,
}

/// A mounted peer. Dropping it unmounts, then removes the upper.
pub struct Live {
    /// The root of the merged tree.
    pub root: OwnedFd,
    /// The mount.
    pub mounted: Mounted,
    /// How long it took to come, from the start of the peer's command.
    pub took: Duration,
    dir: Dir,
}

/// A directory of one run, removed when dropped unless something is mounted beneath.
struct Dir(PathBuf);

impl Drop for Dir {
    fn drop(&mut self) {
        let free = mounts_beneath(&self.0).is_ok_and(|m| m.is_empty());
        if free && let Err(e) = transfer::remove(&self.0) {
            log::warn!("{e}");
        }
    }
}

impl Bed<'_> {
    /// Mounts the stack.
    pub fn mount(&self, access: Access) -> Result<Live> {
        self.mount_layers(self.layers(), self.source, access)
    }

    /// The layers of the stack in the form that the peer understands.
    pub fn layers(&self) -> &[PathBuf] {
        match self.peer.knows_marks() {
            true => &self.stack.layers,
            false => &self.stack.bare,
        }
    }

    /// Mounts other layers. `plain` is what a plain directory shows instead.
    pub fn mount_layers(&self, layers: &[PathBuf], plain: &Path, access: Access) -> Result<Live> {
        let places = self.places(layers)?;
        let dir = Dir(places.mnt.parent().unwrap_or(&places.mnt).to_owned());
        let start = Instant::now();
        let mounted = match (&self.peer.how, access) {
            (How::Plain, Access::Read) => Mounted::plain(plain),
            (How::Plain, Access::Write) => {
                let copy = dir.0.join("copy");
                transfer::tree(plain, self.manifest, &copy)?;
                Mounted::plain(&copy)
            }
            _ => self.peer.mount(&places, self.limit).step("mount")?,
        };
        let took = start.elapsed();
        let root = manifest::open(mounted.path())?;
        if access == Access::Write {
            // what was written before must not be flushed at the expense of this run
            rustix::fs::syncfs(manifest::open(self.scratch.path())?)?;
        }
        Ok(Live {
            root,
            mounted,
            took,
            dir,
        })
    }

    /// The directories of one mount, made, and the image if the peer wants one.
    fn places(&self, layers: &[PathBuf]) -> Result<Places> {
        let image = match self.peer.wants_image() {
            true => Some(self.images.of(layers)?),
            false => None,
        };
        let dir = self.scratch.dir("run")?;
        let places = Places {
            layers: layers.to_vec(),
            upper: dir.join("upper"),
            work: dir.join("work"),
            mnt: dir.join("merged"),
            log: dir.join("log"),
            image,
        };
        for d in [&places.upper, &places.work, &places.mnt] {
            fs::create_dir(d).at("mkdir", d)?;
        }
        Ok(places)
    }

    /// The files beneath the mount that hold the contents of one file of a layer, or more.
    pub fn beneath(&self, layer: &Path, file: &CStr) -> Result<Vec<PathBuf>> {
        match self.peer.wants_image() {
            true => self.images.contents(layer),
            false => Ok(vec![layer.join(OsStr::from_bytes(file.to_bytes()))]),
        }
    }

    /// Makes sure that the lookup of `names` in the fresh mount reaches the file system, and,
    /// where caches can be dropped, the layers beneath too.
    pub fn chill(&self, live: &Live, names: &[CString]) -> Result<()> {
        let names = &names[..names.len().min(cold::PROBES)];
        let top = cold::probe(live.mounted.path(), names)?;
        match self.cold {
            Cold::Remount => match cold::count_cached(&top)? {
                0 => Ok(()),
                n => Err(Failure::new(format!(
                    "not cold: {n} names are cached in a fresh mount"
                ))),
            },
            Cold::Drop => {
                live.mounted.settle();
                let mut probes = vec![top];
                for layer in self.layers() {
                    probes.push(cold::probe(layer, names)?);
                }
                cold::drop_names(&probes)?;
                live.mounted.settle();
                Ok(())
            }
        }
    }
}

impl Live {
    /// Unmounts. Gives the time that it took.
    pub fn unmount(self) -> Result<Duration> {
        let Live {
            root, mounted, dir, ..
        } = self;
        drop(root); // an open file keeps the mount
        let took = mounted.unmount();
        drop(dir);
        took
    }

    /// Where the files of this run are.
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }
}
