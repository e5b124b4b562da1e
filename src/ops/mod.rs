//! Operations on planar arrays of voxels, one function each; they know sizes, neither images nor the world.

mod jacobian;

pub use jacobian::{
    corner_determinants_minimum, determinants, folded_voxels, minimum_determinant,
    non_diffeomorphic_volume,
};
