//! stillpoint: image registration as a layer that can be differentiated.

mod error;
mod geometry;
mod image;
mod rng;

pub use error::{Error, Result};
pub use geometry::{Affine, Grid};
pub use image::{
    read_image, read_image_with, read_labels, read_labels_with, DisplacementField, ElementType,
    Image, ImageOptions, Labels,
};
pub use rng::Rng;
