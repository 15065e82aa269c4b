//! Requests by way of io_uring: the kernel leaves each in memory that both see, in a queue of the
//! processor that the caller runs on.
//!
//! A thread that stays on that processor answers it there. So nobody has to be woken on another
//! processor, which is what a message by `/dev/fuse` costs most: 10 microseconds instead of 25 to
//! 50 on the machine of `docs/performance.md`. What may take long is passed on, with the message
//! that it is about, and comes back when it is answered.
//!
//! The kernel still sends by `/dev/fuse` what needs no answer; see [`super::device`].

use super::adapter::Adapter;
use super::answer::Patience;
use super::session::{Reply, longest_body, respond};
use super::slow::Slow;
use super::watch::Watch;
use super::wire::{Args, InHeader, OutHeader, WRITE};
use crate::sys::cpus;
use crate::sys::process::trim_memory;
use crate::sys::sched::Tid;
use crate::sys::uring::{Message, Parts, Ring, Waker};
use crate::vfs::error::Context;
use crate::vfs::{Error, Result};
use nix::errno::Errno;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use zerocopy::IntoBytes;

/// Messages that a queue holds at a time. The kernel keeps what is more.
const DEPTH: usize = 8;

/// More threads than this would each have too little to do.
const THREADS: usize = 64;

/// The queues that one thread serves, and the processors that it stays on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Share {
    queues: Vec<u16>,
    cpus: Vec<u16>,
}

/// Divides the queues: each processor's to a thread on it, as far as this process may run there.
fn shares(possible: &[u16], allowed: &[u16]) -> Vec<Share> {
    let threads = allowed.len().clamp(1, THREADS);
    let mut shares: Vec<Share> = (0..threads).map(|_| Share::default()).collect();
    let (mut own, mut others) = ((0..threads).cycle(), (0..threads).cycle());
    for cpu in possible {
        let is_allowed = allowed.contains(cpu);
        let turn = if is_allowed { &mut own } else { &mut others };
        if let Some(share) = turn.next().and_then(|i| shares.get_mut(i)) {
            share.queues.push(*cpu);
            if is_allowed {
                share.cpus.push(*cpu);
            }
        }
    }
    shares
}

/// Starts the threads; returns when all queues are there, for the kernel sends nothing before.
pub(super) fn start(adapter: &Arc<Adapter>, slow: &Slow) -> Result<Vec<JoinHandle<()>>> {
    let possible = cpus::possible()?;
    let allowed = cpus::allowed(&possible)?;
    let (ready, is_ready) = channel();
    let watch = Arc::new(Watch::default());
    let up = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for (i, share) in shares(&possible, &allowed).into_iter().enumerate() {
        let (adapter, slow) = (adapter.clone(), slow.clone());
        let (ready, up, watch) = (ready.clone(), up.clone(), watch.clone());
        let thread = std::thread::Builder::new()
            .name(format!("ring-{i}"))
            .spawn(move || {
                let served = catch_unwind(AssertUnwindSafe(|| {
                    serve((&adapter, &slow), &share, &watch, &ready)
                }));
                let panicked = || Err(Error::because(Errno::EIO, "a panic"));
                if let Err(e) = served.unwrap_or_else(|_| panicked()) {
                    let e = e.context(format!("queues {:?}", share.queues));
                    if up.load(Ordering::Acquire) {
                        // whoever asked there would wait for ever; without this process, they hear
                        log::error!("{e}");
                        std::process::abort();
                    }
                    ready.send(Err(e)).ok(); // unless another has failed before
                }
            })?;
        threads.push(thread);
    }
    drop(ready);
    for _ in &threads {
        let gone = || Error::because(Errno::EIO, "a thread ended before its queues were there");
        is_ready.recv().map_err(|_| gone())??;
    }
    up.store(true, Ordering::Release);
    watch.start()?;
    Ok(threads)
}

