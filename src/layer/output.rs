//! What the layer returns.

use candle_core::Tensor;

use crate::adjoint::AdjointRecord;
use crate::ops::{determinant_map, resize, warp, Interpolation};
use crate::solver::LevelReport;
use crate::{Affine, Error, Grid, Result};

/// The result of a batch, level by level.
#[derive(Debug)]
pub struct LayerOutput {
    /// Coarse first.
    pub levels: Vec<LayerLevel>,
    /// The pairs that could not be registered; their displacements are zero and have no gradient.
    pub failures: Vec<LayerFailure>,
}

/// Why a pair of a batch has no result.
#[derive(Debug)]
pub struct LayerFailure {
    /// Its place in the batch.
    pub item: usize,
    /// The reason.
    pub error: Error,
}

/// One level of the result.
#[derive(Debug)]
pub struct LayerLevel {
    /// The fixed grid of the level.
    pub grid: Grid,
    /// `[batch, rank, (nz,) ny, nx]`, in voxels of [`grid`](Self::grid), component 0 along the fastest axis: the optimum, with
    /// its gradient.
    pub displacement: Tensor,
    /// Where the moving images lie before they are deformed: fixed world to moving world.
    pub affine: Vec<Affine>,
    /// How each optimum was found, with its certificate; none for a pair that failed.
    pub reports: Vec<Option<LevelReport>>,
    /// What the adjoint of each optimum reports once `backward` has passed it.
    pub adjoints: Vec<Option<AdjointRecord>>,
}

impl LayerOutput {
    /// The finest level.
    pub fn finest(&self) -> &LayerLevel {
        &self.levels[self.levels.len() - 1]
    }
}

impl LayerLevel {
    /// The displacement on another grid of the same field of view, in voxels of that, within the graph.
    ///
    /// # Errors
    /// Those of the tensor engine.
    pub fn displacement_on(&self, grid: &Grid) -> Result<Tensor> {
        if grid.size() == self.grid.size() {
            return Ok(self.displacement.clone());
        }
        let mut parts = Vec::with_capacity(grid.rank());
        for a in 0..grid.rank() {
            let ratio = self.grid.spacing()[a] / grid.spacing()[a];
            let part = (self.displacement.narrow(1, a, 1)? * ratio)?.contiguous()?;
            parts.push(resize(&part, grid.size())?);
        }
        Ok(Tensor::cat(&parts, 1)?)
    }

    /// Images, label channels or features `[batch, channels, (mz,) my, mx]` on the grid `moving`, carried to the fixed grid
    /// `fixed` of the same field of view as the level's, with linear interpolation: `[batch, channels, (nz,) ny, nx]`, in the
    /// element type of the images. Gradients flow to the images and through the displacement.
    ///
    /// # Errors
    /// [`Error::Shape`] when the images do not lie on `moving` or are not as many as the displacements.
    pub fn warp(&self, images: &Tensor, moving: &Grid, fixed: &Grid) -> Result<Tensor> {
        let mut expected = images.dims().to_vec();
        expected.truncate(2);
        expected[0] = self.affine.len();
        expected.extend(moving.shape());
        if images.dims() != expected {
            return Err(Error::Shape {
                what: "images to be warped",
                expected,
                got: images.dims().to_vec(),
            });
        }
        let u = self.displacement_on(fixed)?.to_dtype(images.dtype())?;
        let mut warped = Vec::with_capacity(self.affine.len());
        for item in 0..self.affine.len() {
            let map = self.map(item, moving, fixed);
            let image = images.get(item)?.contiguous()?;
            warped.push(warp(
                &image,
                &u.get(item)?.contiguous()?,
                &map,
                Interpolation::Linear,
            )?);
        }
        Ok(Tensor::stack(&warped, 0)?)
    }

    /// From fixed index to moving index, before the displacement.
    pub(crate) fn map(&self, item: usize, moving: &Grid, fixed: &Grid) -> Affine {
        moving
            .world_to_index()
            .compose(&self.affine[item])
            .compose(&fixed.index_to_world())
    }

    /// The determinants of `I + Du` by central differences, `[batch, (nz,) ny, nx]`, single precision, without a gradient.
    ///
    /// # Errors
    /// Those of the tensor engine.
    pub fn determinants(&self) -> Result<Tensor> {
        let u = self
            .displacement
            .detach()
            .to_dtype(candle_core::DType::F32)?;
        let mut all = Vec::with_capacity(self.affine.len());
        for item in 0..self.affine.len() {
            all.push(determinant_map(&u.get(item)?.contiguous()?)?);
        }
        Ok(Tensor::stack(&all, 0)?)
    }
}
