//! Curvature of an energy of a velocity.

use std::sync::Arc;

use candle_core::Tensor;

use super::composite::Composite;
use crate::linear::LinearOperator;
use crate::ops::{combine, copy, dot};
use crate::regulariser::Regulariser;
use crate::transform::Tangent;
use crate::{Grid, Result};

/// `D' H D + weight L + shift`: the curvature `H` in displacements seen through the derivative of the flow (which, for a
/// Hessian, turns the gradient along), and the regulariser of the velocity.
pub(super) struct OfVelocity {
    pub inner: Composite,
    pub tangent: Box<dyn Tangent>,
    pub grid: Grid,
    pub regulariser: Arc<dyn Regulariser>,
    pub weight: f64,
    pub shift: f64,
}

impl LinearOperator for OfVelocity {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        let pulled = self.tangent.through(p, &mut |du| {
            let force = du.zeros_like()?;
            self.inner.apply(du, &force)?;
            Ok(force)
        })?;
        copy(&pulled.contiguous()?, out)?;
        combine(
            self.weight,
            &self.regulariser.gradient(p, &self.grid)?,
            1.0,
            out,
        )?;
        combine(self.shift, p, 1.0, out)?;
        dot(p, out)
    }
}
