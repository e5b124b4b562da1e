//! Displacement fields: composition and the compositive step.

mod clear;
mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod marks;
mod relax;
mod unfold;

use candle_core::{DType, Tensor};
use half::f16;

pub(crate) use clear::clear_of_folds;
pub use relax::relax_folds;

use super::device::twin;
use super::diffusion::size;
use super::storage::{read, with_real, write};

use super::real::Real;
use crate::Result;

/// Local shortenings of one step at most.
const ROUNDS: usize = 8;

/// `out(x) = t d(x) + u(x + t d(x))`: the displacement of "first `t d`, then `u`"; all `[rank, (nz,) ny, nx]`, in voxels.
///
/// `u` is interpolated linearly and continued beyond the border by its nearest value.
pub fn compose(u: &Tensor, d: &Tensor, t: f64, out: &Tensor) -> Result<()> {
    let size = size(u);
    twin!(u, launcher => cuda::compose(&launcher, u, d, &size, t, out));
    with_real!(u.dtype(), T => {
        read::<T, _>(u, |u| {
            read::<T, _>(d, |d| {
                write::<T, _>(out, |o| cpu::compose(u, d, &size, T::of(t), o))
            })
        })??
    })
}

/// [`compose`] that folds nowhere: where a corner determinant (see
/// [`corner_determinants_minimum`](crate::corner_determinants_minimum)) comes out at `smallest` or less, `d` is
/// shortened around it, in place, and the step taken again, a few times. Returns whether `out` is above `smallest`
/// everywhere. `d` may be of half precision.
pub fn compose_unfolded(
    u: &Tensor,
    d: &Tensor,
    t: f64,
    smallest: f64,
    out: &Tensor,
) -> Result<bool> {
    let size = size(u);
    twin!(u, launcher => cuda::compose_unfolded(&launcher, (u, d), &size, t, smallest, out));
    with_real!(u.dtype(), T => {
        read::<T, _>(u, |u| {
            write::<T, _>(out, |o| {
                if d.dtype() == DType::F16 {
                    return write::<f16, _>(d, |d| {
                        let d = cpu::Half::of(d);
                        unfold::compose_unfolded(u, d, &size, T::of(t), smallest, ROUNDS, o)
                    });
                }
                write::<T, _>(d, |d| {
                    unfold::compose_unfolded(u, d, &size, T::of(t), smallest, ROUNDS, o)
                })
            })
        })??
    })
}

/// `out = u + t d` that keeps clear of folds: where a corner determinant would fall to a fifth of what it is at `u` (or a
/// fifth of `enough`, where it was more), `d` is shortened around it, in place, and the step taken again, a few times.
/// Returns whether it falls no further anywhere.
pub(crate) fn add_unfolded(
    u: &Tensor,
    d: &Tensor,
    t: f64,
    enough: f64,
    out: &Tensor,
) -> Result<bool> {
    let size = size(u);
    twin!(u, launcher => cuda::add_unfolded(&launcher, (u, d), &size, t, enough, out));
    with_real!(u.dtype(), T => {
        read::<T, _>(u, |u| {
            write::<T, _>(d, |d| {
                write::<T, _>(out, |o| {
                    unfold::add_unfolded(u, d, &size, T::of(t), enough, ROUNDS, o)
                })
            })
        })??
    })
}

/// Carries a gradient and its blocks from displacements to compositive steps, in place: `g <- P' g` and
/// `B <- P' B P` with `P = I + Du`, the derivative of [`compose`] with respect to its step at zero.
///
/// Derivatives are central differences, one-sided at the border. Blocks as in [`BlockSystem`](crate::BlockSystem), of the
/// field's type or of half precision.
pub fn pull_to_steps(u: &Tensor, gradient: &Tensor, blocks: &Tensor) -> Result<()> {
    let size = size(u);
    twin!(u, launcher => cuda::pull_to_steps(&launcher, u, &size, gradient, blocks));
    with_real!(u.dtype(), T => {
        read::<T, _>(u, |u| {
            write::<T, _>(gradient, |g| {
                if blocks.dtype() == DType::F16 {
                    write::<f16, _>(blocks, |b| {
                        cpu::pull_to_steps(u, &size, g, cpu::Half::of(b));
                    })
                } else {
                    write::<T, _>(blocks, |b| cpu::pull_to_steps(u, &size, g, b))
                }
            })
        })??
    })
}

/// The smallest determinant of `I + Du` by the digital criterion, [`minimum_determinant`](crate::minimum_determinant).
pub fn smallest_determinant(u: &Tensor) -> Result<f64> {
    let size = size(u);
    twin!(u, launcher => super::jacobian::cuda::smallest(&launcher, u, &size));
    with_real!(u.dtype(), T => read::<T, _>(u, |u| f64::from(super::minimum_determinant(u, &size))))
}
