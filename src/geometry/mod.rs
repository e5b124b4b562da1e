//! Grids and affine maps: where voxels lie in the world, in millimetres.

mod affine;
mod grid;

pub use affine::Affine;
pub use grid::Grid;
