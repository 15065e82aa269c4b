//! The adapter between the engine and the kernel: decode, one engine call, reply; mounting, and
//! the life of the process that serves a mount.

mod adapter;
mod answer;
mod backing;
mod device;
mod follow;
mod init;
mod mount;
mod opens;
mod options;
mod pace;
mod remount;
mod ring;
mod rooms;
mod serve;
mod session;
mod slow;
mod turn;
mod unmount;
mod watch;
mod wire;

pub use options::{Allow, FOREVER, Io, IoUring, MountOptions};
pub use remount::remount;
pub use serve::{Starting, run, run_over, serve_over};
pub use unmount::{unmount, unmount_own};
