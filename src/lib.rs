//! stillpoint: image registration as a layer that can be differentiated.

mod error;
mod geometry;
mod rng;

pub use error::{Error, Result};
pub use geometry::{Affine, Grid};
pub use rng::Rng;
