//! Threads for what may take long. They are made as they are needed: most mounts, as that of a container
//! which lives for a moment, need few or none, and sixteen cost some milliseconds on a busy machine.

use crate::sys::cpus::Processors;
use crate::sys::sched::Tid;
use crate::vfs::Result;
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::{Arc, OnceLock};
use threadpool::ThreadPool;

/// How many there can be.
const MOST: usize = 16;

/// The threads.
#[derive(Clone, Debug)]
pub(super) struct Slow {
    pool: Arc<OnceLock<Pool>>,
    /// Where they may run.
    processors: Processors,
}

#[derive(Debug)]
struct Pool {
    pool: ThreadPool,
    /// The same, for who makes more.
    more: Mutex<ThreadPool>,
}

impl Slow {
    /// None yet. They will run wherever this thread may.
    pub(super) fn new() -> Result<Slow> {
        Ok(Slow {
            pool: Arc::default(),
            processors: Processors::allowed()?,
        })
    }

    /// Has one of them do it. As long as there can be more of them, none of what is to be done waits for
    /// another.
    pub(super) fn execute(&self, job: impl FnOnce() + Send + 'static) {
        let processors = self.processors.clone();
        self.pool.get_or_init(Pool::new).execute(move || {
            settle(&processors);
            job();
        });
    }
}

/// A new thread is scheduled as the one that made it, which may stay on one processor, and give way to all
/// others there ([`super::watch`]). Who waits for what takes long would wait for them, too.
fn settle(processors: &Processors) {
    thread_local! {
        static SETTLED: Cell<bool> = const { Cell::new(false) };
    }
    if !SETTLED.replace(true) {
        let this = Tid::current();
        let settled = this.yields(false).and_then(|()| processors.open_to(this));
        if let Err(e) = settled {
            log::warn!("a thread for what may take long is scheduled as others are: {e}");
        }
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
    use crate::sys::sched::may_stop_yielding;
    use std::sync::Barrier;

    #[test]
    fn who_made_them_may_give_way_but_they_do_not() {
        let all = Processors::allowed().unwrap();
        let slow = Slow::new().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let maker = std::thread::spawn(move || {
            let here = u16::try_from(Processors::here()).unwrap();
            Tid::current().stay_on(&[here]).unwrap();
            if may_stop_yielding() {
                Tid::current().yields(true).unwrap();
            }
            slow.execute(move || {
                let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
                tell.send((stat, Processors::allowed().unwrap())).unwrap();
            });
        });
        maker.join().unwrap();
        let (stat, allowed) = told.recv().unwrap();
        assert_eq!(allowed, all);
        // proc_pid_stat(5): the 3rd value follows the name, the 41st is the policy
        let (_, values) = stat.rsplit_once(')').unwrap();
        let policy = values.split_whitespace().nth(41 - 3);
        assert_eq!(policy, Some("0"), "not SCHED_OTHER");
    }

    #[test]
    fn as_many_at_once_as_there_can_be() {
        let slow = Slow::new().unwrap();
        let all = Arc::new(Barrier::new(MOST + 1));
        for _ in 0..MOST {
            let all = all.clone();
            slow.execute(move || {
                all.wait();
            });
        }
        // comes back only if all of them run at the same time
        all.wait();
        let pool = &slow.pool.get().unwrap().pool;
        assert_eq!(pool.max_count(), MOST);
        pool.join();
        slow.execute(|| {});
        pool.join();
        assert_eq!(pool.max_count(), MOST);
    }
}
