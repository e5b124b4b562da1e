//! The compositive diffeomorphism.

use candle_core::Tensor;

use super::{resample_field, Transform, SMALLEST_DETERMINANT};
use crate::ops::{compose_unfolded, relax_folds};
use crate::{Error, Grid, Result};

/// Compositive (greedy) diffeomorphism: `theta = u`, updated by composition, `phi <- phi o (id + t e)`.
///
/// The update is a retraction, not another parametrisation: the gradient with respect to the step `e` is
/// `(D phi)' grad_u E`, so the stationary points are those of the energy in `u`. The solver shortens steps that would make a determinant (by
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

    fn retract(&self, theta: &Tensor, step: &Tensor, t: f64, out: &Tensor) -> Result<bool> {
        compose_unfolded(theta, step, t, SMALLEST_DETERMINANT, out)
    }

    fn resample(&self, theta: &Tensor, from: &Grid, to: &Grid) -> Result<Tensor> {
        let theta = resample_field(theta, from, to)?;
        if relax_folds(&theta, SMALLEST_DETERMINANT)? {
            return Ok(theta);
        }
        Err(Error::data(
            "displacement",
            format!(
                "folds on {} and cannot be smoothed; use more levels or a larger lambda",
                to.describe()
            ),
        ))
    }

    fn composes(&self) -> bool {
        true
    }
}
