//! Curvature of an energy of a velocity.

use std::sync::Arc;

use candle_core::Tensor;

use super::composite::Composite;
use crate::linear::LinearOperator;
use crate::ops::{combine, copy, dot};
use crate::regulariser::Regulariser;
use crate::transform::Transform;
use crate::{Grid, Result};

/// `D' H D + (D' g)' + weight L + shift`: the curvature `H` in displacements between the derivative of the transform at
/// `theta`, how that derivative turns the gradient `g`, and the regulariser of the parameters themselves.
pub(super) struct OfVelocity {
    pub inner: Composite,
    pub transform: Arc<dyn Transform>,
    pub theta: Tensor,
    pub grid: Grid,
    /// The gradient with respect to the displacement; none leaves its turning out.
    pub gradient: Option<Tensor>,
    /// In the scale of the inner curvature.
    pub scale: f64,
    pub regulariser: Arc<dyn Regulariser>,
    pub weight: f64,
    pub shift: f64,
}

impl LinearOperator for OfVelocity {
    fn apply(&self, p: &Tensor, out: &Tensor) -> Result<f64> {
        let (transform, theta, grid) = (&self.transform, &self.theta, &self.grid);
        let du = transform.pushforward(theta, grid, p)?.contiguous()?;
        let force = du.zeros_like()?;
        self.inner.apply(&du, &force)?;
        copy(&transform.pullback(theta, grid, &force)?.contiguous()?, out)?;
        if let Some(gradient) = &self.gradient {
            if let Some(turned) = transform.pullback_derivative(theta, grid, gradient, p)? {
                combine(self.scale, &turned.contiguous()?, 1.0, out)?;
            }
        }
        combine(self.weight, &self.regulariser.gradient(p, grid)?, 1.0, out)?;
        combine(self.shift, p, 1.0, out)?;
        dot(p, out)
    }
}
