//! Images, labels, fields, affines and points: what is in files, and how it gets in and out.

mod affine_file;
mod deflate;
mod element;
mod field;
mod gzip;
mod itk_transform;
mod labels;
mod meta_image;
mod nifti_geometry;
mod nifti_header;
mod nifti_read;
mod nifti_write;
mod output;
mod points;
mod read;
mod report;
mod source;
mod space;
mod values;
mod volume;

pub use affine_file::{read_affine, write_affine};
pub use field::DisplacementField;
pub use labels::Labels;
pub(crate) use labels::{distinct, label_shares, share_of};
pub(crate) use output::write_bytes;
pub use points::{PointSpace, Points};
pub use read::{read_image, read_image_with, read_labels, read_labels_with};
pub use report::{header_report, GeometryReport, HeaderReport, NiftiReport, ValueReport};
pub use space::ImageSpace;
pub use volume::{Image, ImageOptions};
