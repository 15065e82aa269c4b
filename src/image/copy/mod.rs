//! Copying files into and out of a container, by the rules of `docker cp`.
//!
//! A *side* is a tree that paths are looked up in: this machine, or a root that no path and no symlink
//! leads out of. What is copied goes as entries, from a tree ([`walk()`]) or a tar, to a tree
//! ([`Plant`]) or a tar; so there is one way to read and one to write, whatever the ends are.
//!
//! Where the copy goes depends on what is there, as docker has it:
//!
//! | destination | a file | a directory | what is in a directory (`DIR/.`) |
//! |---|---|---|---|
//! | a directory | goes into it | goes into it | goes into it |
//! | a file | takes its place | error | error |
//! | nothing, in a directory | gets that name | gets that name | as a directory of that name |
//! | nothing, `DST/` | error | gets that name | as a directory of that name |

mod plant;
mod side;
mod walk;

pub use plant::{Owner, Plant};
pub use side::{Dest, Side, Source};
pub use walk::walk;

use super::entry::Path;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use std::os::fd::AsFd;

/// The directory that a copy goes to, and the path in it: none for what goes into the directory itself.
pub fn place<'d>(source: &Source, dest: &'d Dest) -> Result<(&'d dyn AsFd, Path)> {
    let named = |name: &[u8]| -> Path { vec![name.into()] };
    match dest {
        Dest::Dir(at) if source.contents => Ok((at, Path::new())),
        Dest::Dir(at) => Ok((at, named(&source.name))),
        Dest::File(..) if source.is_dir => {
            let why = "a directory cannot be copied to a file";
            Err(Error::because(Errno::ENOTDIR, why))
        }
        Dest::Absent { asserts_dir, .. } if *asserts_dir && !source.is_dir => {
            Err(Error::because(Errno::ENOENT, "the directory is not there"))
        }
        Dest::File(dir, name) | Dest::Absent { dir, name, .. } => Ok((dir, named(name))),
    }
}
