//! stillpoint: image registration as a layer that can be differentiated.

mod error;
mod evaluation;
mod geometry;
mod ops;
mod phantom;
mod rng;

pub use error::{Error, Result};
pub use evaluation::{
    bootstrap_interval, holm, inverse_consistency, landmark_errors, mean, median, overlap,
    paired_t_test, percentile, regularity, standard_deviation, surface_distance,
    wilcoxon_signed_rank, InverseConsistency, LabelOverlap, LabelSurfaceDistance, LandmarkErrors,
    Overlap, PairedTest, Regularity, Summary, SurfaceDistance,
};
pub use geometry::{Affine, Grid};
pub use ops::{
    corner_determinants_minimum, determinants, folded_voxels, minimum_determinant,
    non_diffeomorphic_volume,
};
pub use phantom::Phantom;
pub use rng::Rng;
