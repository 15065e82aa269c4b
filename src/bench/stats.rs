//! What a handful of samples says: the middle, the spread, and whether two differ at all.

use serde::{Deserialize, Serialize};

/// The summary of the samples of one metric of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of samples.
    pub n: usize,
    /// The median.
    pub median: f64,
    /// The first quartile.
    pub q1: f64,
    /// The third quartile.
    pub q3: f64,
    /// The median of the distances to the median.
    pub mad: f64,
}

/// What a greater number means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A rate: more is better.
    Higher,
    /// A time or a size: less is better.
    Lower,
}

/// How two summaries compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// How many times better ours is: above 1 better, below 1 worse, for rates and times alike.
    pub times: f64,
    /// True if the difference is beyond the spread of the samples; false as well when there is
    /// one sample only, whose spread nobody knows.
    pub clear: bool,
}

impl Summary {
    /// Summarizes; `None` without samples.
    pub fn of(samples: &[f64]) -> Option<Summary> {
        let mut v: Vec<f64> = samples.to_vec();
        v.sort_by(f64::total_cmp);
        let median = quantile(&v, 0.5)?;
        let mut distances: Vec<f64> = v.iter().map(|x| (x - median).abs()).collect();
        distances.sort_by(f64::total_cmp);
        Some(Summary {
            n: v.len(),
            median,
            q1: quantile(&v, 0.25)?,
            q3: quantile(&v, 0.75)?,
            mad: quantile(&distances, 0.5)?,
        })
    }

    /// Half the interquartile range, in per cent of the median: what the table shows after ±.
    pub fn spread_percent(&self) -> f64 {
        match self.median == 0.0 {
            true => 0.0,
            false => 100.0 * (self.q3 - self.q1) / 2.0 / self.median.abs(),
        }
    }

    /// Compares with a rival's. The difference is clear when the middle halves of the samples
    /// do not touch.
    pub fn against(&self, rival: &Summary, better: Better) -> Ratio {
        let times = match better {
            Better::Higher => self.median / rival.median,
            Better::Lower => rival.median / self.median,
        };
        let apart = self.q1 > rival.q3 || self.q3 < rival.q1;
        Ratio {
            times,
            clear: apart && self.n > 1 && rival.n > 1,
        }
    }
}

/// The quantile of sorted samples, interpolated between neighbours (type 7 of Hyndman and Fan).
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q * last as f64;
    let low = at.floor();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to len"
    )]
    let i = low as usize;
    let (a, b) = (sorted[i], sorted[(i + 1).min(last)]);
    Some(a + (b - a) * (at - low))
}

/// The probability that two sets of samples differ as much as these or more by chance alone: the test of
/// Mann and Whitney, two-sided. Exact, but for ties, which count half.
pub fn chance(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x, y)));
    let u: f64 = pairs
        .map(|(x, y)| match x.total_cmp(y) {
            std::cmp::Ordering::Less => 0.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Greater => 1.0,
        })
        .sum();
    let most = a.len() * b.len();
    let smaller = u.min(most as f64 - u);
    let ways = ways(a.len(), b.len());
    let all: f64 = ways.iter().sum();
    let tail: f64 = ways
        .iter()
        .enumerate()
        .filter(|(i, _)| *i as f64 <= smaller)
        .map(|(_, w)| w)
        .sum();
    (2.0 * tail / all).min(1.0)
}

/// In how many of the orders of `n` and `m` samples so many pairs are the wrong way round, for each number
/// of pairs: the coefficients of a Gaussian binomial.
fn ways(n: usize, m: usize) -> Vec<f64> {
    let most = n * m;
    let mut ways = vec![0.0; most + 1];
    ways[0] = 1.0;
    for i in 1..=n {
        // times (1 - q^(m+i)), then divided by (1 - q^i)
        for k in (m + i..=most).rev() {
            ways[k] -= ways[k - m - i];
        }
        for k in i..=most {
            ways[k] += ways[k - i];
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_quartiles() {
        let s = Summary::of(&[7.0, 15.0, 36.0, 39.0, 40.0, 41.0]).unwrap();
        assert_eq!((s.q1, s.median, s.q3), (20.25, 37.5, 39.75));
        assert_eq!(s.n, 6);
        // distances: 30.5 22.5 1.5 1.5 2.5 3.5
        assert_eq!(s.mad, 3.0);
        assert!((s.spread_percent() - 26.0).abs() < 1e-9);
    }

    #[test]
    fn one_sample_and_none() {
        let s = Summary::of(&[5.0]).unwrap();
        assert_eq!((s.median, s.q1, s.q3, s.mad), (5.0, 5.0, 5.0, 0.0));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        let s = Summary::of(&[10.0, 10.0, 10.0, 10.0, 1e9]).unwrap();
        assert_eq!((s.median, s.mad), (10.0, 0.0));
    }

    #[test]
    fn a_difference_within_the_spread_is_not_clear() {
        let a = Summary::of(&[90.0, 100.0, 110.0]).unwrap();
        let b = Summary::of(&[95.0, 105.0, 115.0]).unwrap();
        let c = Summary::of(&[190.0, 200.0, 210.0]).unwrap();
        assert!(!a.against(&b, Better::Higher).clear);
        assert!(a.against(&c, Better::Higher).clear);
    }

    #[test]
    fn better_is_above_one_for_rates_and_times() {
        let small = Summary::of(&[50.0, 50.0]).unwrap();
        let large = Summary::of(&[100.0, 100.0]).unwrap();
        assert_eq!(large.against(&small, Better::Higher).times, 2.0);
        assert_eq!(small.against(&large, Better::Lower).times, 2.0);
        assert_eq!(large.against(&small, Better::Lower).times, 0.5);
    }

    #[test]
    fn chances_of_mann_and_whitney() {
        // tables: U = 0 at 5 and 5 is 2/252, at 3 and 4 it is 2/35; U = 2 at 5 and 5 is 8/252
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        let five = [1.0, 2.0, 3.0, 4.0, 5.0];
        let above = [6.0, 7.0, 8.0, 9.0, 10.0];
        assert!(close(chance(&five, &above), 2.0 / 252.0));
        assert!(close(chance(&above, &five), 2.0 / 252.0));
        assert!(close(chance(&five[..3], &above[..4]), 2.0 / 35.0));
        let nearly = [1.0, 2.0, 3.0, 4.0, 7.5];
        assert!(close(chance(&nearly, &above), 8.0 / 252.0));
        assert!(close(chance(&five, &five), 1.0));
        assert!(close(chance(&[], &five), 1.0));
        assert!(close(ways(4, 6).iter().sum::<f64>(), 210.0));
        assert!(close(ways(30, 30)[0], 1.0));
    }

    #[test]
    fn one_sample_is_never_clear() {
        let a = Summary::of(&[1.0]).unwrap();
        let b = Summary::of(&[100.0]).unwrap();
        assert!(!a.against(&b, Better::Higher).clear);
    }
}
