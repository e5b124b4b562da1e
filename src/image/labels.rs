//! Labels: whole numbers on a grid.

use candle_core::{Device, Tensor};

use super::nifti_header::NiftiHeader;
use super::volume::{check_length, Image};
use crate::ops::resize;
use crate::{Grid, Result};

/// Label numbers on a grid; 0 is the background.
#[derive(Debug, Clone)]
pub struct Labels {
    grid: Grid,
    values: Vec<u32>,
    header: Option<Box<NiftiHeader>>,
    warnings: Vec<String>,
}

impl Labels {
    /// Labels from their values, `i` fastest.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when there are not `grid.voxels()` values.
    pub fn new(grid: Grid, values: Vec<u32>) -> Result<Self> {
        check_length("labels", &grid, 1, values.len())?;
        Ok(Self::from_file(grid, values, None, Vec::new()))
    }

    /// Labels on an image's grid, with its header.
    ///
    /// # Errors
    /// As [`Labels::new`].
    pub fn on(image: &Image, values: Vec<u32>) -> Result<Self> {
        check_length("labels", image.grid(), 1, values.len())?;
        Ok(Self::from_file(
            image.grid().clone(),
            values,
            image.header().cloned().map(Box::new),
            Vec::new(),
        ))
    }

    pub(super) fn from_file(
        grid: Grid,
        values: Vec<u32>,
        header: Option<Box<NiftiHeader>>,
        warnings: Vec<String>,
    ) -> Self {
        Self {
            grid,
            values,
            header,
            warnings,
        }
    }

    /// Where the voxels lie.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// All label numbers.
    pub fn values(&self) -> &[u32] {
        &self.values
    }

    /// All label numbers, to be changed.
    pub fn values_mut(&mut self) -> &mut [u32] {
        &mut self.values
    }

    /// All label numbers, without a copy.
    pub fn into_values(self) -> Vec<u32> {
        self.values
    }

    /// The numbers that occur, sorted, without the background.
    pub fn ids(&self) -> Vec<u32> {
        distinct(&self.values)
    }

    /// What was doubtful in the file, in whole sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn header(&self) -> Option<&NiftiHeader> {
        self.header.as_deref()
    }
}

/// The label numbers that occur, sorted, without the background.
pub(crate) fn distinct(values: &[u32]) -> Vec<u32> {
    let mut ids: Vec<u32> = Vec::new();
    let mut last = 0;
    for &value in values {
        // Neighbours are mostly alike: only a change is looked up.
        if value != last {
            last = value;
            if value != 0 {
                if let Err(place) = ids.binary_search(&value) {
                    ids.insert(place, value);
                }
            }
        }
    }
    ids
}

/// The share of each label in each voxel of a grid `to` over the same field of view as `from`, `[ids, (nz,) ny, nx]`.
pub(crate) fn label_shares(values: &[u32], from: &Grid, ids: &[u32], to: &Grid) -> Result<Tensor> {
    let one = |&id: &u32| share_of(values, |value| value == id, from, to);
    let maps = ids.iter().map(one).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&maps, 0)?)
}

/// The share of the voxels that count in each voxel of a grid `to` over the same field of view as `from`,
/// `[1, (nz,) ny, nx]`.
pub(crate) fn share_of(
    values: &[u32],
    counts: impl Fn(u32) -> bool,
    from: &Grid,
    to: &Grid,
) -> Result<Tensor> {
    let inside: Vec<f32> = values.iter().map(|&v| counts(v).into()).collect();
    let shape = [vec![1], from.shape()].concat();
    let map = Tensor::from_vec(inside, shape, &Device::Cpu)?;
    if from.size() == to.size() {
        return Ok(map);
    }
    resize(&map, to.size())
}
