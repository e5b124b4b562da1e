//! stillpoint: image registration as a layer that can be differentiated.

mod error;
mod geometry;
mod ops;
mod rng;

pub use error::{Error, Result};
pub use geometry::{Affine, Grid};
pub use ops::{
    corner_determinants_minimum, determinants, folded_voxels, minimum_determinant,
    non_diffeomorphic_volume,
};
pub use rng::Rng;
