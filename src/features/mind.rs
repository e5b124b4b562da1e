//! Descriptors of a neighbourhood that is the same, in millimetres, for both images.

use candle_core::Tensor;

use super::Level;
use crate::ops::mind;
use crate::{Affine, Grid, Result};

/// Distance of the neighbours and width of the window, in voxels of the level's finest axis.
const REACH: f64 = 2.0;
const WINDOW: f64 = 1.0;
/// A window narrower than this share of a voxel sees that voxel alone.
const NARROW: f64 = 0.2;

/// Which neighbours of a voxel are compared, and over which window.
pub(super) struct Neighbourhood {
    /// From a voxel to its neighbour along each axis of the fixed grid, world mm.
    axes: Vec<[f64; 3]>,
    /// Standard deviation of the window, mm.
    window: f64,
}

impl Neighbourhood {
    /// That of a fixed level: two voxels of its finest axis along every axis, or one voxel where that is more.
    pub fn of(grid: &Grid) -> Self {
        let finest = grid.finest_spacing();
        let direction = grid.direction();
        Self {
            axes: (0..grid.rank())
                .map(|a| {
                    let length = (REACH * finest).max(grid.spacing()[a]);
                    direction.map(|row| row[a] * length)
                })
                .collect(),
            window: WINDOW * finest,
        }
    }

    /// Neighbours along the axes of the world, with which grids of any orientation are described alike: two voxels of the
    /// finest axis away, or one voxel of the axis that lies that way where that is more.
    pub fn along_the_world(grid: &Grid) -> Self {
        let finest = grid.finest_spacing();
        let into = grid.world_to_index();
        Self {
            axes: (0..grid.rank())
                .map(|a| {
                    let mut axis = [0.0; 3];
                    axis[a] = REACH * finest;
                    let voxels = into.apply_vector(axis);
                    let longest = voxels.iter().fold(0.0f64, |most, v| most.max(v.abs()));
                    axis.map(|v| v / longest.min(1.0))
                })
                .collect(),
            window: WINDOW * finest,
        }
    }

    /// The same neighbours where an affine map carries them.
    pub fn carried(&self, affine: &Affine) -> Self {
        Self {
            axes: self
                .axes
                .iter()
                .map(|axis| affine.apply_vector(*axis))
                .collect(),
            window: self.window,
        }
    }

    /// The descriptors of an image.
    pub fn descriptors(&self, image: &Level) -> Result<Tensor> {
        let into = image.grid.world_to_index();
        let offsets: Vec<[f64; 3]> = self
            .axes
            .iter()
            .map(|axis| into.apply_vector(*axis))
            .collect();
        let sigma: Vec<f64> = image
            .grid
            .spacing()
            .iter()
            .map(|spacing| self.window / spacing)
            .map(|sigma| if sigma < NARROW { 0.0 } else { sigma })
            .collect();
        mind(&image.features, &offsets, &sigma)
    }
}
