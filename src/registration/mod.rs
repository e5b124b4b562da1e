//! Registration of two images: stages in a row, and what comes of them.

mod deformation;
mod plan;
mod registered;

pub use deformation::inverse_on;
pub use plan::{Registration, Start};
pub use registered::{DeformableReport, Registered};
