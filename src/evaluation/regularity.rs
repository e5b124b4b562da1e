//! How regular a displacement is.

use crate::ops::{determinants, digital_folds, non_diffeomorphic_volume};
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
    Ok(regularity_of(
        &determinants(displacement, size),
        displacement,
        size,
    ))
}

/// [`regularity`] of a displacement whose [`determinants`] are known.
pub(crate) fn regularity_of(
    determinants: &[f32],
    displacement: &[f32],
    size: &[usize],
) -> Regularity {
    let voxels = determinants.len();
    let spread = Spread::of(determinants, size);
    let (digital, smallest) = digital_folds(displacement, size);
    // a digital diffeomorphism turns nothing inside out
    let volume = if digital > 0 {
        non_diffeomorphic_volume(displacement, size)
    } else {
        0.0
    };
    let percent = |count: f64| 100.0 * count / voxels as f64;
    Regularity {
        sd_log_j_learn2reg: spread.learn2reg.deviation(),
        sd_log_j: spread.plain.deviation(),
        non_positive: spread.non_positive,
        folds_percent: percent(spread.non_positive as f64),
        digital_folds_percent: percent(digital as f64),
        non_diffeomorphic_volume: volume,
        non_diffeomorphic_percent: percent(volume),
        minimum_determinant: f64::from(spread.smallest),
        maximum_determinant: f64::from(spread.largest),
        minimum_digital_determinant: f64::from(smallest),
    }
}

/// What the determinants come to.
struct Spread {
    learn2reg: Moments,
    plain: Moments,
    non_positive: u64,
    smallest: f32,
    largest: f32,
}

impl Spread {
    /// In chunks of whole lines, put together in order.
    fn of(determinants: &[f32], size: &[usize]) -> Self {
        let [nx, ny, nz] = [size[0], size[1], size.get(2).copied().unwrap_or(5)];
        let lines = ((1 << 14) / nx).max(1);
        let inside = |at: usize, n: usize| at >= 2 && at + 2 < n;
        let parts: Vec<Self> = determinants
            .par_chunks(lines * nx)
            .enumerate()
            .map_init(
                || (Vec::new(), Vec::new()),
                |(shifted, plain), (chunk, part)| {
                    shifted.clear();
                    plain.clear();
                    let mut here = Self {
                        learn2reg: Moments::default(),
                        plain: Moments::default(),
                        non_positive: 0,
                        smallest: part[0],
                        largest: part[0],
                    };
                    for (line, values) in part.chunks(nx).enumerate() {
                        let line = chunk * lines + line;
                        let layer = if size.len() == 3 { line / ny } else { 2 };
                        if inside(line % ny, ny) && inside(layer, nz) && nx >= 5 {
                            let inner = values[2..nx - 2].iter();
                            shifted
                                .extend(inner.map(|&d| (f64::from(d) + 3.0).clamp(1e-9, 1e9).ln()));
                        }
                        for &d in values {
                            here.smallest = here.smallest.min(d);
                            here.largest = here.largest.max(d);
                            if d > 0.0 {
                                plain.push(f64::from(d).ln());
                            } else {
                                here.non_positive += 1;
                            }
                        }
                    }
                    here.learn2reg = Moments::of(shifted);
                    here.plain = Moments::of(plain);
                    here
                },
            )
            .collect();
        parts
            .into_iter()
            .reduce(|a, b| Self {
                learn2reg: a.learn2reg.with(&b.learn2reg),
                plain: a.plain.with(&b.plain),
                non_positive: a.non_positive + b.non_positive,
                smallest: a.smallest.min(b.smallest),
                largest: a.largest.max(b.largest),
            })
            .expect("a grid has voxels")
    }
}

/// Count, mean and summed squares about it, of parts that can be put together (Chan, Golub and LeVeque,
/// doi:10.1080/00031305.1983.10483115).
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        Self {
            count,
            mean,
            squares: values.iter().map(|v| (v - mean) * (v - mean)).sum(),
        }
    }

    fn with(&self, other: &Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return Self::default();
        }
        let apart = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares
                + other.squares
                + apart * apart * self.count * other.count / count,
        }
    }

    /// Of the population; none of nothing.
    fn deviation(&self) -> Option<f64> {
        (self.count > 0.0).then(|| (self.squares / self.count).sqrt())
    }
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
