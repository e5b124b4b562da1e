//! Labels: whole numbers on a grid.

use super::nifti_header::NiftiHeader;
use super::volume::{check_length, Image};
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
        let mut ids: Vec<u32> = Vec::new();
        let mut last = 0;
        for &value in &self.values {
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

    /// What was doubtful in the file, in whole sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn header(&self) -> Option<&NiftiHeader> {
        self.header.as_deref()
    }
}
