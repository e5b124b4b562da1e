//! The simplices where a barrier acts, for the CPU.

use candle_core::Tensor;
use rayon::prelude::*;

use super::simplex::{Shape, Simplex};
use super::FoldBarrier;
use crate::ops::diffusion::size;
use crate::ops::jacobian::{Lines, Measure};
use crate::ops::real::Real;
use crate::ops::rows::Shared;
use crate::ops::storage::{read, with_real, with_stored, write};
use crate::Result;

/// The simplices where a barrier acts, with the derivatives of their penalties.
#[derive(Debug)]
pub(super) struct Listed {
    /// One list for each slab of the grid, in order.
    slabs: Vec<Vec<Simplex>>,
    /// Components and voxels of the field.
    field: (usize, usize),
}

impl Listed {
    /// Value and active simplices at a displacement.
    pub(super) fn at(barrier: &FoldBarrier, u: &Tensor) -> Result<(f64, Self)> {
        let size = size(u);
        let (sums, slabs): (Vec<f64>, Vec<_>) = with_real!(u.dtype(), T => read::<T, _>(u, |u| {
            let shape = Shape::new(&size);
            let lines = Lines::new(u, &size);
            (0..shape.slabs())
                .into_par_iter()
                .map(|number| slab(barrier, u, &lines, &shape, number))
                .unzip()
        }))?;
        let field = (size.len(), size.iter().product());
        Ok((sums.iter().sum(), Self { slabs, field }))
    }

    /// See [`FoldBarrier::linearise`].
    pub(super) fn add_gradient(&self, gradient: &Tensor) -> Result<()> {
        with_real!(gradient.dtype(), T => write::<T, _>(gradient, |g| {
            let g = Shared::new(g);
            self.each_slab(|s| {
                // SAFETY: vertices lie inside the field; slabs that share voxels never run together.
                unsafe { s.add_gradient(g, self.field) };
                0.0
            });
        }))
    }

    /// See [`BarrierCurvature::apply`](super::BarrierCurvature::apply).
    pub(super) fn apply(&self, p: &Tensor, scale: f64, out: &Tensor) -> Result<f64> {
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

    /// See [`BarrierCurvature::add_blocks`](super::BarrierCurvature::add_blocks).
    pub(super) fn add_blocks(&self, scale: f64, blocks: &Tensor) -> Result<()> {
        with_stored!(blocks.dtype(), T => write::<T, _>(blocks, |b| {
            let b = Shared::new(b);
            self.each_slab(|s| {
                // SAFETY: vertices lie inside the field; slabs that share voxels never run together.
                unsafe { s.add_blocks(scale, b, self.field) };
                0.0
            });
        }))
    }

    /// See [`BarrierCurvature::semidefinite`](super::BarrierCurvature::semidefinite).
    pub(super) fn straighten(&mut self) {
        for simplex in self.slabs.iter_mut().flatten() {
            simplex.straighten();
        }
    }

    /// How many simplices there are.
    pub(super) fn active(&self) -> usize {
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

/// Value and active simplices of a slab.
fn slab<T: Real>(
    barrier: &FoldBarrier,
    u: &[T],
    lines: &Lines<'_, T>,
    shape: &Shape,
    slab: usize,
) -> (f64, Vec<Simplex>) {
    let mut buffer = vec![T::of(0.0); shape.size[0]];
    let (mut sum, mut active) = (0.0, Vec::new());
    let scale = barrier.weight / shape.per_cell();
    for line in shape.lines(slab) {
        lines.measure(Measure::Corners, line, 0..buffer.len(), &mut buffer);
        for (x, smallest) in buffer.iter().enumerate() {
            // a NaN counts as folded
            let smallest = smallest.wide();
            if smallest >= barrier.threshold {
                continue;
            }
            if smallest <= 0.0 || smallest.is_nan() {
                return (f64::INFINITY, Vec::new());
            }
            for corners in shape.simplices(line, x) {
                let simplex = Simplex::new(u, &corners, shape.field());
                let t = simplex.determinant() / barrier.threshold;
                if t < 1.0 {
                    let (log, gap) = (t.ln(), (1.0 - t) / t);
                    sum -= scale * (1.0 - t).powi(2) * log;
                    active.push(simplex.weighted(
                        scale * (1.0 - t) * (2.0 * log - gap) / barrier.threshold,
                        scale * (gap * (gap + 4.0) - 2.0 * log) / barrier.threshold.powi(2),
                    ));
                }
            }
        }
    }
    (sum, active)
}
