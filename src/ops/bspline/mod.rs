//! Cubic B-spline coefficients of a volume.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::device::twin;
use super::storage::{with_real, write};
use crate::Result;

/// The coefficients whose cubic B-spline takes the values of `x` at its voxels, `[channels, (nz,) ny, nx]`.
///
/// Solves `(c[i-1] + 4 c[i] + c[i+1]) / 6 = x[i]` along each axis, with mirrored borders (Unser, Aldroubi and Eden,
/// doi:10.1109/78.193220), by elimination.
pub fn spline_coefficients(x: &Tensor) -> Result<Tensor> {
    filtered(x, false)
}

/// The adjoint of [`spline_coefficients`].
pub fn spline_coefficients_adjoint(x: &Tensor) -> Result<Tensor> {
    filtered(x, true)
}

fn filtered(x: &Tensor, adjoint: bool) -> Result<Tensor> {
    let dims = x.dims().to_vec();
    let out = x.copy()?.contiguous()?;
    twin!(&out, launcher => {
        for axis in 1..dims.len() {
            let inner = dims[axis + 1..].iter().product();
            cuda::along_axis(&launcher, &out, dims[axis], inner, adjoint)?;
        }
        Ok(out)
    });
    with_real!(x.dtype(), T => {
        write::<T, _>(&out, |o| {
            for axis in 1..dims.len() {
                let inner = dims[axis + 1..].iter().product();
                cpu::along_axis(o, dims[axis], inner, adjoint);
            }
        })
    })?;
    Ok(out)
}
