//! Room for answers by `/dev/fuse`, as much as the longest needs, for each thread its own: what it
//! answered last is in the cache of its processor. A thread takes its room and brings it back, so that
//! another can empty it when something large was in it a while ago.

use crate::sys::room::{IDLE, Room, SMALL};
use crate::vfs::Result;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Thread, ThreadId};
use std::time::Instant;

/// The rooms of all threads.
#[derive(Debug)]
pub(super) struct Rooms {
    len: usize,
    free: Mutex<Vec<Spare>>,
    /// One was used since the keeper looked last, and the keeper knows.
    told: AtomicBool,
    keeper: Thread,
}

#[derive(Debug)]
struct Spare {
    room: Room,
    /// Whose it is.
    user: ThreadId,
    /// When something large was in it, since it was last emptied.
    large: Option<Instant>,
}

impl Rooms {
    /// Rooms of `len` bytes each. `keeper` is woken when one is used after some time, to [`Rooms::tidy`]
    /// what that leaves.
    pub(super) fn new(len: usize, keeper: Thread) -> Rooms {
        Rooms {
            len,
            free: Mutex::default(),
            told: AtomicBool::new(false),
            keeper,
        }
    }

    /// Has `f` use this thread's; it says how many bytes it used.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut [u8]) -> (T, usize)) -> Result<T> {
        let user = std::thread::current().id();
        let own = {
            let mut free = self.free.lock();
            let at = free.iter().position(|spare| spare.user == user);
            at.map(|at| free.swap_remove(at))
        };
        let mut spare = match own {
            Some(spare) => spare,
            None => Spare {
                room: Room::new(self.len)?,
                user,
                large: None,
            },
        };
        let (done, used) = f(&mut spare.room);
        if used > SMALL {
            spare.large = Some(Instant::now());
        }
        self.free.lock().push(spare);
        // looked at first: all who answer would have to get hold of it else
        if !self.told.load(Ordering::Relaxed) && !self.told.swap(true, Ordering::AcqRel) {
            self.keeper.unpark();
        }
        Ok(done)
    }

    /// Empties what was not used for long. True if it is to be called again, [`IDLE`] later: one was used,
    /// or may be emptied then.
    pub(super) fn tidy(&self) -> bool {
        // before looking, so that whoever brings one meanwhile says so again
        let mut again = self.told.swap(false, Ordering::AcqRel);
        for spare in &mut *self.free.lock() {
            match spare.large {
                Some(when) if when.elapsed() >= IDLE => {
                    spare.room.release();
                    spare.large = None;
                }
                Some(_) => again = true,
                None => {}
            }
        }
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_its_own_which_is_emptied_once_idle() {
        let rooms = Rooms::new(1 << 20, std::thread::current());
        let first = |n: usize| rooms.with(|room| (std::mem::replace(&mut room[0], 7), n));
        assert!(!rooms.tidy(), "none was used");
        assert_eq!(first(1).unwrap(), 0);
        assert!(rooms.tidy(), "one was used");
        assert!(!rooms.tidy(), "nothing large was in it");
        assert_eq!(first(SMALL + 1).unwrap(), 7, "the same one");
        assert!(rooms.tidy() && rooms.tidy(), "it may be used again at once");
        let other = std::thread::scope(|s| s.spawn(|| first(1).unwrap()).join());
        assert_eq!(other.unwrap(), 0, "that of another thread");
        std::thread::sleep(IDLE);
        assert!(rooms.tidy() && !rooms.tidy());
        let all = rooms.with(|room| (room[0], 0)).unwrap();
        assert_eq!(all, 0);
    }
}
