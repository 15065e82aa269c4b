//! The adapter between the engine and the kernel: decode, one engine call, reply; mounting, and
//! the life of the process that serves a mount.

mod adapter;
mod convert;
mod data;
mod filesystem;
mod init;
mod mount;
mod opens;
mod options;
mod remount;
mod reply;
mod serve;
mod unmount;

pub use options::{Allow, FOREVER, Io, MountOptions};
pub use remount::remount;
pub use serve::run;
pub use unmount::unmount;
