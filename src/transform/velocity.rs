//! The stationary velocity field.

use std::sync::Arc;

use candle_core::Tensor;

use super::{resample_field, Transform, SMALLEST_DETERMINANT};
use crate::ops::{
    combine, compose, copy, record, smallest_determinant, smooth, spline_coefficients, warp,
    warp_adjoint, warp_adjoint_derivative, warp_derivative, warp_gradient, BlockSystem, Curvature,
    Differences, Interpolation, SsdData,
};
use crate::{Affine, Error, Grid, Result};

/// Stationary velocity field: `theta = v`, in voxels, and `phi = exp(v)`, the flow along `v` for the unit of time, which has
/// the inverse `exp(-v)`.
///
/// The exponential is taken by scaling and squaring (Arsigny et al. 2006, doi:10.1007/11866565_113): `u_0 = v / 2^K`, then `K`
/// times `u(x) + u(x + u(x))`, beyond the border with the nearest value. All derivatives are those of this very computation.
///
/// The regulariser acts on the *velocity*, not on the displacement: the flow averages the velocity along its paths, so that
/// what it averages away would have no say in an energy of the displacement, and no minimum. A step that folds by the digital
/// criterion is not taken. Certified runs interpolate the squarings by cubic splines ([`Transform::smooth`]).
#[derive(Debug, Clone, Copy)]
pub struct Velocity {
    /// `K`: the flow is followed in `2^K` steps. With 6, the default, the first step of a velocity of 32 voxels is half a
    /// voxel.
    pub squarings: usize,
    /// How fields are interpolated in a squaring.
    pub interpolation: Interpolation,
}

impl Default for Velocity {
    fn default() -> Self {
        Self {
            squarings: 6,
            interpolation: Interpolation::Linear,
        }
    }
}

/// A folded field is smoothed so often at most.
const ROUNDS: usize = 12;

impl Velocity {
    fn flow(&self, theta: &Tensor) -> Result<Flow> {
        let scale = 0.5f64.powi(self.squarings as i32);
        let mut stages = vec![(theta.detach() * scale)?.contiguous()?];
        for k in 0..self.squarings {
            let u = &stages[k];
            let next = match self.interpolation {
                Interpolation::Linear => {
                    let out = u.zeros_like()?;
                    compose(u, u, 1.0, &out)?;
                    out
                }
                cubic => (u + warp(u, u, &Affine::identity(), cubic)?)?,
            };
            stages.push(next);
        }
        Ok(Flow {
            stages,
            scale,
            interpolation: self.interpolation,
        })
    }

    fn folds(&self, theta: &Tensor) -> Result<bool> {
        Ok(smallest_determinant(self.flow(theta)?.end())? <= SMALLEST_DETERMINANT)
    }
}

impl Transform for Velocity {
    fn name(&self) -> &'static str {
        "velocity"
    }

    fn displacement(&self, theta: &Tensor, _grid: &Grid) -> Result<Tensor> {
        let end = self.flow(theta)?.end().clone();
        let (own, still) = (*self, theta.detach());
        record("velocity", theta, end, move |g| own.flow(&still)?.pull(g))
    }

    fn pushforward(&self, theta: &Tensor, _grid: &Grid, step: &Tensor) -> Result<Tensor> {
        let mut pushed = self.flow(theta)?.push(step)?;
        pushed
            .pop()
            .ok_or_else(|| Error::argument("velocity", "has no stage"))
    }

    fn pullback(&self, theta: &Tensor, _grid: &Grid, cotangent: &Tensor) -> Result<Tensor> {
        self.flow(theta)?.pull(cotangent)
    }

    fn pullback_derivative(
        &self,
        theta: &Tensor,
        _grid: &Grid,
        cotangent: &Tensor,
        step: &Tensor,
    ) -> Result<Option<Tensor>> {
        self.flow(theta)?.pull_along(cotangent, step).map(Some)
    }

    fn is_velocity(&self) -> bool {
        true
    }

    fn must_not_fold(&self) -> bool {
        true
    }

    fn smooth(&self) -> Option<Arc<dyn Transform>> {
        Some(Arc::new(Self {
            interpolation: Interpolation::Cubic,
            ..*self
        }))
    }

    fn retract(&self, theta: &Tensor, step: &Tensor, t: f64, out: &Tensor) -> Result<bool> {
        copy(theta, out)?;
        combine(t, step, 1.0, out)?;
        Ok(!self.folds(out)?)
    }

    fn resample(&self, theta: &Tensor, from: &Grid, to: &Grid) -> Result<Tensor> {
        let mut theta = resample_field(theta, from, to)?;
        for _ in 0..ROUNDS {
            if !self.folds(&theta)? {
                return Ok(theta);
            }
            theta = smooth(&theta, &vec![1.0; to.rank()])?;
        }
        Err(Error::data(
            "velocity",
            format!(
                "its flow folds on {} and cannot be smoothed; use more levels or a larger lambda",
                to.describe()
            ),
        ))
    }
}

