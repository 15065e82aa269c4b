//! A peer: one way to see a stack of layers as one tree, to be measured beside the others.

mod daemon;
mod find;
mod kernel;
mod launch;
mod mounted;

pub use find::{Selection, kernel_release, select};
pub use kernel::Options as KernelOptions;
pub use launch::Launch;
pub use mounted::Mounted;

use super::failure::{Failure, Result};
use super::images::Stored;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a peer shows the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The merged tree itself, a plain directory: the floor that nobody can be expected to beat.
    Plain,
    /// Overlayfs of the kernel, with these options.
    Kernel(kernel::Options),
    /// A program that mounts a FUSE file system.
    Fuse(Launch),
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its column in the table.
    pub name: String,
    /// How it shows the tree.
    pub how: How,
    /// What it says of its version.
    pub version: String,
}

/// The directories of one mount.
#[derive(Clone, Debug)]
pub struct Places {
    /// The read-only layers, topmost first.
    pub layers: Vec<PathBuf>,
    /// Takes the changes.
    pub upper: PathBuf,
    /// The work directory beside it.
    pub work: PathBuf,
    /// Where the merged tree is to be seen.
    pub mnt: PathBuf,
    /// What the peer's program writes.
    pub log: PathBuf,
    /// The layers as an image, for the peers that mount one.
    pub image: Option<Stored>,
}

impl Peer {
    /// True for a peer of this project.
    pub fn is_ours(&self) -> bool {
        matches!(
            &self.how,
            How::Fuse(Launch::Vellum { .. } | Launch::Image { .. })
        )
    }

    /// True if it mounts an image of the store, not directories.
    pub fn wants_image(&self) -> bool {
        matches!(&self.how, How::Fuse(Launch::Image { .. }))
    }

    /// True if it knows the whiteouts and opaque directories of an overlay. Others get the same tree in
    /// layers without.
    pub fn knows_marks(&self) -> bool {
        !matches!(
            &self.how,
            How::Fuse(Launch::Unionfs { .. } | Launch::Mergerfs { .. })
        )
    }

    /// True if a file of a layer can be changed through it.
    pub fn copies_up(&self) -> bool {
        !matches!(&self.how, How::Fuse(Launch::Mergerfs { .. }))
    }

    /// True if a process serves the mount.
    pub fn is_fuse(&self) -> bool {
        matches!(self.how, How::Fuse(_))
    }

    /// Mounts; it returns when the tree can be used. A mount that lasts longer than `limit` is
    /// aborted, so that a peer that hangs fails, and does not hang the run.
    pub fn mount(&self, places: &Places, limit: Duration) -> Result<Mounted> {
        match &self.how {
            How::Plain => Ok(Mounted::plain(&places.mnt)),
            How::Kernel(options) => kernel::mount(options, places),
            How::Fuse(launch) => launch::mount(launch, places, limit),
        }
    }

    /// How it is called, for the results.
    pub fn command(&self) -> String {
        let places = Places {
            layers: vec!["A".into(), "B".into()],
            upper: "U".into(),
            work: "W".into(),
            mnt: "MNT".into(),
            log: PathBuf::new(),
            image: Some(Stored {
                root: "STORE".into(),
                name: "IMAGE".into(),
            }),
        };
        match &self.how {
            How::Plain => "the merged tree as a plain directory".into(),
            How::Kernel(options) => {
                let words = options.iter().map(|(key, value)| match value {
                    Some(value) => format!(", {key}={value}"),
                    None => format!(", {key}"),
                });
                let more: String = words.collect();
                format!("overlay: lowerdir+=A, lowerdir+=B, upperdir=U, workdir=W{more}")
            }
            How::Fuse(launch) => {
                let words = launch.words(&places);
                let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
                words.join(" ")
            }
        }
    }
}

/// The device number of what is at `path`.
fn device(path: &Path) -> Result<u64> {
    Ok(rustix::fs::stat(path)?.st_dev)
}

/// The number of the mount that `path` is in. It changes when something is mounted there; the
/// device number need not, as with a bind mount.
fn mount_id(path: &Path) -> Result<u64> {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
    match found.stx_mask & StatxFlags::MNT_ID.bits() {
        0 => Err(Failure::new("statx tells no mount: Linux 5.8 is needed")),
        _ => Ok(found.stx_mnt_id),
    }
}
