//! Containers that run: an image's root file system by a mount of ours, and the rest by an OCI
//! runtime.
//!
//! A *container* here is what [`crate::image::container`] calls so, with more in its folder: what is
//! asked of it ([`Config`]), what is known of its last run ([`State`]), what it wrote. The mount is
//! as `vellum mount` makes it, by a process of its own; namespaces, control groups and the start of
//! the command are the runtime's business (`crun`, `runc`, `youki`). One process, the *monitor*,
//! holds a lock on the folder while the container lives, and clears up after it.

mod afresh;
mod attach;
mod caps;
mod cgroup;
mod config;
mod control;
mod devices;
mod end;
mod exec;
mod failure;
mod files;
mod folder;
mod guests;
mod keys;
mod leftovers;
mod limits;
mod monitor;
mod prepare;
mod process;
mod pump;
mod record;
mod reread;
mod rootless;
mod runtime;
mod seccomp;
mod spec;
mod tty;
mod user;
mod volume;
mod volumes;
mod whole;

pub use afresh::{AFRESH, go_on};
pub use attach::{Attach, Left, attach};
pub use caps::check as check_capabilities;
pub use config::{Config, Network, StorageOptions, new_id};
pub use control::{kill, parse_signal, remove, stop};
pub use exec::{Exec, exec};
pub use failure::{FAILED, Failure, KILLED, NOT_EXECUTABLE, NOT_FOUND};
pub use folder::{Folder, State, Status};
pub use keys::DetachKeys;
pub use limits::{Limits, Ulimit, cpus, size, ulimit};
pub use monitor::{Job, attached, background, foreground};
pub use prepare::{Preparation, prepare};
pub use process::command;
pub use record::{Line, LogOptions, Stream};
pub use reread::Reader;
pub use rootless::enter as enter_user_namespace;
pub use runtime::text;
pub use tty::size as terminal_size;
pub use volume::Volume;
pub use volumes::{
    establish, of_container as volumes_of_container, of_image as volumes_of_image,
    remove as remove_volume, remove_anonymous, unused as unused_volumes, users as volume_users,
};
pub use whole::Whole;
