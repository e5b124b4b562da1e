//! Registration of two images: stages in a row, and what comes of them.

mod coloured;
mod deformation;
mod fields;
mod footprint;
mod landscape;
mod learned;
mod level_footprint;
#[cfg(test)]
mod on_device;
mod plan;
mod plan_footprint;
mod registered;
#[cfg(test)]
mod whole_on_device;

pub(crate) use coloured::{coloured, LevelMap};
pub use deformation::Deformation;
pub use fields::inverse_on;
pub(crate) use fields::total_on;
pub(crate) use footprint::{voxels, SINGLE};
pub use footprint::{Footprint, FootprintStage};
pub use landscape::Landscape;
pub(crate) use level_footprint::LevelFootprint;
pub use plan::{Registration, Step};
pub use registered::{DeformableReport, Registered};
