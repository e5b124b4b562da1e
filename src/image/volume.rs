//! Images: values on a grid.

use super::nifti_header::NiftiHeader;
use crate::{Error, Grid, Result};

/// How image files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// Which volume of a file with several (4D) to take, counted from 0. `None` demands that there is only one.
    pub volume: Option<usize>,
    /// Take all volumes, or all components of a vector image (5D), as channels.
    pub channels: bool,
    /// Accept NaN and infinite values. Off, they are an error: a registration cannot use them.
    pub allow_non_finite: bool,
    /// Most bytes that the values may take in memory, raw and converted together; more is an error before anything is
    /// allocated.
    pub memory_limit: u64,
}

impl Default for ImageOptions {
    /// One volume, finite values, 16 GiB.
    fn default() -> Self {
        Self {
            volume: None,
            channels: false,
            allow_non_finite: false,
            memory_limit: 16 << 30,
        }
    }
}

/// Single-precision values on a grid, of one or more channels.
///
/// Values are planar: channel slowest, then `k`, `j`, and `i` fastest; `channels * grid.voxels()` of them. An image
/// that was read from a NIfTI file remembers its header, so that what is written on the same grid looks alike to
/// other programs.
#[derive(Debug, Clone)]
pub struct Image {
    grid: Grid,
    channels: usize,
    values: Vec<f32>,
    header: Option<Box<NiftiHeader>>,
    warnings: Vec<String>,
}

impl Image {
    /// An image from its values.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are no channels, or not `channels * grid.voxels()` values.
    pub fn new(grid: Grid, channels: usize, values: Vec<f32>) -> Result<Self> {
        check_length("image", &grid, channels, values.len())?;
        Ok(Self {
            grid,
            channels,
            values,
            header: None,
            warnings: Vec::new(),
        })
    }

    /// Other values on this image's grid, with its header: how a warped image gets the fixed image's header.
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn with_values(&self, channels: usize, values: Vec<f32>) -> Result<Self> {
        check_length("image", &self.grid, channels, values.len())?;
        Ok(Self {
            grid: self.grid.clone(),
            channels,
            values,
            header: self.header.clone(),
            warnings: Vec::new(),
        })
    }

    /// The same values on another grid of the same size: for a file whose header is wrong. Its header is forgotten.
    ///
    /// # Errors
    /// [`Error::GridMismatch`] when the sizes differ.
    pub fn with_grid(self, grid: Grid) -> Result<Self> {
        if grid.size() != self.grid.size() {
            return Err(Error::GridMismatch {
                what: "image".into(),
                expected: self.grid.describe(),
                got: grid.describe(),
            });
        }
        Ok(Self {
            grid,
            header: None,
            ..self
        })
    }

    pub(super) fn from_file(
        grid: Grid,
        channels: usize,
        values: Vec<f32>,
        header: Option<Box<NiftiHeader>>,
        warnings: Vec<String>,
    ) -> Self {
        Self {
            grid,
            channels,
            values,
            header,
            warnings,
        }
    }

    /// Where the voxels lie.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All values, planar.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, planar, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// All values, planar, without a copy.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The values of one channel.
    ///
    /// # Panics
    /// When there is no such channel.
    pub fn channel(&self, channel: usize) -> &[f32] {
        let voxels = self.grid.voxels();
        &self.values[channel * voxels..(channel + 1) * voxels]
    }

    /// What was doubtful in the file, in whole sentences; empty for most images.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn header(&self) -> Option<&NiftiHeader> {
        self.header.as_deref()
    }
}

pub(super) fn check_length(
    what: &'static str,
    grid: &Grid,
    channels: usize,
    found: usize,
) -> Result<()> {
    if channels == 0 || grid.voxels().checked_mul(channels) != Some(found) {
        let mut expected = vec![channels.max(1)];
        expected.extend(grid.shape());
        return Err(Error::Shape {
            what,
            expected,
            got: vec![found],
        });
    }
    Ok(())
}
