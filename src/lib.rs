//! stillpoint: image registration as a layer that can be differentiated.

#[doc(hidden)]
pub mod cli;
mod error;
mod geometry;
mod picture;
mod rng;

pub use error::{Error, Result};
pub use geometry::{Affine, Grid};
pub use picture::{Curve, ReportPage};
pub use rng::Rng;
