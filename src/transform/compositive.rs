//! The compositive diffeomorphism.

use candle_core::Tensor;

use super::Transform;
use crate::ops::compositive_step;
use crate::Result;

/// Compositive (greedy) diffeomorphism: `theta = u`, updated by composition, `phi <- phi o (id + t e)`.
///
/// The update is a retraction, not another parametrisation: `e = (D phi)^-1 v` makes its tangent the additive step `v`, so
/// the stationary points are those of the energy in `u`. The solver shortens steps that would make a determinant (by
/// the digital criterion) not positive. Follows Vercauteren et al. 2009, doi:10.1016/j.neuroimage.2008.10.040.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compositive;

impl Transform for Compositive {
    fn name(&self) -> &'static str {
        "compositive"
    }

    fn is_field(&self) -> bool {
        true
    }

    fn must_not_fold(&self) -> bool {
        true
    }

    fn retract(&self, theta: &Tensor, step: &Tensor, t: f64, out: &Tensor) -> Result<()> {
        compositive_step(theta, step, t, out)
    }
}
