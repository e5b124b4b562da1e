//! A barrier against folding, as part of an energy: zero where volumes change little, infinite where they vanish.

mod simplex;

use candle_core::Tensor;
use rayon::prelude::*;

use super::diffusion::size;
use super::jacobian::{Lines, Measure};
use super::real::Real;
use super::rows::Shared;
use super::storage::{read, with_real, with_stored, write};
use crate::Result;

use simplex::{Shape, Simplex};

/// A penalty on the determinants of the digital criterion that makes folding impossible.
///
/// With `t = J / threshold` for each determinant `J` of
/// [`corner_determinants_minimum`](crate::corner_determinants_minimum),
///
/// `B(u) = weight / count sum_J f(t)`, `f(t) = -(1 - t)^2 log t` for `0 < t < 1`, `0` above, infinite below,
///
/// where `count` is the number of determinants of a cell: 4 in 2D, 10 in 3D. Twice continuously differentiable, and
/// exactly zero wherever no volume shrinks below the threshold, so it costs only where it acts. The function is that of
/// Li et al. 2020, doi:10.1145/3386569.3392425, for distances; for other penalties of the determinant see Burger,
/// Modersitzki, Ruthotto 2013, doi:10.1137/110835955.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct FoldBarrier {
    /// The factor in front.
    pub weight: f64,
    /// Determinants at or above this cost nothing.
    pub threshold: f64,
}

/// The second-order model of a [`FoldBarrier`] at a displacement: the simplices where it acts.
#[derive(Debug)]
pub struct BarrierCurvature {
    /// One list for each slab of the grid, in order.
    slabs: Vec<Vec<Simplex>>,
    /// Components and voxels of the field.
    field: (usize, usize),
}

impl FoldBarrier {
    /// The barrier at `u` (`[rank, (nz,) ny, nx]`, voxels): infinite where a determinant is not positive.
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        Ok(self.collect(u)?.0)
    }

    /// The barrier at `u`, with its gradient added to `gradient`, and its exact curvature; infinite without either where
    /// a determinant is not positive.
    pub fn linearise(&self, u: &Tensor, gradient: &Tensor) -> Result<(f64, BarrierCurvature)> {
        let (value, curvature) = self.collect(u)?;
        if value.is_finite() {
            with_real!(gradient.dtype(), T => write::<T, _>(gradient, |g| {
                let g = Shared::new(g);
                curvature.each_slab(|s| {
                    // SAFETY: vertices lie inside the field; slabs that share voxels never run together.
                    unsafe { s.add_gradient(g, curvature.field) };
                    0.0
                });
            }))?;
        }
        Ok((value, curvature))
    }

    /// Value and active simplices, slab by slab.
    fn collect(&self, u: &Tensor) -> Result<(f64, BarrierCurvature)> {
        let size = size(u);
        let (sums, slabs): (Vec<f64>, Vec<_>) = with_real!(u.dtype(), T => read::<T, _>(u, |u| {
            let shape = Shape::new(&size);
            let lines = Lines::new(u, &size);
            (0..shape.slabs())
                .into_par_iter()
                .map(|slab| self.slab(u, &lines, &shape, slab))
                .unzip()
        }))?;
        Ok((
            sums.iter().sum(),
            BarrierCurvature {
                slabs,
                field: (size.len(), size.iter().product()),
            },
        ))
    }

    fn slab<T: Real>(
        &self,
        u: &[T],
        lines: &Lines<'_, T>,
        shape: &Shape,
        slab: usize,
    ) -> (f64, Vec<Simplex>) {
        let mut buffer = vec![T::of(0.0); shape.size[0]];
        let (mut sum, mut active) = (0.0, Vec::new());
        let scale = self.weight / shape.per_cell();
        for line in shape.lines(slab) {
            lines.measure(Measure::Corners, line, 0..buffer.len(), &mut buffer);
            for (x, smallest) in buffer.iter().enumerate() {
                // a NaN counts as folded
                let smallest = smallest.wide();
                if smallest >= self.threshold {
                    continue;
                }
                if smallest <= 0.0 || smallest.is_nan() {
                    return (f64::INFINITY, Vec::new());
                }
                for corners in shape.simplices(line, x) {
                    let simplex = Simplex::new(u, &corners, shape.field());
                    let t = simplex.determinant() / self.threshold;
                    if t < 1.0 {
                        let (log, gap) = (t.ln(), (1.0 - t) / t);
                        sum -= scale * (1.0 - t).powi(2) * log;
                        active.push(simplex.weighted(
                            scale * (1.0 - t) * (2.0 * log - gap) / self.threshold,
                            scale * (gap * (gap + 4.0) - 2.0 * log) / self.threshold.powi(2),
                        ));
                    }
                }
            }
        }
        (sum, active)
    }
}

impl BarrierCurvature {
    /// Adds `scale` times the curvature times `p` to `out`; returns `scale p' C p`.
    pub fn apply(&self, p: &Tensor, scale: f64, out: &Tensor) -> Result<f64> {
        with_stored!(p.dtype(), T => read::<T, _>(p, |p| {
            write::<T, _>(out, |out| {
                let out = Shared::new(out);
                self.each_slab(|s| {
                    // SAFETY: vertices lie inside the field; slabs that share voxels never run together.
                    unsafe { s.add_product(p, scale, out, self.field) }
                })
            })
        })?)
    }

    /// Adds `scale` times the curvature's diagonal blocks, all positive semidefinite, to packed blocks
    /// (see [`BlockSystem`](crate::BlockSystem)).
    pub fn add_blocks(&self, scale: f64, blocks: &Tensor) -> Result<()> {
        with_stored!(blocks.dtype(), T => write::<T, _>(blocks, |b| {
            let b = Shared::new(b);
            self.each_slab(|s| {
                // SAFETY: vertices lie inside the field; slabs that share voxels never run together.
                unsafe { s.add_blocks(scale, b, self.field) };
                0.0
            });
        }))
    }

    /// Without the second derivatives of the determinants: positive semidefinite, as the Gauss-Newton model.
    pub fn semidefinite(mut self) -> Self {
        for simplex in self.slabs.iter_mut().flatten() {
            simplex.straighten();
        }
        self
    }

    /// How many determinants lie below the threshold.
    pub fn active(&self) -> usize {
        self.slabs.iter().map(Vec::len).sum()
    }

    /// Calls `work` for every simplex, even slabs before odd ones: a slab is thicker than a simplex, so two even slabs
    /// never touch one voxel. Returns the sum in the order of the slabs.
    fn each_slab(&self, work: impl Fn(&Simplex) -> f64 + Sync) -> f64 {
        let mut sum = 0.0;
        for parity in 0..2 {
            let parts: Vec<f64> = self
                .slabs
                .par_iter()
                .skip(parity)
                .step_by(2)
                .map(|slab| slab.iter().map(&work).sum())
                .collect();
            sum += parts.iter().sum::<f64>();
        }
        sum
    }
}
