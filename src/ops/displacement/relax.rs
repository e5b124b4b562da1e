//! Folds that interpolation has made, smoothed away.

use candle_core::Tensor;
use rayon::prelude::*;

use super::unfold::{all_folded, stamped, WHOLE};
use crate::ops::device::twin;
use crate::ops::diffusion::size;
use crate::ops::real::Real;
use crate::ops::smooth;
use crate::ops::storage::{read, with_real, write};
use crate::Result;

/// Blends with the smoothed field at most.
pub(super) const ROUNDS: usize = 40;

/// Smooths a displacement in place around the voxels where a corner determinant (see
/// [`corner_determinants_minimum`](crate::corner_determinants_minimum)) is `smallest` or less, by a Gaussian of one voxel,
/// again and again until there is none. Returns whether there is none.
///
/// A field that was resampled to another grid may fold where the one it came from does not.
pub fn relax_folds(u: &Tensor, smallest: f64) -> Result<bool> {
    let size = size(u);
    twin!(u, launcher => super::cuda::relax_folds(&launcher, u, &size, smallest));
    for round in 0..=ROUNDS {
        let bad = with_real!(u.dtype(), T => {
            read::<T, _>(u, |u| all_folded(u, &size, smallest))
        })?;
        if bad.is_empty() {
            return Ok(true);
        }
        if round < ROUNDS {
            let share = stamped(&bad, &size);
            let smoothed = smooth(u, &vec![1.0; size.len()])?;
            with_real!(u.dtype(), T => {
                read::<T, _>(&smoothed, |s| write::<T, _>(u, |u| blend(u, s, &share)))?
            })?;
        }
    }
    Ok(false)
}

/// `u <- f u + (1 - f) s`, with the shares as `f`.
fn blend<T: Real>(u: &mut [T], smoothed: &[T], share: &[u8]) {
    const CHUNK: usize = 1 << 14;
    for (u, s) in u.chunks_mut(share.len()).zip(smoothed.chunks(share.len())) {
        u.par_chunks_mut(CHUNK)
            .zip(s.par_chunks(CHUNK).zip(share.par_chunks(CHUNK)))
            .for_each(|(u, (s, share))| {
                for ((u, s), f) in u.iter_mut().zip(s).zip(share) {
                    if *f < WHOLE {
                        let kept = T::of(f64::from(*f) / f64::from(WHOLE));
                        *u = kept * *u + (T::of(1.0) - kept) * *s;
                    }
                }
            });
    }
}
