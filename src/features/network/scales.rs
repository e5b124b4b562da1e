//! The scales inside a network, and where their voxels lie.

use candle_core::Tensor;

use crate::ops::rescale;
use crate::{Grid, Result};

/// How many voxels of the images a voxel of a scale takes along each axis (fastest first), for scale after scale.
///
/// A scale doubles the one before, except along axes that are coarse already: the powers of two nearest to what
/// [`level_grid`](crate::level_grid) shrinks by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scales {
    factors: Vec<Vec<usize>>,
    size: Vec<usize>,
}

impl Scales {
    pub(super) fn new(grid: &Grid, count: usize) -> Self {
        let finest = grid.spacing().iter().copied().fold(f64::INFINITY, f64::min);
        let factors = (0..count)
            .map(|scale| {
                let shrink = (1usize << scale) as f64;
                grid.spacing()
                    .iter()
                    .map(|spacing| {
                        1 << (shrink * finest / spacing).max(1.0).log2().round() as usize
                    })
                    .collect()
            })
            .collect();
        Self {
            factors,
            size: grid.size().to_vec(),
        }
    }

    /// Voxels of scale `scale - 1` in one of `scale`, 1 or 2 along each axis.
    pub(super) fn step(&self, scale: usize) -> Vec<usize> {
        let (fine, coarse) = (&self.factors[scale - 1], &self.factors[scale]);
        fine.iter().zip(coarse).map(|(f, c)| c / f).collect()
    }

    /// Voxels of a scale along each axis.
    pub(super) fn size(&self, scale: usize) -> Vec<usize> {
        let factors = self.factors[scale].iter();
        self.size
            .iter()
            .zip(factors)
            .map(|(n, f)| n.div_ceil(*f))
            .collect()
    }

    /// A map of scale `scale` on the next finer one.
    pub(super) fn finer(&self, x: &Tensor, scale: usize) -> Result<Tensor> {
        let step = self.step(scale);
        let half: Vec<f64> = step.iter().map(|&s| 1.0 / s as f64).collect();
        rescale(x, &half, &self.size(scale - 1))
    }

    /// A map of a scale on a grid over the same field of view as the images'.
    pub(super) fn on(&self, x: &Tensor, scale: usize, target: &Grid) -> Result<Tensor> {
        let ratio: Vec<f64> = (0..self.size.len())
            .map(|a| self.size[a] as f64 / (target.size()[a] * self.factors[scale][a]) as f64)
            .collect();
        rescale(x, &ratio, target.size())
    }
}
