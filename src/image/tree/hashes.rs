//! Numbers found by a hash: a table with open addressing, in pages.

use super::super::spill::{Pages, Records};
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Bits of the number of slots that a table begins with.
const FIRST_BITS: u32 = 6;

/// A place in the table. A slot of zeros is free.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Slot {
    /// The number, and 1.
    number: u32,
    /// So much of the hash that a number is hardly ever looked at in vain, and that a table grows
    /// without looking at any.
    hash: u32,
}

impl Slot {
    const FREE: Slot = Slot { number: 0, hash: 0 };
}

/// Numbers by the hashes of what they are the numbers of. The slot in which a number would like to
/// be is told by the upper bits of its hash, so the order of hashes is that of the table: to make it
/// larger is to go through both from the first to the last page.
#[derive(Debug)]
pub(super) struct Hashes {
    pages: Pages,
    slots: Records<Slot>,
    bits: u32,
    len: u32,
}

impl Hashes {
    pub fn new(pages: &Pages) -> Hashes {
        Hashes {
            pages: pages.clone(),
            slots: Records::zeroed(pages, 1 << FIRST_BITS),
            bits: FIRST_BITS,
            len: 0,
        }
    }

    /// The number with this hash of which `is` is true.
    pub fn find(&self, hash: u64, is: impl FnMut(u32) -> Result<bool>) -> Result<Option<u32>> {
        Ok(self.slot_of(hash, is)?.map(|(_, number)| number))
    }

    /// Adds a number that is not there.
    pub fn insert(&mut self, hash: u64, number: u32) -> Result<()> {
        if u64::from(self.len) * 4 >= u64::from(self.slots.len()) * 3 {
            self.grow()?;
        }
        let slot = Slot {
            number: number + 1,
            hash: upper(hash),
        };
        put(&mut self.slots, self.bits, &slot)?;
        self.len += 1;
        Ok(())
    }

    /// Removes the number with this hash of which `is` is true.
    pub fn remove(&mut self, hash: u64, is: impl FnMut(u32) -> Result<bool>) -> Result<()> {
        let Some((mut hole, _)) = self.slot_of(hash, is)? else {
            return Ok(());
        };
        self.len -= 1;
        // what had to go past the hole moves into it, so that it is found without it
        let mut at = hole;
        loop {
            at = self.after(at);
            let slot = self.slots.get(at)?;
            if slot.number == 0 {
                return self.slots.set(hole, &Slot::FREE);
            }
            let mask = self.slots.len() - 1;
            let from_home = at.wrapping_sub(home(slot.hash, self.bits)) & mask;
            if from_home >= at.wrapping_sub(hole) & mask {
                self.slots.set(hole, &slot)?;
                hole = at;
            }
        }
    }

    fn slot_of(
        &self,
        hash: u64,
        mut is: impl FnMut(u32) -> Result<bool>,
    ) -> Result<Option<(u32, u32)>> {
        let hash = upper(hash);
        let mut at = home(hash, self.bits);
        loop {
            let slot = self.slots.get(at)?;
            if slot.number == 0 {
                return Ok(None);
            }
            if slot.hash == hash && is(slot.number - 1)? {
                return Ok(Some((at, slot.number - 1)));
            }
            at = self.after(at);
        }
    }

    fn after(&self, at: u32) -> u32 {
        (at + 1) & (self.slots.len() - 1)
    }

    fn grow(&mut self) -> Result<()> {
        let bits = self.bits + 1;
        if bits >= u32::BITS {
            return Err(Error::because(Errno::EFBIG, "too many files"));
        }
        let mut slots = Records::zeroed(&self.pages, 1 << bits);
        let (mut at, mut some) = (0, Vec::new());
        while at < self.slots.len() {
            at = self.slots.some(at, &mut some)?;
            for slot in some.iter().filter(|slot| slot.number != 0) {
                put(&mut slots, bits, slot)?;
            }
        }
        self.slots = slots;
        self.bits = bits;
        Ok(())
    }
}

/// Puts it into the first free slot from its home on.
fn put(slots: &mut Records<Slot>, bits: u32, slot: &Slot) -> Result<()> {
    let mut at = home(slot.hash, bits);
    while slots.get(at)?.number != 0 {
        at = (at + 1) & (slots.len() - 1);
    }
    slots.set(at, slot)
}

fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn home(hash: u32, bits: u32) -> u32 {
    hash >> (u32::BITS - bits)
}

#[cfg(test)]
mod tests {
    use super::super::super::spill::Room;
    use super::*;
    use std::collections::BTreeSet;

    /// Few hashes for many numbers, so that most are not at home, also past the last slot.
    fn hash(number: u32) -> u64 {
        let few = number.wrapping_mul(2_654_435_761) % 97;
        (u64::from(few) * (u64::MAX / 96)).wrapping_add(u64::from(number / 1000) << 40)
    }

    #[test]
    fn what_is_in_it_is_found_and_nothing_else() {
        let mut hashes = Hashes::new(&Pages::new(Room::unlimited()));
        let mut want = BTreeSet::new();
        let mut random = 1u32;
        for _ in 0..6000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (random >> 8) % 400;
            match want.insert(number) {
                true => hashes.insert(hash(number), number).unwrap(),
                false => {
                    want.remove(&number);
                    let is = |found| Ok(found == number);
                    hashes.remove(hash(number), is).unwrap();
                }
            }
            let sample = (random >> 4) % 400;
            let found = hashes.find(hash(sample), |n| Ok(n == sample)).unwrap();
            assert_eq!(found.is_some(), want.contains(&sample));
        }
        for number in 0..400 {
            let found = hashes.find(hash(number), |n| Ok(n == number)).unwrap();
            assert_eq!(found, want.contains(&number).then_some(number));
        }
        assert_eq!(hashes.len as usize, want.len());
    }
}
