//! stillpoint: image registration as a layer that can be differentiated.

mod error;
mod geometry;
mod image;
mod rng;

pub use error::{Error, Result};
pub use geometry::{Affine, Grid};
pub use image::{
    header_report, read_affine, read_image, read_image_with, read_labels, read_labels_with,
    write_affine, DisplacementField, GeometryReport, HeaderReport, Image, ImageOptions, Labels,
    NiftiReport, PointSpace, Points, ValueReport,
};
pub use rng::Rng;
