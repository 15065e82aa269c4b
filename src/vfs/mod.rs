//! The vocabulary of a file system, with no I/O: node ids, attributes, directory
//! entries, callers, errors. Everything above speaks in these words; nothing here
//! touches a disk, a lock or a FUSE type.

pub mod attr;
pub mod cookie;
pub mod error;
pub mod inospace;
pub mod override_stat;
pub mod whiteout;

pub use attr::{Attr, Caller, DirEntry, Kind, NodeId, SetAttr, SetTime, StatFs, Time};
pub use error::{Error, Result};
pub use inospace::InoSpace;
