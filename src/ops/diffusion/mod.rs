//! Sums of squared first differences of a field, and their operator.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::device::twin;
use super::storage::{read, with_real, write};
use crate::Result;

/// The quadratic form `1/2 sum_ab w_ab sum (D_b u_a)^2` on a field `u` of `rank` components.
///
/// `D_b` is the forward difference along axis `b`, nothing crosses the border. Weights are those of
/// [`Diffusion`](crate::Diffusion): component `a`, axis `b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Differences {
    /// `weight[a][b]` for component `a` and axis `b`.
    pub weight: [[f64; 3]; 3],
}

impl Differences {
    /// The form times `factor`.
    pub fn scaled(&self, factor: f64) -> Self {
        Self {
            weight: self.weight.map(|row| row.map(|w| w * factor)),
        }
    }

    /// The form's value at `u`, `[rank, (nz,) ny, nx]`.
    pub fn value(&self, u: &Tensor) -> Result<f64> {
        twin!(u, launcher => cuda::value(&launcher, u, &size(u), &self.weight));
        with_real!(u.dtype(), T => read::<T, _>(u, |u_| cpu::value(u_, &size(u), &self.weight)))
    }

    /// Adds the form's gradient at `u` to `out`.
    pub fn add_gradient(&self, u: &Tensor, out: &Tensor) -> Result<()> {
        twin!(u, launcher => cuda::add_gradient(&launcher, u, &size(u), &self.weight, out));
        with_real!(u.dtype(), T => {
            read::<T, _>(u, |u_| write::<T, _>(out, |o| cpu::add_gradient(u_, &size(u), &self.weight, o)))?
        })
    }
}

/// Sizes along the axes of a field `[rank, (nz,) ny, nx]`, fastest first.
pub(crate) fn size(u: &Tensor) -> Vec<usize> {
    u.dims()[1..].iter().rev().copied().collect()
}
