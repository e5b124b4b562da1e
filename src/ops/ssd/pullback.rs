//! How the stationary point of the energy follows its data.

use candle_core::Tensor;

#[cfg(any(feature = "cuda", test))]
use super::cuda;
use super::SsdData;
use crate::ops::device::twin;
use crate::ops::real::Real;
use crate::ops::rows::{sum_over_rows, Shared};
use crate::ops::storage::{read, with_real, write};
use crate::ops::warp::{adjoint_of_both, sampled_along};
use crate::Result;

/// Cotangents of the data of the feature-SSD energy.
#[derive(Debug, Clone)]
pub struct SsdCotangents {
    /// Of the fixed features, `[channels, (nz,) ny, nx]`.
    pub fixed: Tensor,
    /// Of the moving features (not their B-spline coefficients), `[channels, (mz,) my, mx]`.
    pub moving: Tensor,
    /// Of the mask, `[(nz,) ny, nx]`; of one that would be one everywhere where there is none.
    pub mask: Tensor,
    /// Of the channel weights.
    pub channel_weight: Vec<f64>,
}

impl SsdData {
    /// `-(dg/d data)' q`: the cotangents of the data for the cotangent `q` of the gradient `g` of the energy at `u`.
    ///
    /// With `r = M(x + u) - F` and `J = grad_u M(x + u)`, so that `g = sum_c m a_c r_c J_c`: of `F_c` it is
    /// `m a_c (q . J_c)`; of `M_c` the negative of what [`warp_adjoint`](crate::warp_adjoint) makes of `m a_c (q . J_c)` plus
    /// what [`warp_adjoint_derivative`](crate::warp_adjoint_derivative) along `q` makes of `m a_c r_c`; of `a_c` it is
    /// `-sum m r_c (q . J_c)`; of `m` it is `-sum_c a_c r_c (q . J_c)`. `q` has the shape of `u`.
    pub fn pullback(&self, u: &Tensor, q: &Tensor) -> Result<SsdCotangents> {
        let slope = sampled_along(&self.moving, u, &self.map, self.interpolation, q)?;
        let residual = self.warped(Some(u))?;
        let mask = Tensor::zeros(&self.fixed.dims()[1..], self.fixed.dtype(), u.device())?;
        let channel_weight = self.weigh(&slope, &residual, &mask)?;
        let moving = adjoint_of_both(
            -1.0,
            &slope,
            Some((q, &residual)),
            u,
            &self.map,
            self.interpolation,
            &self.moving_size(),
        )?;
        Ok(SsdCotangents {
            fixed: slope,
            moving,
            mask,
            channel_weight,
        })
    }

    /// From slopes `d` and warped values: `m a d` in place of the slopes, `m a r` in place of the values, `-sum_c a r d` in
    /// `out`, which holds zeros before; returns `-sum m r d` of each channel.
    fn weigh(&self, slope: &Tensor, values: &Tensor, out: &Tensor) -> Result<Vec<f64>> {
        twin!(slope, launcher => cuda::weigh(&launcher, self, slope, values, out));
        with_real!(self.fixed.dtype(), T => {
            read::<T, _>(&self.fixed, |fixed| {
                let weigh = |mask: Option<&[T]>| {
                    write::<T, _>(slope, |slope| write::<T, _>(values, |values| {
                        write::<T, _>(out, |out| {
                            weigh(fixed, mask, &self.channel_weight, slope, values, out)
                        })
                    }))
                };
                match &self.mask {
                    Some(mask) => read::<T, _>(mask, |mask| weigh(Some(mask)))?,
                    None => weigh(None),
                }
            })
        })???
    }
}

/// [`SsdData::weigh`] of slices.
fn weigh<T: Real>(
    fixed: &[T],
    mask: Option<&[T]>,
    weights: &[f64],
    slope: &mut [T],
    values: &mut [T],
    out: &mut [T],
) -> Vec<f64> {
    const RUN: usize = 1024;
    let n = out.len();
    let (slope, values, out) = (Shared::new(slope), Shared::new(values), Shared::new(out));
    let mut sums = Vec::with_capacity(weights.len());
    for (c, &weight) in weights.iter().enumerate() {
        let a = T::of(weight);
        let fixed = &fixed[c * n..][..n];
        let [sum] = sum_over_rows(n.div_ceil(RUN), RUN, |runs| {
            let mut total = 0.0;
            for v in runs.start * RUN..(runs.end * RUN).min(n) {
                let m = mask.map_or(T::of(1.0), |mask| mask[v]);
                // SAFETY: each task has voxels of its own, within the slices.
                unsafe {
                    let (d, r) = (slope.at(c * n + v), values.at(c * n + v));
                    let residual = *r - fixed[v];
                    let product = residual * *d;
                    total += (m * product).wide();
                    *out.at(v) -= a * product;
                    *d = m * a * *d;
                    *r = m * a * residual;
                }
            }
            [total]
        });
        sums.push(-sum);
    }
    sums
}
