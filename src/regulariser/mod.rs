//! What makes a displacement plausible: quadratic penalties with their operators.

mod bending;
mod diffusion;
mod elastic;

use candle_core::Tensor;

use crate::ops::Differences;
use crate::{Grid, Result};

pub use bending::Bending;
pub use diffusion::Diffusion;
pub use elastic::Elastic;

/// A quadratic penalty `R(u) = 1/2 u' L u` on a field of `rank` components, `[rank, (nz,) ny, nx]`, in voxels of a grid.
///
/// Spacing enters: the penalty is that of the displacement in millimetres, summed over voxels, so that it means the
/// same on every level and for anisotropic grids. Nothing crosses the border (natural boundary conditions).
pub trait Regulariser: Send + Sync + std::fmt::Debug {
    /// Name in reports.
    fn name(&self) -> &'static str;

    /// The part of `L` made of first differences alone, which the fused kernels take; zero weights where there is none.
    fn differences(&self, grid: &Grid) -> Differences;

    /// Value of the rest of the penalty, beyond [`Regulariser::differences`].
    fn extra_value(&self, _u: &Tensor, _grid: &Grid) -> Result<f64> {
        Ok(0.0)
    }

    /// Adds `weight` times the rest of `L u` to `out`.
    fn add_extra(&self, _u: &Tensor, _grid: &Grid, _weight: f64, _out: &Tensor) -> Result<()> {
        Ok(())
    }

    /// Diagonal of the rest of `L` for each component, as inside the grid; `None` when there is no rest.
    fn extra_diagonal(&self, _grid: &Grid) -> Option<[f64; 3]> {
        None
    }

    /// The penalty's value at `u`.
    fn value(&self, u: &Tensor, grid: &Grid) -> Result<f64> {
        Ok(self.differences(grid).value(u)? + self.extra_value(u, grid)?)
    }

    /// `L u`, the penalty's gradient.
    fn gradient(&self, u: &Tensor, grid: &Grid) -> Result<Tensor> {
        let out = Tensor::zeros(u.shape(), u.dtype(), u.device())?;
        self.differences(grid).add_gradient(u, &out)?;
        self.add_extra(u, grid, 1.0, &out)?;
        Ok(out)
    }
}

/// `weight[a][b] = factor(a, b) (h_a / h_b)^2`: the squared derivative in millimetres of component `a` along axis `b`.
fn metric(grid: &Grid, factor: impl Fn(usize, usize) -> f64) -> [[f64; 3]; 3] {
    let h = grid.spacing();
    std::array::from_fn(|a| {
        std::array::from_fn(|b| {
            if a < h.len() && b < h.len() {
                factor(a, b) * (h[a] / h[b]).powi(2)
            } else {
                0.0
            }
        })
    })
}
