//! How good a registration is: overlap, surfaces, landmarks, regularity, consistency, and the statistics of many cases.

mod components;
mod consistency;
mod distance_map;
mod labels;
mod landmarks;
mod overlap;
mod ranks;
mod regularity;
mod statistics;
mod surface;
mod surfel;

pub use components::PrincipalComponents;
pub use consistency::{chain_consistency, inverse_consistency, InverseConsistency};
pub(crate) use landmarks::nearest_distances;
pub use landmarks::{landmark_errors, LandmarkErrors};
pub use overlap::{overlap, LabelOverlap, Overlap};
pub(crate) use regularity::regularity_of;
pub use regularity::{regularity, Regularity};
pub use statistics::{
    bootstrap_interval, holm, mean, median, paired_t_test, percentile, standard_deviation,
    wilcoxon_signed_rank, PairedTest, Summary,
};
pub use surface::{surface_distance, LabelSurfaceDistance, SurfaceDistance};
