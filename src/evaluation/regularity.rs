//! How regular a displacement is.

use crate::ops::{corner_determinants_minimum, determinants, non_diffeomorphic_volume};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

/// Regularity of a displacement: spread of the determinants, and folds by two criteria.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Regularity {
    /// `std(log(clip(J + 3, 1e-9, 1e9)))` over all voxels but two at each border, as the Learn2Reg evaluator computes
    /// it (the 3 stands in its code); `None` on a grid with fewer than five voxels along an axis.
    pub sd_log_j_learn2reg: Option<f64>,
    /// `std(log J)` over the voxels with `J > 0`; `None` if there are none.
    pub sd_log_j: Option<f64>,
    /// Voxels with `J <= 0` (or not a number), left out of `sd_log_j`.
    pub non_positive: u64,
    /// `100 * non_positive / voxels`, the literature's percentage of folds.
    pub folds_percent: f64,
    /// Percentage of voxels at which the digital criterion fails.
    pub digital_folds_percent: f64,
    /// Volume turned inside out, in voxels.
    pub non_diffeomorphic_volume: f64,
    /// The same as a percentage of the number of voxels.
    pub non_diffeomorphic_percent: f64,
    /// Smallest `J`.
    pub minimum_determinant: f64,
    /// Largest `J`.
    pub maximum_determinant: f64,
    /// Smallest determinant of the digital criterion: positive if and only if the displacement is a digital
    /// diffeomorphism.
    pub minimum_digital_determinant: f64,
}

/// Regularity of a displacement: `J = det(I + Du)` by central differences (one-sided at the border) and the digital
/// criterion of [`corner_determinants_minimum`](crate::corner_determinants_minimum).
///
/// `displacement` is planar in voxels, length `rank * voxels`, component `a` along axis `a`, first axis fastest.
/// Standard deviations are those of the population (divided by the count).
///
/// Sources: Learn2Reg evaluation (Hering et al., TMI 2022, doi:10.1109/TMI.2022.3213983); Liu et al., IJCV 2024,
/// arXiv:2212.06060.
///
/// # Errors
/// [`Error::InvalidArgument`] when the rank is not 2 or 3 or a size is zero, [`Error::Shape`] when the length of the
/// displacement is not `rank * voxels`.
pub fn regularity(displacement: &[f32], size: &[usize]) -> Result<Regularity> {
    if !(2..=3).contains(&size.len()) || size.contains(&0) {
        return Err(Error::argument(
            "size",
            format!("expected 2 or 3 positive sizes, got {size:?}"),
        ));
    }
    let voxels: usize = size.iter().product();
    if displacement.len() != size.len() * voxels {
        return Err(Error::Shape {
            what: "displacement (planar, rank * voxels)",
            expected: vec![size.len(), voxels],
            got: vec![displacement.len()],
        });
    }
    let j = determinants(displacement, size);
    let inside = |v: usize| {
        let mut rest = v;
        size.iter().all(|&n| {
            let at = rest % n;
            rest /= n;
            at >= 2 && at + 2 < n
        })
    };
    let learn2reg = deviation(&j, |v, d| {
        inside(v).then(|| (f64::from(d) + 3.0).clamp(1e-9, 1e9).ln())
    });
    let plain = deviation(&j, |_, d| (d > 0.0).then(|| f64::from(d).ln()));
    let non_positive = j.par_iter().filter(|&&d| d <= 0.0 || d.is_nan()).count();
    let (digital, smallest) = corner_determinants_minimum(displacement, size)
        .par_iter()
        .map(|&d| {
            (
                usize::from(d <= 0.0 || d.is_nan()),
                if d.is_nan() { f32::NEG_INFINITY } else { d },
            )
        })
        .reduce(|| (0, f32::INFINITY), |a, b| (a.0 + b.0, a.1.min(b.1)));
    // a digital diffeomorphism turns nothing inside out
    let volume = if digital > 0 {
        non_diffeomorphic_volume(displacement, size)
    } else {
        0.0
    };
    let percent = |count: f64| 100.0 * count / voxels as f64;
    let extreme = |pick: fn(f32, f32) -> f32| f64::from(j.iter().copied().fold(j[0], pick));
    Ok(Regularity {
        sd_log_j_learn2reg: learn2reg,
        sd_log_j: plain,
        non_positive: non_positive as u64,
        folds_percent: percent(non_positive as f64),
        digital_folds_percent: percent(digital as f64),
        non_diffeomorphic_volume: volume,
        non_diffeomorphic_percent: percent(volume),
        minimum_determinant: extreme(f32::min),
        maximum_determinant: extreme(f32::max),
        minimum_digital_determinant: f64::from(smallest),
    })
}

/// Standard deviation of the values that `value` gives, in two passes of chunks summed in order.
fn deviation(j: &[f32], value: impl Fn(usize, f32) -> Option<f64> + Sync) -> Option<f64> {
    const CHUNK: usize = 1 << 14;
    let sum = |centre: f64, power: i32| {
        let parts: Vec<(f64, u64)> = j
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(chunk, part)| {
                part.iter()
                    .enumerate()
                    .filter_map(|(v, &d)| value(chunk * CHUNK + v, d))
                    .fold((0.0, 0), |(sum, count), v| {
                        (sum + (v - centre).powi(power), count + 1)
                    })
            })
            .collect();
        parts
            .into_iter()
            .fold((0.0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
    };
    let (total, count) = sum(0.0, 1);
    (count > 0).then(|| {
        let (squares, _) = sum(total / count as f64, 2);
        (squares / count as f64).sqrt()
    })
}

impl fmt::Display for Regularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |v: Option<f64>| v.map_or("-".to_owned(), |v| format!("{v:.4}"));
        writeln!(
            f,
            "SDlogJ (Learn2Reg)       {:>10}",
            value(self.sd_log_j_learn2reg)
        )?;
        writeln!(f, "SD of log J              {:>10}", value(self.sd_log_j))?;
        writeln!(f, "folds, central, %        {:>10.4}", self.folds_percent)?;
        writeln!(
            f,
            "folds, digital, %        {:>10.4}",
            self.digital_folds_percent
        )?;
        writeln!(
            f,
            "volume inside out, %     {:>10.4}",
            self.non_diffeomorphic_percent
        )?;
        writeln!(
            f,
            "smallest J               {:>10.4}",
            self.minimum_determinant
        )?;
        writeln!(
            f,
            "largest J                {:>10.4}",
            self.maximum_determinant
        )?;
        write!(
            f,
            "smallest J, digital      {:>10.4}",
            self.minimum_digital_determinant
        )
    }
}