/// Answers what comes by these queues, until the mount is gone.
fn serve(
    (adapter, slow): (&Arc<Adapter>, &Slow),
    share: &Share,
    watch: &Arc<Watch>,
    ready: &Sender<Result<()>>,
) -> Result<()> {
    if let Err(e) = Tid::current().stay_on(&share.cpus) {
        log::debug!(
            "the thread of processors {:?} may run anywhere: {e}",
            share.cpus
        );
    }
    let room = longest_body(&adapter.options);
    let device = adapter.device.clone();
    let mut ring = Ring::register(device, &share.queues, DEPTH, room)?;
    let answered = Arc::new(Answered {
        messages: Mutex::default(),
        waker: ring.waker(),
    });
    let worker = watch.join(None);
    if ready.send(Ok(())).is_err() {
        return Ok(()); // another thread has failed
    }
    loop {
        let woken = ring.wait().context(|| "waiting for requests")?;
        let mut messages = woken.messages.into_iter();
        while let Some(mut message) = messages.next() {
            worker.answered();
            if reply(adapter, &mut message, Patience::None) {
                ring.answer(message)?;
                if !messages.as_slice().is_empty() {
                    ring.flush()?; // or it would wait for the next one's answer
                }
            } else {
                let adapter = adapter.clone();
                let debt = Debt(Some(message), answered.clone());
                slow.execute(move || debt.pay(&adapter));
            }
        }
        if woken.called {
            for message in std::mem::take(&mut *answered.messages.lock()) {
                ring.answer(message)?;
            }
        }
        if woken.ended {
            return Ok(());
        }
        if woken.idle {
            trim_memory(); // what was needed meanwhile, as for the start of a container
        }
    }
}

/// Messages that other threads have answered.
#[derive(Debug)]
struct Answered {
    messages: Mutex<Vec<Message>>,
    waker: Waker,
}

/// A message that somebody waits for, even if what was to answer it panics.
#[derive(Debug)]
struct Debt(Option<Message>, Arc<Answered>);

impl Debt {
    fn pay(mut self, adapter: &Adapter) {
        if let Some(message) = &mut self.0 {
            reply(adapter, message, Patience::Any);
        }
        if let Some(message) = self.0.take() {
            self.1.give_back(message);
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        if let Some(mut message) = self.0.take() {
            fail(&mut message);
            self.1.give_back(message);
        }
    }
}

impl Answered {
    fn give_back(&self, message: Message) {
        self.messages.lock().push(message);
        if let Err(e) = self.waker.wake() {
            log::error!("an answer is late: {e}");
        }
    }
}

/// Puts an error in the place of an answer.
fn fail(message: &mut Message) {
    let unique = InHeader::parse(message.parts().header).map_or(0, |(header, _)| header.unique);
    message.finish(OutHeader::new(unique, Some(Errno::EIO), 0).as_bytes(), 0);
}

/// Puts the answer to a message in its place. False: later.
fn reply(adapter: &Adapter, message: &mut Message, patience: Patience) -> bool {
    thread_local! {
        /// For the smaller one of request and answer, which share a place in the message.
        static SMALL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let answered = SMALL.with_borrow_mut(|small| {
        let Parts {
            header,
            fixed,
            payload,
            len,
        } = message.parts();
        let (header, _) = InHeader::parse(header)?;
        let given = payload.get_mut(..len).unwrap_or_default();
        Ok::<_, Error>(if header.opcode == WRITE {
            let room = &mut [0; 64];
            let reply = respond(adapter, &header, Args::split(fixed, given), patience, room);
            if let Reply::Now(_, used) = reply {
                let body = room.get(..used).unwrap_or_default();
                payload
                    .get_mut(..used)
                    .unwrap_or_default()
                    .copy_from_slice(body);
            }
            reply
        } else {
            small.clear();
            small.extend_from_slice(given);
            let args = Args::split(fixed, small);
            let reply = respond(adapter, &header, args, patience, payload);
            if matches!(reply, Reply::Later) {
                // a first try may have left something in the place of the request
                payload
                    .get_mut(..len)
                    .unwrap_or_default()
                    .copy_from_slice(small);
            }
            reply
        })
    });
    match answered {
        Ok(Reply::Later) => return false,
        Ok(Reply::Now(header, body)) => message.finish(header.as_bytes(), body),
        // what needs no answer does not come this way
        Ok(Reply::Silent) => fail(message),
        Err(e) => {
            log::error!("{e}");
            fail(message);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(queues: &[u16], cpus: &[u16]) -> Share {
        Share {
            queues: queues.to_vec(),
            cpus: cpus.to_vec(),
        }
    }

    #[test]
    fn every_processor_has_a_thread_of_its_own() {
        let got = shares(&[0, 1], &[0, 1]);
        assert_eq!(got, [share(&[0], &[0]), share(&[1], &[1])]);
    }

    #[test]
    fn queues_of_other_processors_are_served_too() {
        let got = shares(&[0, 1, 2, 3], &[1, 3]);
        assert_eq!(got, [share(&[0, 1], &[1]), share(&[2, 3], &[3])]);
    }

    #[test]
    fn a_large_machine_has_threads_for_several_processors() {
        let all: Vec<u16> = (0..130).collect();
        let got = shares(&all, &all);
        assert_eq!(got.len(), THREADS);
        assert_eq!(got[1], share(&[1, 65, 129], &[1, 65, 129]));
        let queues: usize = got.iter().map(|s| s.queues.len()).sum();
        assert_eq!(queues, all.len());
    }
}