/// The displacements after each squaring, from `v / 2^K` to `exp(v)`.
struct Flow {
    stages: Vec<Tensor>,
    scale: f64,
    interpolation: Interpolation,
}

impl Flow {
    fn end(&self) -> &Tensor {
        &self.stages[self.stages.len() - 1]
    }

    /// The displacements that are squared.
    fn squared(&self) -> &[Tensor] {
        &self.stages[..self.stages.len() - 1]
    }

    /// The derivatives of all stages along a step of the velocity.
    fn push(&self, step: &Tensor) -> Result<Vec<Tensor>> {
        let (still, how) = (Affine::identity(), self.interpolation);
        let mut along = vec![(step * self.scale)?.contiguous()?];
        for (k, u) in self.squared().iter().enumerate() {
            let d = &along[k];
            let next = (d + warp(d, u, &still, how)?)?;
            along.push((next + warp_derivative(u, u, &still, how, d)?)?);
        }
        Ok(along)
    }

    /// One squaring back.
    fn pulled(&self, u: &Tensor, w: &Tensor) -> Result<Tensor> {
        let (still, how) = (Affine::identity(), self.interpolation);
        let size: Vec<usize> = u.dims()[1..].iter().rev().copied().collect();
        let next = (w + warp_adjoint(w, u, &still, how, &size)?)?;
        Ok((next + warp_gradient(u, u, &still, how, w)?)?)
    }

    /// The transposed derivative, applied to a cotangent of the end.
    fn pull(&self, cotangent: &Tensor) -> Result<Tensor> {
        let mut w = cotangent.contiguous()?;
        for u in self.squared().iter().rev() {
            w = self.pulled(u, &w)?;
        }
        Ok((w * self.scale)?)
    }

    /// The derivative of [`Flow::pull`] along a step of the velocity: forward over reverse.
    fn pull_along(&self, cotangent: &Tensor, step: &Tensor) -> Result<Tensor> {
        let (still, how) = (Affine::identity(), self.interpolation);
        let along = self.push(step)?;
        let mut w = cotangent.contiguous()?;
        let mut dw = w.zeros_like()?;
        for (u, d) in self.squared().iter().zip(&along).rev() {
            let size: Vec<usize> = u.dims()[1..].iter().rev().copied().collect();
            dw = self.pulled(u, &dw)?;
            dw = (dw + warp_adjoint_derivative(&w, u, &still, how, &size, d)?)?;
            dw = (dw + warp_gradient(d, u, &still, how, &w)?)?;
            dw = (dw + self.bend(u, &w, d)?)?;
            w = self.pulled(u, &w)?;
        }
        Ok((dw * self.scale)?)
    }

    /// `sum_c w_c (Hess u_c)(x + u(x)) d(x)`: the difference of the two curvatures of squares whose residuals are `w`.
    fn bend(&self, u: &Tensor, w: &Tensor, d: &Tensor) -> Result<Tensor> {
        let rank = u.dims()[0];
        let mut data = SsdData {
            fixed: u.clone(),
            moving: match self.interpolation {
                Interpolation::Linear => u.clone(),
                Interpolation::Cubic => spline_coefficients(u)?,
            },
            mask: None,
            channel_weight: vec![1.0; rank],
            map: Affine::identity(),
            interpolation: self.interpolation,
        };
        data.fixed = (data.warped(Some(u))? - w)?;
        let mut shape = u.dims().to_vec();
        shape[0] = rank * (rank + 1) / 2;
        let product = |curvature: Curvature| -> Result<Tensor> {
            let blocks = Tensor::zeros(shape.as_slice(), u.dtype(), u.device())?;
            data.linearise(Some(u), curvature, &u.zeros_like()?, &blocks)?;
            let system = BlockSystem {
                blocks,
                differences: Differences {
                    weight: [[0.0; 3]; 3],
                },
                shift: 0.0,
                extra_diagonal: [0.0; 3],
            };
            let out = u.zeros_like()?;
            system.apply(d, &out)?;
            Ok(out)
        };
        Ok((product(Curvature::Newton)? - product(Curvature::GaussNewton)?)?)
    }
}
