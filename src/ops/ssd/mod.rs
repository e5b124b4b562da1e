//! The feature-SSD energy in one fused pass: warp, residual, gradient and curvature blocks.

mod cpu;
#[cfg(any(feature = "cuda", test))]
mod cuda;
mod output;
mod pullback;

use candle_core::{DType, Tensor};
use half::f16;

use super::device::twin;
use super::diffusion::Differences;
use super::lanes::Source;
use super::real::Real;
use super::sample::Interpolation;
use super::storage::{read, with_features, write};
use crate::{Affine, Error, Result};

pub use pullback::SsdCotangents;

use output::{Model, Output, Smoothness, Stored};

/// The data of the feature-SSD energy on one level: tensors of one element type, without a batch axis.
///
/// On the CPU features may be in half precision (F16) beside all else in single precision, where interpolation is linear: values,
/// gradients and curvatures are then those of the same features in single precision.
#[derive(Debug, Clone)]
pub struct SsdData {
    /// Fixed features, `[channels, (nz,) ny, nx]`.
    pub fixed: Tensor,
    /// Moving features, or their B-spline coefficients for cubic interpolation, `[channels, (mz,) my, mx]`.
    pub moving: Tensor,
    /// Weight of each fixed voxel, `[(nz,) ny, nx]`; none is one everywhere.
    pub mask: Option<Tensor>,
    /// Weight of each channel, times the overall scale of the term.
    pub channel_weight: Vec<f64>,
    /// Fixed index (plus displacement in fixed voxels) to moving index.
    pub map: Affine,
    /// How the moving features are interpolated.
    pub interpolation: Interpolation,
}

/// Which second-order blocks a pass leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curvature {
    /// `J J'` summed over channels: symmetric blocks, never indefinite.
    GaussNewton,
    /// The Gauss-Newton blocks plus `r Hess M`: the true Hessian of the data term.
    Newton,
    /// The true Hessian with the negative eigenvalues of its blocks mirrored at zero: never indefinite.
    Projected,
}

impl SsdData {
    /// Sizes along the axes of the fixed grid, fastest first.
    pub(crate) fn fixed_size(&self) -> Vec<usize> {
        self.fixed.dims()[1..].iter().rev().copied().collect()
    }

    /// Sizes along the axes of the moving grid, fastest first.
    pub(crate) fn moving_size(&self) -> Vec<usize> {
        self.moving.dims()[1..].iter().rev().copied().collect()
    }

    /// Whether the Gauss-Newton blocks are the outer product of one vector.
    pub(crate) fn is_rank_one(&self) -> bool {
        self.fixed.dims()[0] == 1
    }

    /// The energy `1/2 sum m a r^2` at displacement `u` (`[rank, ...]`, fixed voxels; none is zero everywhere).
    pub fn value(&self, u: Option<&Tensor>) -> Result<f64> {
        let [data, _] = self.values(u, None)?;
        Ok(data)
    }

    /// The energy at `u` and the value of some differences of `u`, in one pass.
    pub(crate) fn values(
        &self,
        u: Option<&Tensor>,
        differences: Option<&Differences>,
    ) -> Result<[f64; 2]> {
        let differences = differences.map(|differences| (differences, false));
        twin!(&self.fixed, launcher => cuda::pass(&launcher, self, u, differences, None));
        with_features!(self.fixed.dtype(), T, S => {
            self.run::<T, S>(u, differences, Output::None)
        })
    }

    /// The energy, its gradient with respect to `u` and the curvature blocks, in one pass.
    ///
    /// `gradient` has the shape of `u`. `blocks` is `[k, ...]`: `k = rank` for the one-vector form (one channel,
    /// Gauss-Newton), else `rank (rank + 1) / 2` entries xx, xy, (xz,) yy, (yz, zz).
    pub fn linearise(
        &self,
        u: Option<&Tensor>,
        curvature: Curvature,
        gradient: &Tensor,
        blocks: &Tensor,
    ) -> Result<f64> {
        let [data, _] = self.model(u, None, curvature, (gradient, blocks), 1.0)?;
        Ok(data)
    }

