//! Memory for a message: as large as a message can be, of which the pages take memory that were
//! touched, until they are released.
#![allow(unsafe_code, reason = "pages are taken out of a mapping")]

use crate::vfs::Result;
use memmap2::{MmapMut, UncheckedAdvice};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// A message that is longer is large: what it took is given back when no other has come for
/// [`IDLE`]. Where large ones follow each other, each would have to get its pages anew, which takes
/// longer than to fill them.
pub const SMALL: usize = 16 << 10;

/// How long pages stay that nobody uses.
pub const IDLE: Duration = Duration::from_secs(1);

/// Memory that begins as zeros, and is so again after a release.
#[derive(Debug)]
pub struct Room(MmapMut);

impl Room {
    /// Room for `len` bytes.
    pub fn new(len: usize) -> Result<Room> {
        Ok(Room(MmapMut::map_anon(len)?))
    }

    /// Gives back the memory that it takes. Best effort: what is lost is memory.
    pub fn release(&mut self) {
        // SAFETY: private anonymous memory, which reads as zeros from now on; `self` is borrowed
        // exclusively, so nobody counts on what was there.
        let released = unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) };
        if let Err(e) = released {
            log::debug!("memory for messages stays: {e}");
        }
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_released_is_zeros_and_can_be_used_again() {
        let mut room = Room::new(100_000).unwrap();
        assert_eq!(room.len(), 100_000);
        room.fill(7);
        room.release();
        assert!(room.iter().all(|b| *b == 0));
        room[99_999] = 1;
    }
}
