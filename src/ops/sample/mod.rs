//! Interpolation of a volume at a vector of positions: the inner loop of every warp.

mod cell;
mod cubic;
mod frame;
mod linear;

use super::lanes::Lanes;
use super::real::Real;

pub(crate) use cell::{taps, Cell};
pub(crate) use cubic::cubic;
pub(crate) use frame::Frame;
pub(crate) use linear::{vectors, Multilinear, RUN, RUNS};

/// How the moving volume is interpolated between its voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Multilinear: fast; its gradient jumps at the voxel planes.
    Linear,
    /// Cubic B-spline over prefiltered coefficients: twice continuously differentiable everywhere, beyond the border too,
    /// where it continues by its mirror image.
    Cubic,
}

#[cfg(any(feature = "cuda", test))]
impl Interpolation {
    /// The word in the names of kernels.
    pub(in crate::ops) fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Cubic => "cubic",
        }
    }
}

/// Multiplies derivatives by a factor for each axis that they are taken along.
///
/// # Safety
/// Within a kernel only.
#[inline(always)]
unsafe fn along_axes<L: Lanes, const D: usize>(
    factor: &[L; D],
    gradient: &mut [L; D],
    hessian: &mut [L; 6],
) {
    // SAFETY: within a kernel.
    unsafe {
        let mut k = 0;
        for a in 0..D {
            gradient[a] = factor[a].mul(gradient[a]);
            for b in a..D {
                hessian[k] = factor[a].mul(factor[b]).mul(hessian[k]);
                k += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn splat<L: Lanes>(value: f64) -> L {
    // SAFETY: within a kernel.
    unsafe { L::splat(L::Element::of(value)) }
}
