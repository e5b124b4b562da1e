//! Images, labels, fields, affines and points: what is in files, and how it gets in and out.

mod element;
mod field;
mod gzip;
mod nifti_geometry;
mod nifti_header;
mod nifti_read;
mod nifti_write;
mod output;
mod read;
mod source;
mod volume;

pub use element::ElementType;
pub use field::DisplacementField;
pub use read::{read_image, read_image_with, read_labels, read_labels_with};
pub use volume::{Image, ImageOptions, Labels};
