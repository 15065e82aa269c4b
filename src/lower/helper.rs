//! A second thread for work that is in many parts.
//!
//! A directory that is met for the first time is opened and read in every layer that has it, which takes
//! microseconds for each. Where they are many, a helper is called. Both threads take the next part that nobody
//! has taken yet, so a helper that gets no processor is not waited for.

use crate::vfs::{Error, Result};
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};

/// The thread, which begins with the first call and ends when this is dropped.
#[derive(Debug, Default)]
pub struct Helper {
    /// `None` where there is one processor, or no thread to be had.
    calls: OnceLock<Option<Sender<Arc<dyn Help>>>>,
}

trait Help: Send + Sync {
    fn help(&self);
}

/// Work in parts.
struct Work<R, F> {
    each: F,
    parts: usize,
    /// The next one that nobody has taken.
    next: AtomicUsize,
    done: Mutex<Done<R>>,
    all: Condvar,
}

struct Done<R> {
    results: Vec<Option<Result<R>>>,
    missing: usize,
}

impl Helper {
    /// Calls `each` for every number below `parts`: the results in their order, or the first error of them.
    pub fn share<R, F>(&self, parts: usize, each: F) -> Result<Vec<R>>
    where
        R: Send + 'static,
        F: Fn(usize) -> Result<R> + Send + Sync + 'static,
    {
        let work = Arc::new(Work {
            each,
            parts,
            next: AtomicUsize::new(0),
            done: Mutex::new(Done {
                results: (0..parts).map(|_| None).collect(),
                missing: parts,
            }),
            all: Condvar::new(),
        });
        if let Some(calls) = self.calls.get_or_init(begin) {
            // if it has ended, this thread does it alone
            calls.send(work.clone()).ok();
        }
        work.help();
        let mut done = work.done.lock();
        while done.missing > 0 {
            work.all.wait(&mut done);
        }
        let lost = || Err(Error::because(Errno::EIO, "a part of the work was lost"));
        let results = std::mem::take(&mut done.results);
        results
            .into_iter()
            .map(|r| r.unwrap_or_else(lost))
            .collect()
    }
}

fn begin() -> Option<Sender<Arc<dyn Help>>> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return None;
    }
    let (calls, called) = channel::<Arc<dyn Help>>();
    let thread = std::thread::Builder::new()
        .name("layers".into())
        .spawn(move || {
            while let Ok(work) = called.recv() {
                work.help();
            }
        });
    match thread {
        Ok(_) => Some(calls),
        Err(e) => {
            log::debug!("no second thread for many layers: {e}");
            None
        }
    }
}

impl<R, F> Help for Work<R, F>
where
    R: Send,
    F: Fn(usize) -> Result<R> + Send + Sync,
{
    fn help(&self) {
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= self.parts {
                return;
            }
            // whoever waits for this part must hear of it
            let panicked = |_| Err(Error::because(Errno::EIO, "a panic"));
            let result = catch_unwind(AssertUnwindSafe(|| (self.each)(part)));
            let mut done = self.done.lock();
            if let Some(place) = done.results.get_mut(part) {
                *place = Some(result.unwrap_or_else(panicked));
            }
            done.missing -= 1;
            if done.missing == 0 {
                self.all.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    #[test]
    fn results_come_in_order_and_from_two_threads() {
        let helper = Helper::default();
        for parts in [0, 1, 2, 1000] {
            let got = helper.share(parts, |i| Ok(i * 2)).unwrap();
            assert!(got.iter().copied().eq((0..parts).map(|i| i * 2)), "{parts}");
        }
        let slow = |_| {
            std::thread::sleep(Duration::from_millis(2));
            Ok(std::thread::current().id())
        };
        let threads: HashSet<_> = helper.share(50, slow).unwrap().into_iter().collect();
        let many = std::thread::available_parallelism().unwrap().get() > 1;
        assert_eq!(threads.len(), if many { 2 } else { 1 });
    }

    #[test]
    fn an_error_and_a_panic_are_told() {
        let helper = Helper::default();
        let fails = |i| match i {
            7 => Err(Error::new(Errno::EACCES)),
            i => Ok(i),
        };
        assert!(helper.share(10, fails).unwrap_err().is(Errno::EACCES));
        for bad in [0, 5, 9] {
            let panics = move |i| {
                std::thread::sleep(Duration::from_millis(1));
                assert_ne!(i, bad);
                Ok(i)
            };
            assert!(helper.share(10, panics).unwrap_err().is(Errno::EIO));
        }
        assert_eq!(helper.share(3, Ok).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn many_may_call_at_once() {
        let helper = Helper::default();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let helper = &helper;
                scope.spawn(move || {
                    for round in 0..200 {
                        let got = helper.share(20, move |i| Ok(i + n + round)).unwrap();
                        assert!(got.into_iter().eq((0..20).map(|i| i + n + round)));
                    }
                });
            }
        });
    }
}
