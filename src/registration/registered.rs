//! The result of a registration.

use candle_core::Tensor;

use super::deformation::{inverse_on, total_on};
use crate::ops::FoldBarrier;
use crate::solver::LevelReport;
use crate::{Affine, DisplacementField, Grid, Image, Result};

/// How the deformable stage went.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeformableReport {
    /// Name of the transform.
    pub transform: &'static str,
    /// Name of the regulariser.
    pub regulariser: &'static str,
    /// Its weight.
    pub lambda: f64,
    /// Whether a certified minimum was asked for.
    pub certify: bool,
    /// The barrier against folding that is part of the energy, its weight relative to the gradient energy.
    pub barrier: Option<FoldBarrier>,
    /// Coarse to fine.
    pub levels: Vec<LevelReport>,
}

/// The map `y = A (x + u(x))` from fixed to moving points, and how it was found.
#[derive(Debug)]
pub struct Registered {
    /// The fixed grid, on which the displacement lies.
    pub grid: Grid,
    /// The linear part, which acts on points after the displacement: fixed world to moving world, RAS mm.
    pub affine: Affine,
    /// `[rank, (nz,) ny, nx]`, in voxels of the fixed grid; none where no stage deformed.
    pub displacement: Option<Tensor>,
    /// How the deformable stage went.
    pub deformable: Option<DeformableReport>,
}

impl Registered {
    /// The total displacement on the fixed grid, mm: this one field alone carries fixed points to moving points.
    ///
    /// `fixed` gives the header of the file that it may be written to.
    pub fn total_field(&self, fixed: &Image) -> Result<DisplacementField> {
        DisplacementField::on(
            fixed,
            total_on(&self.grid, self.displacement.as_ref(), &self.affine)?,
        )
    }

    /// The displacement of the deformable stage alone on the fixed grid, mm.
    pub fn deformable_field(&self, fixed: &Image) -> Result<DisplacementField> {
        DisplacementField::on(
            fixed,
            total_on(&self.grid, self.displacement.as_ref(), &Affine::identity())?,
        )
    }

    /// The inverse of [`Registered::total_field`] on the grid of the moving image, mm, and the share of the voxels where
    /// the inversion did not reach a hundredth of a voxel.
    pub fn inverse_field(&self, moving: &Image) -> Result<(DisplacementField, f64)> {
        let (values, missed) = inverse_on(
            &self.grid,
            self.displacement.as_ref(),
            &self.affine,
            moving.grid(),
        )?;
        Ok((DisplacementField::on(moving, values)?, missed))
    }

    /// The inverse of [`Registered::deformable_field`] on the fixed grid, mm, and the share that was missed.
    pub fn deformable_inverse_field(&self, fixed: &Image) -> Result<(DisplacementField, f64)> {
        let (values, missed) = inverse_on(
            &self.grid,
            self.displacement.as_ref(),
            &Affine::identity(),
            &self.grid,
        )?;
        Ok((DisplacementField::on(fixed, values)?, missed))
    }
}