    /// [`SsdData::linearise`] with differences of `u`, whose gradient is added and whose value is returned too. With
    /// `true` beside them, gradient and blocks are then carried to compositive steps, as by
    /// [`pull_to_steps`](crate::pull_to_steps).
    ///
    /// Gradient and blocks may be halves, of which `factor` times the values are stored (the root of `factor` times the
    /// vector in the one-vector form of blocks); full ones are stored as they are.
    pub(crate) fn model(
        &self,
        u: Option<&Tensor>,
        differences: Option<(&Differences, bool)>,
        curvature: Curvature,
        (gradient, blocks): (&Tensor, &Tensor),
        factor: f64,
    ) -> Result<[f64; 2]> {
        let one = curvature == Curvature::GaussNewton
            && blocks.elem_count() == gradient.elem_count()
            && self.is_rank_one();
        let model = match curvature {
            Curvature::Newton | Curvature::Projected => Model::Newton,
            Curvature::GaussNewton if one => Model::Vector,
            Curvature::GaussNewton => Model::Blocks,
        };
        let root = if one { factor.sqrt() } else { factor };
        twin!(&self.fixed, launcher => {
            let factors = [factor, root];
            let model = cuda::Model { form: model, gradient, blocks, factors };
            cuda::pass(&launcher, self, u, differences, Some(model))
        });
        with_features!(self.fixed.dtype(), T, S => {
            stored::<T, _>(gradient, factor, |g| {
                stored::<T, _>(blocks, root, |b| {
                    self.run::<T, S>(u, differences, Output::Model(model, g, b))
                })
            })??
        })
    }

    /// The warped moving features, `[channels, (nz,) ny, nx]`.
    pub fn warped(&self, u: Option<&Tensor>) -> Result<Tensor> {
        super::warp::sampled(
            &self.moving,
            u,
            &self.fixed_size(),
            &self.map,
            self.interpolation,
        )
    }

    fn run<T: Real, S: Source<T>>(
        &self,
        u: Option<&Tensor>,
        differences: Option<(&Differences, bool)>,
        output: Output<'_, T>,
    ) -> Result<[f64; 2]> {
        if S::KIND != T::KIND && self.interpolation == Interpolation::Cubic {
            return Err(Error::argument(
                "features",
                "in half precision are interpolated linearly; convert them to F32 for cubic interpolation",
            ));
        }
        let smoothness = Smoothness {
            weight: differences.map(|(differences, _)| differences.weight),
            pull: differences.is_some_and(|(_, pull)| pull),
        };
        let weights: Vec<T> = self.channel_weight.iter().map(|&a| T::of(a)).collect();
        read::<S, _>(&self.fixed, |fixed| {
            read::<S, _>(&self.moving, |moving| {
                let with_mask = |mask: Option<&[T]>| {
                    let with_u = |u: Option<&[T]>| {
                        cpu::pass(
                            &cpu::Input {
                                fixed,
                                moving,
                                mask,
                                u,
                                weights: &weights,
                                interpolation: self.interpolation,
                                smoothness,
                            },
                            (&self.fixed_size(), &self.moving_size(), &self.map),
                            output,
                        )
                    };
                    match u {
                        Some(u) => read::<T, _>(u, |u| with_u(Some(u))),
                        None => Ok(with_u(None)),
                    }
                };
                match &self.mask {
                    Some(mask) => read::<T, _>(mask, |m| with_mask(Some(m)))?,
                    None => with_mask(None),
                }
            })
        })??
    }
}

/// Calls `work` with a tensor to be filled, of the type of the features or of half precision.
fn stored<T: Real, R>(
    tensor: &Tensor,
    factor: f64,
    work: impl FnOnce(Stored<'_, T>) -> R,
) -> Result<R> {
    if tensor.dtype() == DType::F16 {
        return write::<f16, _>(tensor, |t| work(Stored::Half(t, factor)));
    }
    write::<T, _>(tensor, |t| work(Stored::Full(t)))
}
