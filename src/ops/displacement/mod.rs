//! Displacement fields: composition and the compositive step.

mod cpu;

use candle_core::Tensor;

use super::diffusion::size;
use super::storage::{read, with_real, write};
use super::real::Real;
use crate::Result;

/// `out(x) = d(x) + u(x + d(x))`: the displacement of "first `d`, then `u`"; all `[rank, (nz,) ny, nx]`, in voxels.
///
/// `u` is interpolated linearly and continued beyond the border by its nearest value.
pub fn compose(u: &Tensor, d: &Tensor, out: &Tensor) -> Result<()> {
    step(u, d, 1.0, false, out)
}

/// The compositive step along `v`, a direction in the space of displacements: `out = u o (id + t e) + t e` with
/// `e = (I + Du)^-1 v`, so that `d out / dt = v` at `t = 0`.
///
/// Determinants below 0.2 count as 0.2 in the inverse, which only shortens the step there.
pub fn compositive_step(u: &Tensor, v: &Tensor, t: f64, out: &Tensor) -> Result<()> {
    step(u, v, t, true, out)
}

/// The smallest determinant of `I + Du` by the digital criterion, [`minimum_determinant`](crate::minimum_determinant).
pub fn smallest_determinant(u: &Tensor) -> Result<f64> {
    let size = size(u);
    with_real!(u.dtype(), T => read::<T, _>(u, |u| f64::from(super::minimum_determinant(u, &size))))
}

fn step(u: &Tensor, v: &Tensor, t: f64, pulled: bool, out: &Tensor) -> Result<()> {
    let size = size(u);
    with_real!(u.dtype(), T => {
        read::<T, _>(u, |u| {
            read::<T, _>(v, |v| {
                write::<T, _>(out, |o| cpu::step(u, v, &size, T::of(t), pulled, o))
            })
        })??
    })
}
