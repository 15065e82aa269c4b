//! Thin, fd-relative system calls, and the only place that may hold unsafe code.
//!
//! Most calls come straight from `rustix`, whose fds are borrowed and whose errors turn into
//! [`crate::vfs::Error`] by `?`. Here stands what needs more than one call: extended
//! attributes of a name in a directory, a listing, a copy that keeps holes, a path opened
//! beneath a directory without following a link.

pub mod ancestry;
pub mod cachestat;
pub mod copy;
pub mod cpus;
pub mod dir;
pub mod fuse_dev;
pub mod handle;
pub mod interrupt;
pub mod loc;
pub mod map;
pub mod ownership;
pub mod process;
pub mod recent;
pub mod room;
pub mod sched;
pub mod uring;
pub mod xattr;
mod xattr_at;

pub use loc::Loc;
pub use ownership::{Owned, Ownership};
