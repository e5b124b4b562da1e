//! Statistics of many cases.

use super::ranks::Ranks;
use crate::{Error, Result, Rng};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

/// The arithmetic mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample standard deviation (divided by `n - 1`); NaN of fewer than two values.
pub fn standard_deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let centre = mean(values);
    let squares: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// The median; NaN of nothing.
pub fn median(values: &[f64]) -> f64 {
    percentile(values, 50.0)
}

/// A percentile (0 to 100) with linear interpolation between order statistics; NaN of nothing.
///
/// At place `percent / 100 * (n - 1)` of the ascending values; `percent` is clamped to its range.
pub fn percentile(values: &[f64], percent: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let mut values = values.to_vec();
    let place = percent.clamp(0.0, 100.0) / 100.0 * (values.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    if part == 0.0 {
        return low;
    }
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    low + part * (high - low)
}

/// Count, centre and spread of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Sample standard deviation; NaN of one value.
    pub standard_deviation: f64,
    /// Median.
    pub median: f64,
    /// 95th percentile.
    pub p95: f64,
    /// The smallest.
    pub minimum: f64,
    /// The largest.
    pub maximum: f64,
}

impl Summary {
    /// The summary of many positive or zero values, none of them NaN, by all threads; `None` of nothing.
    pub(super) fn of_sizes(values: &[f32]) -> Option<Self> {
        const CHUNK: usize = 1 << 14;
        let sum = |term: &(dyn Fn(f64) -> f64 + Sync)| -> f64 {
            let parts: Vec<f64> = values
                .par_chunks(CHUNK)
                .map(|chunk| chunk.iter().map(|&v| term(f64::from(v))).sum())
                .collect();
            parts.iter().sum()
        };
        if values.is_empty() {
            return None;
        }
        let mean = sum(&|v| v) / values.len() as f64;
        let squares = sum(&|v| (v - mean) * (v - mean));
        let ranks = Ranks::new(values);
        Some(Self {
            count: values.len(),
            mean,
            standard_deviation: if values.len() < 2 {
                f64::NAN
            } else {
                (squares / (values.len() - 1) as f64).sqrt()
            },
            median: ranks.percentile(50.0),
            p95: ranks.percentile(95.0),
            minimum: ranks.percentile(0.0),
            maximum: ranks.percentile(100.0),
        })
    }

    /// The summary of some values; `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        (!values.is_empty()).then(|| Self {
            count: values.len(),
            mean: mean(values),
            standard_deviation: standard_deviation(values),
            median: median(values),
            p95: percentile(values, 95.0),
            minimum: values.iter().copied().fold(f64::INFINITY, f64::min),
            maximum: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "mean {:.4}, median {:.4}, 95 % {:.4}, largest {:.4}, n = {}",
            self.mean, self.median, self.p95, self.maximum, self.count
        )
    }
}

/// The outcome of a paired test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairedTest {
    /// Pairs that took part.
    pub pairs: usize,
    /// `t`, or Wilcoxon's smaller rank sum.
    pub statistic: f64,
    /// Two-sided probability of a statistic as extreme under the hypothesis of no difference.
    pub p: f64,
}

/// The differences `a - b` of paired values.
fn differences(a: &[f64], b: &[f64]) -> Result<Vec<f64>> {
    if a.len() != b.len() || a.is_empty() {
        return Err(Error::argument(
            "paired values",
            format!(
                "expected two lists of one positive length, got {} and {} values",
                a.len(),
                b.len()
            ),
        ));
    }
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    if differences.iter().any(|d| !d.is_finite()) {
        return Err(Error::argument(
            "paired values",
            "expected finite values, got NaN or infinity",
        ));
    }
    Ok(differences)
}

/// The paired t-test, two-sided: `t = mean(d) / (sd(d) / sqrt(n))` with `d = a - b`, `n - 1` degrees of freedom.
///
/// Differences that are all equal give `p = 0`, or 1 if they are all zero.
///
/// # Errors
/// [`Error::InvalidArgument`] when the lists differ in length, have fewer than two values or are not finite.
pub fn paired_t_test(a: &[f64], b: &[f64]) -> Result<PairedTest> {
    let d = differences(a, b)?;
    if d.len() < 2 {
        return Err(Error::argument(
            "paired values",
            "a t-test needs at least two pairs, got one",
        ));
    }
    let centre = mean(&d);
    let t = match standard_deviation(&d) / (d.len() as f64).sqrt() {
        0.0 if centre == 0.0 => 0.0,
        error => centre / error,
    };
    let freedom = (d.len() - 1) as f64;
    let p = if t.is_infinite() {
        0.0
    } else {
        incomplete_beta(freedom / (freedom + t * t), 0.5 * freedom, 0.5)
    };
    Ok(PairedTest {
        pairs: d.len(),
        statistic: t,
        p,
    })
}

