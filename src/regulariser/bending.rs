//! Squared second derivatives.

use candle_core::Tensor;

use super::{metric, Regulariser};
use crate::ops::Differences;
use crate::{Grid, Result};

/// Bending: `R(u) = l^2 / 2 sum |Laplacian u|^2`, in millimetres, with natural borders.
///
/// Inside the grid this equals the sum of all squared second derivatives (Rueckert et al., doi:10.1109/42.796284) up to
/// terms on the border. The length `l` makes the penalty a pure number, comparable with [`Diffusion`](super::Diffusion).
#[derive(Debug, Clone, Copy)]
pub struct Bending {
    /// The length `l`, mm.
    pub length: f64,
}

impl Default for Bending {
    fn default() -> Self {
        Self { length: 2.0 }
    }
}

impl Bending {
    /// `-Laplacian` of each component times its spacing, so that squares are those of millimetres; symmetric.
    fn root(&self, grid: &Grid) -> Differences {
        let h = grid.spacing();
        Differences {
            weight: std::array::from_fn(|a| {
                std::array::from_fn(|b| {
                    if a < h.len() && b < h.len() {
                        self.length * h[a] / (h[b] * h[b])
                    } else {
                        0.0
                    }
                })
            }),
        }
    }

    fn bent(&self, u: &Tensor, grid: &Grid) -> Result<Tensor> {
        let out = Tensor::zeros(u.shape(), u.dtype(), u.device())?;
        self.root(grid).add_gradient(u, &out)?;
        Ok(out)
    }
}

impl Regulariser for Bending {
    fn name(&self) -> &'static str {
        "bending"
    }

    fn differences(&self, grid: &Grid) -> Differences {
        Differences {
            weight: metric(grid, |_, _| 0.0),
        }
    }

    fn extra_value(&self, u: &Tensor, grid: &Grid) -> Result<f64> {
        let bent = self.bent(u, grid)?;
        Ok(0.5 * crate::ops::dot(&bent, &bent)?)
    }

    fn add_extra(&self, u: &Tensor, grid: &Grid, weight: f64, out: &Tensor) -> Result<()> {
        let bent = self.bent(u, grid)?;
        let twice = self.bent(&bent, grid)?;
        crate::ops::combine(weight, &twice, 1.0, out)
    }

    fn extra_diagonal(&self, grid: &Grid) -> Option<[f64; 3]> {
        let root = self.root(grid).weight;
        Some(root.map(|row| {
            // centre squared plus two neighbours squared an axis
            let centre: f64 = row.iter().map(|w| 2.0 * w).sum();
            centre.powi(2) + row.iter().map(|w| 2.0 * w * w).sum::<f64>()
        }))
    }
}
