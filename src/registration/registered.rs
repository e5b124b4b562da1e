//! The result of a registration.

use candle_core::Tensor;
use rayon::prelude::*;

use super::fields::{inverse_on, total_in_voxels, total_on};
use crate::features::{Features, IntensityRange};
use crate::ops::{read, warped_values, FoldBarrier};
use crate::solver::{Alignment, LevelReport};
use crate::{Affine, DisplacementField, Grid, Image, Result};

/// How the deformable stage went.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeformableReport {
    /// Name of the transform.
    pub transform: &'static str,
    /// What of the images was compared; none where a network said so.
    pub features: Option<Features>,
    /// Name of the regulariser.
    pub regulariser: &'static str,
    /// Its weight.
    pub lambda: f64,
    /// Where its levels were solved.
    pub device: String,
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
    /// How the start was chosen and the linear stages went; none where there was nothing to choose or align.
    pub alignment: Option<Alignment>,
    /// How the deformable stage went.
    pub deformable: Option<DeformableReport>,
    /// Where the registration began: fixed world to moving world, RAS mm.
    pub initial: Affine,
    /// The intensities of the fixed and the moving image that became 0 and 1.
    pub ranges: (IntensityRange, IntensityRange),
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

    /// The moving image on the fixed grid, interpolated linearly; 0 beyond half a voxel around the moving image.
    pub fn warped(&self, fixed: &Image, moving: &Image) -> Result<Image> {
        self.pulled(fixed, moving, self.displacement.as_ref(), &self.affine)
    }

    /// The moving image on the fixed grid where the registration began.
    pub fn unregistered(&self, fixed: &Image, moving: &Image) -> Result<Image> {
        self.pulled(fixed, moving, None, &self.initial)
    }

    fn pulled(
        &self,
        fixed: &Image,
        moving: &Image,
        u: Option<&Tensor>,
        affine: &Affine,
    ) -> Result<Image> {
        let map = moving
            .grid()
            .world_to_index()
            .compose(affine)
            .compose(&self.grid.index_to_world());
        let values = warped_values(
            moving.values(),
            moving.grid().size(),
            u,
            self.grid.size(),
            &map,
            false,
        )?;
        fixed.with_values(moving.channels(), values)
    }

    /// What `work` makes of the total displacement in voxels of the fixed grid, planar.
    pub(crate) fn in_voxels<R>(&self, work: impl FnOnce(&[f32]) -> R) -> Result<R> {
        match &self.displacement {
            Some(u) if self.affine == Affine::identity() => read(u, work),
            u => Ok(work(&total_in_voxels(
                &self.grid,
                u.as_ref(),
                &self.affine,
            )?)),
        }
    }

    /// Root mean square difference between the fixed image and another on its grid, both on their common scales.
    pub fn difference(&self, fixed: &Image, warped: &Image) -> f64 {
        let (f, m) = &self.ranges;
        const CHUNK: usize = 1 << 14;
        let parts: Vec<f64> = fixed
            .values()
            .par_chunks(CHUNK)
            .zip(warped.values().par_chunks(CHUNK))
            .map(|(a, b)| {
                a.iter()
                    .zip(b)
                    .map(|(&a, &b)| {
                        let difference = f.scaled(a) - m.scaled(b);
                        difference * difference
                    })
                    .sum()
            })
            .collect();
        (parts.iter().sum::<f64>() / fixed.values().len() as f64).sqrt()
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
