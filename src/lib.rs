//! Vellum: a layered copy-on-write file system for container images.
//!
//! Read-only layers are stacked under one writable upper layer and shown as one
//! file system through FUSE. A file is copied up the moment it is first changed;
//! no byte of a lower layer ever changes.
//!
//! The house, top to bottom; a module uses only those below it
//! (`docs/architecture.md` has the table, `tests/architecture.rs` holds the code to it):
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | one file per command |
//! | [`run`] | containers that run, by an OCI runtime on a mount of ours |
//! | [`mod@bench`] | layer stacking measured against what a user would pick instead |
//! | [`fuse`] | the adapter: decode, one engine call, reply; mounting; session life cycle |
//! | [`image`] | images: digests, layers in and out, the store, the index |
//! | [`overlay`] | the engine: one upper over one lower, every VFS operation, no FUSE type in sight |
//! | [`upper`] | the writable layer on disk: whiteouts, opaque marks, redirects, staging, recovery |
//! | [`lower`] | read-only merged trees: the trait [`lower::Lower`] and its implementations |
//! | [`sys`] | the only unsafe code: thin, fd-relative system calls |
//! | [`vfs`] | vocabulary with no I/O: node ids, attributes, names, errors |

pub mod bench;
pub mod cli;
pub mod fuse;
pub mod image;
pub mod lower;
pub mod overlay;
pub mod run;
pub mod sys;
pub mod upper;
pub mod vfs;
