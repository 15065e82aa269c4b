//! The order of things: rounds; in each, every operation at every depth in random order; in
//! each of those, every peer in random order. So drift of the machine hits all alike.

use super::Options;
use super::bed::{Access, Bed, Cold};
use super::cut::Stack;
use super::failure::{Failure, Result, go_on};
use super::fixture::Fixtures;
use super::images::Images;
use super::manifest::Manifest;
use super::ops::{Depths, Op};
use super::peers::{How, Peer};
use super::results::{Results, Taken};
use super::rng::Rng;
use super::scratch::Scratch;
use super::work::Work;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// A peer that failed an operation so often is not asked again.
const FAILURES: usize = 2;

/// What a run works with.
pub struct Runner<'a> {
    /// What the user wants.
    pub options: &'a Options,
    /// Whom to measure.
    pub peers: &'a [Peer],
    /// What to measure, each with the place of its first metric in the results.
    pub ops: &'a [(usize, Box<dyn Op>)],
    /// One stack for each depth.
    pub stacks: &'a [Stack],
    /// The merged tree.
    pub source: &'a Path,
    /// What is in it.
    pub manifest: &'a Manifest,
    /// What to work on.
    pub work: &'a Work,
    /// Further things to work on.
    pub fixtures: &'a Fixtures<'a>,
    /// The stacks as stored images.
    pub images: &'a Images<'a>,
    /// Where to put things.
    pub scratch: &'a Scratch,
    /// How caches are made cold.
    pub cold: Cold,
    /// When the run began.
    pub begun: Instant,
}

impl Runner<'_> {
    /// Measures. What was found before an interruption stays found.
    pub fn run(&self, results: &mut Results) -> Result<()> {
        match self.rounds(results) {
            Err(Failure::Interrupted) => {
                results.interrupted = true;
                Ok(())
            }
            other => other,
        }
    }

    fn rounds(&self, results: &mut Results) -> Result<()> {
        let expected = self.reference()?;
        let mut rng = Rng::new(self.options.seed, "order");
        for round in 0..self.options.rounds {
            let mut turns = self.turns();
            rng.shuffle(&mut turns);
            let total = turns.len();
            for (done, (op, stack)) in turns.into_iter().enumerate() {
                if let Some(limit) = self.options.max_time.filter(|l| self.begun.elapsed() > *l) {
                    let minutes = limit.as_secs_f64() / 60.0;
                    results.left_out.push(format!(
                        "what was not measured after {minutes:.0} minutes (--max-time): {done} of {total} \
                         rows were done in round {} of {}",
                        round + 1,
                        self.options.rounds
                    ));
                    self.progress(round, 0, 0);
                    return Ok(());
                }
                self.progress(round, done, total);
                let mut order: Vec<usize> = (0..self.peers.len()).collect();
                rng.shuffle(&mut order);
                for peer in order {
                    go_on()?;
                    self.measure(round, op, stack, peer, &expected, results)?;
                }
            }
        }
        self.progress(self.options.rounds, 0, 0);
        Ok(())
    }

    /// Every operation at every depth where it is done, as places in the lists.
    fn turns(&self) -> Vec<(usize, usize)> {
        let mut turns = Vec::new();
        for (i, (_, op)) in self.ops.iter().enumerate() {
            let last = self.stacks.len() - 1;
            let at: Vec<usize> = match op.depths() {
                Depths::All => (0..=last).collect(),
                Depths::Ends if last > 0 => vec![0, last],
                Depths::Ends | Depths::Own(_) => vec![0],
            };
            turns.extend(at.into_iter().map(|s| (i, s)));
        }
        turns
    }

    /// What each operation sees on a plain directory: what it must see on every peer. It makes
    /// the fixtures too, and warms what is to be warm.
    fn reference(&self) -> Result<HashMap<(usize, usize), u64>> {
        let plain = Peer {
            name: "plain".into(),
            how: How::Plain,
            version: String::new(),
        };
        let mut expected = HashMap::new();
        for (i, (_, op)) in self.ops.iter().enumerate() {
            let bed = self.bed(&plain, 0);
            if op.skips(&bed).is_some() {
                continue; // as without privilege, where its caches cannot be made cold: no reference
            }
            for sample in op
                .run(&bed)
                .map_err(|e| e.context("the operation on a plain directory"))?
            {
                expected.insert((i, sample.metric), sample.check);
            }
        }
        Ok(expected)
    }

    fn bed<'b>(&'b self, peer: &'b Peer, stack: usize) -> Bed<'b> {
        Bed {
            peer,
            stack: &self.stacks[stack],
            source: self.source,
            manifest: self.manifest,
            work: self.work,
            fixtures: self.fixtures,
            images: self.images,
            vellum: &self.options.vellum,
            scratch: self.scratch,
            cold: self.cold,
            limit: Duration::from_secs(self.options.limit),
        }
    }

    fn measure(
        &self,
        round: usize,
        op_at: usize,
        stack: usize,
        peer_at: usize,
        expected: &HashMap<(usize, usize), u64>,
        results: &mut Results,
    ) -> Result<()> {
        let (first, op) = &self.ops[op_at];
        let first = *first;
        let peer = &self.peers[peer_at];
        let depth = match op.depths() {
            Depths::Own(depth) => depth,
            Depths::All | Depths::Ends => self.stacks[stack].layers.len(),
        };
        let bed = self.bed(peer, stack);
        let skip = |why: &str, results: &mut Results| {
            for m in 0..op.metrics().len() {
                results.cell((first + m, depth, peer_at)).skipped = Some(why.to_owned());
            }
        };
        let reads_only = op.access() == Access::Write && !peer.copies_up();
        let why = match reads_only {
            true => Some("it copies nothing up: layers cannot be changed"),
            false => op.skips(&bed),
        };
        if let Some(why) = why {
            skip(why, results);
            return Ok(());
        }
        if results.cell((first, depth, peer_at)).failures.len() >= FAILURES {
            return Ok(());
        }
        let outcome = op.run(&bed).and_then(|samples| {
            go_on()?; // what a signal broke is no result
            for s in &samples {
                if expected
                    .get(&(op_at, s.metric))
                    .is_some_and(|e| *e != s.check)
                {
                    return Err(Failure::new(
                        "it saw something else than a plain directory shows",
                    ));
                }
            }
            Ok(samples)
        });
        match outcome {
            Ok(samples) => {
                for s in samples {
                    let cell = results.cell((first + s.metric, depth, peer_at));
                    cell.samples.push(Taken {
                        round,
                        value: s.value,
                        latency: s.latency,
                    });
                }
            }
            Err(Failure::Failed(why)) => {
                for m in 0..op.metrics().len() {
                    results
                        .cell((first + m, depth, peer_at))
                        .failures
                        .push(why.clone());
                }
            }
            Err(Failure::Limit(why)) => skip(&why, results),
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
        }
        Ok(())
    }

    fn progress(&self, round: usize, done: usize, total: usize) {
        if !self.options.progress {
            return;
        }
        let text = match total {
            0 => String::new(),
            _ => format!(
                "round {} of {}: {done} of {total}",
                round + 1,
                self.options.rounds
            ),
        };
        let mut err = std::io::stderr();
        // progress that cannot be shown is no reason to stop
        if write!(err, "\r\x1b[K{text}")
            .and_then(|()| err.flush())
            .is_err()
        {
            log::debug!("no progress shown");
        }
    }
}
