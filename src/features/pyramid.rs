//! The levels of a multi-resolution solve.

use candle_core::{Device, Tensor};

use super::IntensityRange;
use crate::ops::resize;
use crate::{Error, Grid, Image, Result};

/// Feature maps of one image on one level.
#[derive(Debug, Clone)]
pub struct Level {
    /// `[channels, (nz,) ny, nx]`.
    pub features: Tensor,
    /// Where they lie.
    pub grid: Grid,
}

/// The feature maps of an image for all levels of a solve.
#[derive(Debug, Clone, Copy)]
pub enum Pyramid<'a> {
    /// Intensities at full resolution, from which the features of each level are made.
    Finest(&'a Level),
    /// A map of its own for each level, coarse first, as a network makes them.
    Levels(&'a [Level]),
}

impl Pyramid<'_> {
    /// The finest map.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there are no levels.
    pub fn finest(&self) -> Result<&Level> {
        match self {
            Self::Finest(level) => Ok(level),
            Self::Levels(levels) => levels
                .last()
                .ok_or_else(|| Error::argument("levels", "give at least one level")),
        }
    }

    /// The map of level `number` of `count`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there are not `count` levels.
    pub(crate) fn given(&self, number: usize, count: usize) -> Result<Option<&Level>> {
        match self {
            Self::Finest(_) => Ok(None),
            Self::Levels(levels) if levels.len() == count => Ok(Some(&levels[number])),
            Self::Levels(levels) => Err(Error::argument(
                "levels",
                format!("expected {count} feature maps, got {}", levels.len()),
            )),
        }
    }
}

/// Fewest voxels that a level keeps along an axis.
const FEWEST: usize = 8;

/// The grid of a level that is `shrink` times coarser than the finest axis of `grid`.
///
/// Axes that are coarse already shrink less, so that anisotropic grids become more isotropic with each level; no axis
/// goes below 8 voxels.
pub fn level_grid(grid: &Grid, shrink: usize) -> Result<Grid> {
    let finest = grid.finest_spacing();
    let size: Vec<usize> = (0..grid.rank())
        .map(|a| {
            let n = grid.size()[a];
            let factor = (shrink as f64 * finest / grid.spacing()[a]).max(1.0);
            ((n as f64 / factor).round() as usize).max(FEWEST.min(n))
        })
        .collect();
    grid.resized(&size)
}

/// The grid of another image with about the spacing of `level`: axes finer than its finest axis are shrunk to it.
pub fn matched_grid(grid: &Grid, level: &Grid) -> Result<Grid> {
    let target = level.finest_spacing();
    let size: Vec<usize> = (0..grid.rank())
        .map(|a| {
            let n = grid.size()[a];
            let factor = target / grid.spacing()[a];
            // a few per cent of difference is not worth a smoothing
            if factor < 1.2 {
                n
            } else {
                ((n as f64 / factor).round() as usize).max(FEWEST.min(n))
            }
        })
        .collect();
    grid.resized(&size)
}

impl Level {
    /// An image's intensities on the common scale, and the range they had; `name` is for messages.
    pub(crate) fn scaled(image: &Image, name: &str) -> Result<(IntensityRange, Self)> {
        let range = IntensityRange::of(image.values(), name)?;
        let mut values = image.values().to_vec();
        range.apply(&mut values);
        let mut shape = vec![image.channels()];
        shape.extend(image.grid().shape());
        let level = Self {
            features: Tensor::from_vec(values, shape, &Device::Cpu)?,
            grid: image.grid().clone(),
        };
        Ok((range, level))
    }

    /// The same features on a device.
    pub(crate) fn to_device(&self, device: &Device) -> Result<Self> {
        Ok(Self {
            features: self.features.to_device(device)?,
            grid: self.grid.clone(),
        })
    }

    /// The same features on another grid over the same field of view; as they are where it has the same size.
    pub fn on(&self, grid: &Grid) -> Result<Self> {
        let features = if grid.size() == self.grid.size() {
            self.features.clone()
        } else {
            resize(&self.features, grid.size())?
        };
        Ok(Self {
            features,
            grid: grid.clone(),
        })
    }
}
