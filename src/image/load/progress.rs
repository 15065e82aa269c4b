//! How far it is, told while it goes.

use crate::image::digest::Digest;

/// What became of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there already.
    Present,
    /// It was read and verified.
    Loaded,
    /// It was read, and compared with what the store has.
    Checked,
}

/// Is told how far it is, by several threads.
pub trait Progress: Sync {
    /// A layer of so many bytes, as they come, begins; 0 if nobody knows.
    fn start(&self, diff_id: Digest, size: u64);
    /// So many more bytes came.
    fn advance(&self, diff_id: Digest, bytes: u64);
    /// That is all of it.
    fn done(&self, diff_id: Digest, outcome: Outcome);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: Digest, _: u64) {}
    fn advance(&self, _: Digest, _: u64) {}
    fn done(&self, _: Digest, _: Outcome) {}
}
