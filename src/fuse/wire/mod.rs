//! The FUSE protocol: what the kernel asks, and how it is answered, in bytes.
//!
//! A request is a header, the structure of its operation, and what follows that (names, values,
//! data). An answer is a header and a body. How these bytes travel is left to the transports:
//! [`super::device`] reads and writes them whole, [`super::ring`] finds the parts in memory that it
//! shares with the kernel. Nothing here does I/O, and nothing trusts a length that it was told.

mod abi;
mod op;
mod reply;
mod request;

pub(super) use abi::{InHeader, OutHeader, WRITE};
pub(super) use op::{Data, Name, NewMode, Op};
pub(super) use reply::{Body, Listing, Shown};
pub(super) use request::{Args, Request};