/// Wilcoxon's signed rank test, two-sided.
///
/// Differences of zero are left out, equal ones share their mean rank. The probability is exact, given the ranks, up to
/// 50 pairs; above that from the normal approximation with the variance corrected for equal ranks. Without any
/// difference `p = 1`.
///
/// # Errors
/// [`Error::InvalidArgument`] when the lists differ in length, are empty or not finite.
pub fn wilcoxon_signed_rank(a: &[f64], b: &[f64]) -> Result<PairedTest> {
    let mut d = differences(a, b)?;
    d.retain(|&d| d != 0.0);
    d.sort_by(|x, y| x.abs().total_cmp(&y.abs()));
    let n = d.len();
    // Twice the ranks, so that shared ranks are whole numbers.
    let mut ranks = vec![0usize; n];
    let mut ties = 0.0;
    let mut first = 0;
    while first < n {
        let last = (first..n)
            .take_while(|&i| d[i].abs() == d[first].abs())
            .last()
            .unwrap_or(first);
        ranks[first..=last].fill(first + last + 2);
        let equal = (last - first + 1) as f64;
        ties += equal.powi(3) - equal;
        first = last + 1;
    }
    let all: usize = ranks.iter().sum();
    let positive: usize = (0..n).filter(|&i| d[i] > 0.0).map(|i| ranks[i]).sum();
    let smaller = positive.min(all - positive);
    let p = if n == 0 {
        1.0
    } else if n <= 50 {
        // Share of the 2^n signs with each sum of positive ranks.
        let mut share = vec![0.0; all + 1];
        share[0] = 1.0;
        for &rank in &ranks {
            for sum in (0..=all).rev() {
                let without = share[sum];
                let with = if sum >= rank { share[sum - rank] } else { 0.0 };
                share[sum] = 0.5 * (without + with);
            }
        }
        (2.0 * share[..=smaller].iter().sum::<f64>()).min(1.0)
    } else {
        let n = n as f64;
        let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
        let distance = n * (n + 1.0) / 4.0 - smaller as f64 / 2.0;
        libm::erfc(distance / (2.0 * variance).sqrt())
    };
    Ok(PairedTest {
        pairs: n,
        statistic: smaller as f64 / 2.0,
        p,
    })
}

/// Probabilities adjusted for many tests by Holm's method, in the order given.
///
/// The `i`-th smallest of `m` is multiplied by `m - i + 1`, made monotone and cut at 1.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (place, &test) in order.iter().enumerate() {
        largest = largest.max((p[test] * (p.len() - place) as f64).min(1.0));
        adjusted[test] = largest;
    }
    adjusted
}

/// A confidence interval by the percentile bootstrap: `statistic` of `resamples` draws with replacement.
///
/// `confidence` such as 0.95. Reproducible: the draws depend on `rng` alone.
///
/// # Errors
/// [`Error::InvalidArgument`] when there are no values or resamples, or the confidence is not between 0 and 1.
pub fn bootstrap_interval(
    values: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    confidence: f64,
    resamples: usize,
    rng: &mut Rng,
) -> Result<[f64; 2]> {
    if values.is_empty() || resamples == 0 || !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::argument(
            "bootstrap",
            format!(
                "expected values, resamples and a confidence between 0 and 1, got {} values, {resamples} resamples and \
                 a confidence of {confidence}",
                values.len()
            ),
        ));
    }
    let mut sample = vec![0.0; values.len()];
    let drawn: Vec<f64> = (0..resamples)
        .map(|_| {
            sample.fill_with(|| values[rng.below(values.len())]);
            statistic(&sample)
        })
        .collect();
    let tail = 50.0 * (1.0 - confidence);
    Ok([percentile(&drawn, tail), percentile(&drawn, 100.0 - tail)])
}

/// The regularised incomplete beta function `I_x(a, b)`, by its continued fraction (Lentz's method).
///
/// Source: NIST Digital Library of Mathematical Functions, 8.17(v).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return x.clamp(0.0, 1.0);
    }
    // The fraction converges fast only on this side.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front =
        (libm::lgamma(a + b) - libm::lgamma(a) - libm::lgamma(b) + a * x.ln() + b * (-x).ln_1p())
            .exp()
            / a;
    let guard = |v: f64| if v.abs() < 1e-300 { 1e-300 } else { v };
    let (mut c, mut d) = (1.0, 1.0 / guard(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for term in [even, odd] {
            d = 1.0 / guard(1.0 + term * d);
            c = guard(1.0 + term / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}
