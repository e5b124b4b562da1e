//! Cubic B-spline free-form deformation.

use candle_core::{DType, Device, Tensor};

use super::Transform;
use crate::ops::{separable, separable_adjoint, separable_diagonal, Table};
use crate::{Grid, Result};

/// Cubic B-spline free-form deformation: `theta` holds control displacements (voxels of the image grid) on a lattice
/// with a control point about every `spacing` voxels, and `u = B theta` with the tensor-product cubic B-spline basis.
///
/// The lattice fits the grid: control points lie on the outer voxels, their distance is at most `spacing`, and one more
/// lies beyond on either side, so that every one of them has its share in some voxel. Rueckert et al. 1999, doi:10.1109/42.796284.
#[derive(Debug, Clone, Copy)]
pub struct BSpline {
    /// Voxels between control points at most, on every level.
    pub spacing: usize,
}

impl Default for BSpline {
    fn default() -> Self {
        Self { spacing: 5 }
    }
}

impl BSpline {
    fn cells(&self, size: usize) -> usize {
        (size - 1).div_ceil(self.spacing).max(1)
    }

    /// The basis along each axis, from controls to voxels.
    fn tables(&self, grid: &Grid) -> Vec<Option<Table>> {
        grid.size()
            .iter()
            .map(|&n| Some(Table::cubic_basis(self.cells(n), n)))
            .collect()
    }
}

impl Transform for BSpline {
    fn name(&self) -> &'static str {
        "bspline"
    }

    fn identity(&self, grid: &Grid, dtype: DType, device: &Device) -> Result<Tensor> {
        let mut shape = vec![grid.rank()];
        shape.extend(grid.shape().iter().map(|&n| self.cells(n) + 3));
        Ok(Tensor::zeros(shape, dtype, device)?)
    }

    fn displacement(&self, theta: &Tensor, grid: &Grid) -> Result<Tensor> {
        separable(theta, &self.tables(grid))
    }

    fn pushforward(&self, _theta: &Tensor, grid: &Grid, step: &Tensor) -> Result<Tensor> {
        separable(step, &self.tables(grid))
    }

    fn pullback(&self, _theta: &Tensor, grid: &Grid, cotangent: &Tensor) -> Result<Tensor> {
        separable_adjoint(cotangent, &self.tables(grid))
    }

    fn pull_diagonal(&self, grid: &Grid, d: &Tensor) -> Result<Option<Tensor>> {
        separable_diagonal(d, &self.tables(grid)).map(Some)
    }

    fn resample(&self, theta: &Tensor, from: &Grid, to: &Grid) -> Result<Tensor> {
        // project the resampled displacement onto the finer lattice by a few normal-equation steps
        let u = super::resample_field(&self.displacement(theta, from)?, from, to)?;
        let mut coarse = self.identity(to, theta.dtype(), theta.device())?;
        let mass = {
            let ones = u.ones_like()?;
            self.pullback(&coarse, to, &ones)?
        };
        for _ in 0..20 {
            let rest = (&u - self.displacement(&coarse, to)?)?;
            let step = (self.pullback(&coarse, to, &rest)? / &mass)?;
            coarse = (coarse + step)?;
        }
        Ok(coarse)
    }
}
