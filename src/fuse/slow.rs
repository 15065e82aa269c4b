//! Threads for what may take long. They are made as they are needed: most mounts, as that of a container
//! which lives for a moment, need few or none, and sixteen cost some milliseconds on a busy machine.

use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};
use threadpool::ThreadPool;

/// How many there can be.
const MOST: usize = 16;

/// The threads.
#[derive(Clone, Debug, Default)]
pub(super) struct Slow(Arc<OnceLock<Pool>>);

#[derive(Debug)]
struct Pool {
    pool: ThreadPool,
    /// The same, for who makes more.
    more: Mutex<ThreadPool>,
}

impl Slow {
    /// Has one of them do it. As long as there can be more of them, none of what is to be done waits for
    /// another.
    pub(super) fn execute(&self, job: impl FnOnce() + Send + 'static) {
        self.0.get_or_init(Pool::new).execute(job);
    }
}

impl Pool {
    fn new() -> Pool {
        let pool = ThreadPool::with_name("slow".into(), 1);
        Pool {
            more: Mutex::new(pool.clone()),
            pool,
        }
    }

    fn execute(&self, job: impl FnOnce() + Send + 'static) {
        self.pool.execute(job);
        // after it was counted, so that of two who come at once the second sees both
        if self.wanted() > self.pool.max_count() {
            let mut pool = self.more.lock();
            let wanted = self.wanted();
            if wanted > pool.max_count() {
                pool.set_num_threads(wanted);
            }
        }
    }

    fn wanted(&self) -> usize {
        (self.pool.queued_count() + self.pool.active_count()).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn as_many_at_once_as_there_can_be() {
        let slow = Slow::default();
        let all = Arc::new(Barrier::new(MOST + 1));
        for _ in 0..MOST {
            let all = all.clone();
            slow.execute(move || {
                all.wait();
            });
        }
        // comes back only if all of them run at the same time
        all.wait();
        let pool = &slow.0.get().unwrap().pool;
        assert_eq!(pool.max_count(), MOST);
        pool.join();
        slow.execute(|| {});
        pool.join();
        assert_eq!(pool.max_count(), MOST);
    }
}
