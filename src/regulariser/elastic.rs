//! Linear elasticity.

use candle_core::Tensor;

use super::{metric, Regulariser};
use crate::ops::{add_divergence_gradient, divergence_value, Differences};
use crate::{Grid, Result};

/// Linear elasticity in Navier's form: `R(u) = mu / 2 sum |grad u|^2 + (mu + lambda) / 2 sum (div u)^2`.
///
/// Inside the grid its operator is that of the Navier-Lame equations, `-mu Laplacian u - (mu + lambda) grad div u`
/// (Modersitzki, Numerical Methods for Image Registration, 2004). First derivatives are forward differences, the
/// divergence is taken at cell centres.
#[derive(Debug, Clone, Copy)]
pub struct Elastic {
    /// Shear modulus.
    pub mu: f64,
    /// Lame's first parameter.
    pub lambda: f64,
}

impl Default for Elastic {
    fn default() -> Self {
        Self {
            mu: 1.0,
            lambda: 1.0,
        }
    }
}

impl Regulariser for Elastic {
    fn name(&self) -> &'static str {
        "elastic"
    }

    fn differences(&self, grid: &Grid) -> Differences {
        Differences {
            weight: metric(grid, |_, _| self.mu),
        }
    }

    fn extra_value(&self, u: &Tensor, _grid: &Grid) -> Result<f64> {
        Ok((self.mu + self.lambda) * divergence_value(u)?)
    }

    fn add_extra(&self, u: &Tensor, _grid: &Grid, weight: f64, out: &Tensor) -> Result<()> {
        add_divergence_gradient(u, weight * (self.mu + self.lambda), out)
    }

    fn extra_diagonal(&self, grid: &Grid) -> Option<[f64; 3]> {
        let cells = if grid.rank() == 2 { 1.0 } else { 0.5 };
        Some([(self.mu + self.lambda) * cells; 3])
    }
}
