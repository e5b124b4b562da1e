//! Sums for the correlation of two images under an affine map, and for its derivative.

mod cpu;

use candle_core::Tensor;

use super::storage::{read, with_real};
use crate::{Affine, Result};

/// Two images and the affine map between their voxels: tensors of one element type, without a batch axis.
#[derive(Debug, Clone)]
pub struct CorrelationData {
    /// Fixed features, `[channels, (nz,) ny, nx]`.
    pub fixed: Tensor,
    /// Moving features, `[channels, (mz,) my, mx]`, interpolated linearly.
    pub moving: Tensor,
    /// Weight of each fixed voxel, `[(nz,) ny, nx]`; none is one everywhere.
    pub fixed_mask: Option<Tensor>,
    /// Weight of each moving voxel, `[(mz,) my, mx]`, interpolated linearly; none is one everywhere.
    pub moving_mask: Option<Tensor>,
}

/// Weighted sums over the fixed voxels of one channel: `f` fixed, `m` warped moving intensity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CorrelationSums {
    /// `sum w`.
    pub weight: f64,
    /// `sum w f`.
    pub fixed: f64,
    /// `sum w m`.
    pub moving: f64,
    /// `sum w f f`.
    pub fixed_fixed: f64,
    /// `sum w f m`.
    pub fixed_moving: f64,
    /// `sum w m m`.
    pub moving_moving: f64,
}

/// [`CorrelationSums`] with the sums for their derivative along `k` directions: `q` is the derivative of the warped moving
/// intensity.
#[derive(Debug, Clone)]
pub struct CorrelationDerivative {
    /// The sums themselves.
    pub sums: CorrelationSums,
    /// `sum w q`.
    pub slope: Vec<f64>,
    /// `sum w f q`.
    pub slope_fixed: Vec<f64>,
    /// `sum w m q`.
    pub slope_moving: Vec<f64>,
    /// `sum w q q'`, `k x k`, row by row.
    pub slope_slope: Vec<f64>,
}

impl CorrelationData {
    fn fixed_size(&self) -> Vec<usize> {
        self.fixed.dims()[1..].iter().rev().copied().collect()
    }

    /// The sums of each channel with the moving image seen through `map`, fixed index to moving index.
    ///
    /// The weight `w` is the product of the masks and of a ramp that falls from one to zero over the last voxel of the
    /// moving grid, from half a voxel inside its outermost voxel centres to half a voxel outside; so the sums are
    /// continuous in the map.
    pub fn sums(&self, map: &Affine) -> Result<Vec<CorrelationSums>> {
        let sums = with_real!(self.fixed.dtype(), T => self.run::<T>(map, false))?;
        Ok(sums.iter().map(|s| first_six(s)).collect())
    }

    /// The sums of each channel and those of their derivative along `directions`, derivatives of the map (matrix and
    /// translation). The weights count as constant.
    pub fn derivative(
        &self,
        map: &Affine,
        directions: &[Affine],
    ) -> Result<Vec<CorrelationDerivative>> {
        let sums = with_real!(self.fixed.dtype(), T => self.run::<T>(map, true))?;
        let size = self.fixed_size();
        let rank = size.len();
        let entries = rank * (rank + 1);
        // each direction as derivatives with respect to the entries of the map about the middle of the fixed grid
        let middle: [f64; 3] =
            std::array::from_fn(|a| size.get(a).map_or(0.0, |&n| (n - 1) as f64 / 2.0));
        let directions: Vec<Vec<f64>> = directions
            .iter()
            .map(|d| {
                let at_middle = d.apply(middle);
                (0..entries)
                    .map(|e| {
                        let (row, column) = (e / (rank + 1), e % (rank + 1));
                        if column == rank {
                            at_middle[row]
                        } else {
                            d.matrix[row][column]
                        }
                    })
                    .collect()
            })
            .collect();
        let along = |sums: &[f64]| -> Vec<f64> {
            directions
                .iter()
                .map(|d| d.iter().zip(sums).map(|(a, b)| a * b).sum())
                .collect()
        };
        Ok(sums
            .iter()
            .map(|sums| {
                let part = |k: usize| &sums[6 + k * entries..6 + (k + 1) * entries];
                let square = &sums[6 + 3 * entries..];
                let mut slope_slope = Vec::with_capacity(directions.len().pow(2));
                for d in &directions {
                    let row: Vec<f64> = (0..entries)
                        .map(|e| {
                            (0..entries)
                                .map(|f| d[f] * square[cpu::packed(entries, e, f)])
                                .sum()
                        })
                        .collect();
                    slope_slope.extend(along(&row));
                }
                CorrelationDerivative {
                    sums: first_six(sums),
                    slope: along(part(0)),
                    slope_fixed: along(part(1)),
                    slope_moving: along(part(2)),
                    slope_slope,
                }
            })
            .collect())
    }

    fn run<T: super::real::Real>(
        &self,
        map: &Affine,
        derivative: bool,
    ) -> Result<Vec<[f64; cpu::SUMS]>> {
        let size = self.fixed_size();
        let moving_size: Vec<usize> = self.moving.dims()[1..].iter().rev().copied().collect();
        let channels = self.fixed.dims()[0];
        read::<T, _>(&self.fixed, |fixed| {
            read::<T, _>(&self.moving, |moving| {
                let (n, m) = (fixed.len() / channels, moving.len() / channels);
                with_optional::<T, _>(&self.fixed_mask, |fixed_mask| {
                    with_optional::<T, _>(&self.moving_mask, |moving_mask| {
                        (0..channels)
                            .map(|c| {
                                cpu::pass(
                                    &cpu::Input {
                                        fixed: &fixed[c * n..(c + 1) * n],
                                        moving: &moving[c * m..(c + 1) * m],
                                        fixed_mask,
                                        moving_mask,
                                    },
                                    (&size, &moving_size, map),
                                    derivative,
                                )
                            })
                            .collect()
                    })
                })?
            })?
        })?
    }
}

fn with_optional<T: super::real::Real, R>(
    mask: &Option<Tensor>,
    work: impl FnOnce(Option<&[T]>) -> R,
) -> Result<R> {
    match mask {
        Some(mask) => read::<T, _>(mask, |m| work(Some(m))),
        None => Ok(work(None)),
    }
}

fn first_six(sums: &[f64]) -> CorrelationSums {
    CorrelationSums {
        weight: sums[0],
        fixed: sums[1],
        moving: sums[2],
        fixed_fixed: sums[3],
        fixed_moving: sums[4],
        moving_moving: sums[5],
    }
}
