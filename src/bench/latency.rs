//! How long single calls took: the distribution beside the throughput.

use serde::{Deserialize, Serialize};
use std::time::Instant;

/// The quantiles that are kept of a run.
pub const QUANTILES: [f64; 12] = [
    0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0,
];

/// Seconds at each of [`QUANTILES`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency(pub Vec<f64>);

impl Latency {
    /// Seconds at one of the quantiles that are kept.
    pub fn at(&self, quantile: f64) -> Option<f64> {
        let place = QUANTILES.iter().position(|q| *q == quantile)?;
        self.0.get(place).copied()
    }

    /// Of calls that took so many nanoseconds; `None` of none.
    pub fn of(mut nanoseconds: Vec<u64>) -> Option<Latency> {
        nanoseconds.sort_unstable();
        let last = nanoseconds.len().checked_sub(1)?;
        let at = |q: &f64| {
            // the call that so many are not slower than: no call is made up between two
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to len"
            )]
            let place = ((q * nanoseconds.len() as f64).ceil() as usize).saturating_sub(1);
            nanoseconds[place.min(last)] as f64 / 1e9
        };
        Some(Latency(QUANTILES.iter().map(at).collect()))
    }
}

/// Takes the time of calls, or does not: the clock costs some tens of nanoseconds itself, which is
/// little of what is cold and much of what is warm.
#[derive(Debug, Default)]
pub struct Watch {
    times: Option<Vec<u64>>,
}

impl Watch {
    /// One that looks away.
    pub fn off() -> Watch {
        Watch::default()
    }

    /// One for about so many calls.
    pub fn on(calls: usize) -> Watch {
        Watch {
            times: Some(Vec::with_capacity(calls)),
        }
    }

    /// Does it.
    pub fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let Some(times) = &mut self.times else {
            return call();
        };
        let start = Instant::now();
        let done = call();
        times.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
        done
    }

    /// What it saw; `None` if it looked away.
    pub fn latency(self) -> Option<Latency> {
        self.times.and_then(Latency::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_calls_that_were_made() {
        let l = Latency::of((1..=1000).rev().map(|n| n * 1000).collect()).unwrap();
        for (q, want) in [(0.0, 1e-6), (0.5, 500e-6), (0.99, 990e-6), (0.999, 999e-6)] {
            assert_eq!(l.at(q), Some(want), "{q}");
        }
        assert_eq!(l.at(1.0), Some(1e-3));
        assert_eq!(l.at(0.42), None);
        assert_eq!(Latency::of(vec![7]).unwrap().at(0.0), Some(7e-9));
        assert_eq!(Latency::of(Vec::new()), None);
    }

    #[test]
    fn a_watch_that_is_on_has_a_time_for_every_call() {
        let mut on = Watch::on(3);
        for ms in [0, 0, 5] {
            on.time(|| std::thread::sleep(std::time::Duration::from_millis(ms)));
        }
        let l = on.latency().unwrap();
        assert!(
            l.at(1.0).unwrap() >= 0.005 && l.at(0.5).unwrap() < 0.005,
            "{l:?}"
        );
        let mut off = Watch::off();
        assert_eq!(off.time(|| 3), 3);
        assert_eq!(off.latency(), None);
    }
}
