//! Images: layers found by their digest, shared, indexed, mounted.
//!
//! An image is a list of layers, each a tar, and a configuration. What a mount needs of them is made
//! once, when an image is loaded: each layer's small files end to end in a *pack*, its large ones as
//! *objects* named by their digest, what it says of every file in a table, and the trees of all
//! layers, merged, in an index that answers look-ups without asking a layer.
//!
//! Nothing here makes a path from what a tar says: a hostile one has nothing to escape to.

pub mod changes;
pub mod commit;
pub mod compose;
pub mod container;
pub mod copy;
pub mod digest;
pub mod entry;
pub mod fsck;
pub mod history;
pub mod import;
pub mod index;
pub mod instruction;
pub mod layer;
mod listings;
pub mod load;
pub mod lower;
pub mod merge;
pub mod oci;
pub mod prepare;
pub mod reference;
pub mod save;
pub mod spill;
pub mod store;
pub mod table;
pub mod tree;
pub mod unpack;
pub mod volume;

/// This moment, RFC 3339, in seconds: what documents of images say.
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    let seconds = jiff::Timestamp::from_second(now.as_second());
    seconds.unwrap_or(now).to_string()
}
