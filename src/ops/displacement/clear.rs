//! Where a flow folds, and what leads there.

use candle_core::Tensor;

use super::unfold::{all_folded, stamped, WHOLE};
use crate::ops::device::twin;
use crate::ops::diffusion::size;
use crate::ops::real::Real;
use crate::ops::storage::{read, with_real};
use crate::Result;

/// Places on the way of a voxel, besides its own.
const PLACES: usize = 4;

/// A share for every voxel, `[1, (nz,) ny, nx]`: nothing where a displacement has a corner determinant of `smallest` or less
/// and on the straight way from there to where it leads, rising to one over four voxels around. None where there is no such
/// voxel.
pub(crate) fn clear_of_folds(u: &Tensor, smallest: f64) -> Result<Option<Tensor>> {
    let size = size(u);
    twin!(u, launcher => super::cuda::clear_of_folds(&launcher, u, &size, smallest));
    let mut shape = u.dims().to_vec();
    shape[0] = 1;
    let shares = with_real!(u.dtype(), T => {
        read::<T, _>(u, |u| {
            let folded = all_folded(u, &size, smallest);
            (!folded.is_empty()).then(|| stamped(&on_the_way(u, &size, &folded), &size))
        })
    })?;
    let Some(shares) = shares else {
        return Ok(None);
    };
    let shares: Vec<f32> = shares
        .iter()
        .map(|share| f32::from(*share) / f32::from(WHOLE))
        .collect();
    let shares = Tensor::from_vec(shares, shape, u.device())?;
    Ok(Some(shares.to_dtype(u.dtype())?))
}

/// The voxels nearest to the ways of some voxels, these themselves included.
fn on_the_way<T: Real>(u: &[T], size: &[usize], voxels: &[usize]) -> Vec<usize> {
    let n: usize = size.iter().product();
    let mut places = Vec::with_capacity(voxels.len() * (PLACES + 1));
    for &v in voxels {
        for k in 0..=PLACES {
            let (mut rest, mut stride, mut place) = (v, 1, 0);
            for (a, &length) in size.iter().enumerate() {
                let shift = u[a * n + v].wide() * k as f64 / PLACES as f64;
                let at = ((rest % length) as f64 + shift).round();
                // what is not a number stays at the border
                place += at.clamp(0.0, (length - 1) as f64) as usize * stride;
                rest /= length;
                stride *= length;
            }
            places.push(place);
        }
    }
    places.sort_unstable();
    places.dedup();
    places
}
