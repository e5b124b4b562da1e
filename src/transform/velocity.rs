//! The stationary velocity field.

use std::sync::Arc;

use candle_core::Tensor;

use super::flow::Flow;
use super::{resample_field, Tangent, Transform, SMALLEST_DETERMINANT};
use crate::ops::{
    clear_of_folds, combine, copy, record, smallest_determinant, smooth, Interpolation,
};
use crate::{Error, Grid, Result};

/// Stationary velocity field: `theta = v`, in voxels, and `phi = exp(v)`, the flow along `v` for the unit of time, which has
/// the inverse `exp(-v)`.
///
/// The exponential is taken by scaling and squaring (Arsigny et al. 2006, doi:10.1007/11866565_113): `u_0 = v / 2^K`, then `K`
/// times `u(x) + u(x + u(x))`, beyond the border with the nearest value. All derivatives are those of this very computation.
///
/// The regulariser acts on the *velocity*, not on the displacement: the flow averages the velocity along its paths, so that
/// what it averages away would have no say in an energy of the displacement, and no minimum. Where a step would fold by the
/// digital criterion, it is shortened there and along the way. Certified runs interpolate the squarings by cubic splines ([`Transform::smooth`]).
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

/// Steps are shortened where they fold, and folded fields smoothed, so often at most.
const ROUNDS: usize = 8;

impl Velocity {
    fn flow(&self, theta: &Tensor) -> Result<Flow> {
        Flow::along(theta, self.squarings, self.interpolation)
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
        self.flow(theta)?.push(step)
    }

    fn pullback(&self, theta: &Tensor, _grid: &Grid, cotangent: &Tensor) -> Result<Tensor> {
        self.flow(theta)?.pull(cotangent)
    }

    fn is_velocity(&self) -> bool {
        true
    }

    fn tangent(
        &self,
        theta: &Tensor,
        gradient: Option<&Tensor>,
    ) -> Result<Option<Box<dyn Tangent>>> {
        Ok(Some(Box::new(self.flow(theta)?.tangent(gradient)?)))
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
        for round in 0..=ROUNDS {
            copy(theta, out)?;
            combine(t, step, 1.0, out)?;
            let Some(share) = clear_of_folds(self.flow(out)?.end(), SMALLEST_DETERMINANT)? else {
                return Ok(true);
            };
            // half at first, then nothing at all
            let least = if round == 0 { 0.5 } else { 0.0 };
            let share = share.affine(1.0 - least, least)?;
            copy(&step.broadcast_mul(&share)?, step)?;
        }
        Ok(false)
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
