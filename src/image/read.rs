//! The ways in: files are told apart by what they contain, not by their names.

use std::path::Path;

use super::nifti_read::Nifti;
use super::source::Source;
use super::volume::{Image, ImageOptions, Labels};
use crate::Result;

/// Reads an image of one volume with finite values.
///
/// # Errors
/// As [`read_image_with`].
pub fn read_image(path: impl AsRef<Path>) -> Result<Image> {
    read_image_with(path, &ImageOptions::default())
}

/// Reads an image: NIfTI-1 (`.nii`, `.nii.gz`, `.hdr` with `.img`).
///
/// Slices (one voxel along the third axis) become images of rank 2.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) when the file cannot be read; [`Error::Format`](crate::Error::Format) when it is
/// damaged, of another format, or its geometry is no grid; [`Error::Data`](crate::Error::Data) for values that are
/// not finite; [`Error::Memory`](crate::Error::Memory) when it promises more than the limit.
pub fn read_image_with(path: impl AsRef<Path>, options: &ImageOptions) -> Result<Image> {
    Nifti::open(Source::open(path.as_ref())?)?.image(options)
}

/// Reads labels: any integer type, or floats that are whole numbers.
///
/// # Errors
/// As [`read_image_with`]; [`Error::Data`](crate::Error::Data) names the first value that is negative or fractional.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Labels> {
    read_labels_with(path, &ImageOptions::default())
}

/// As [`read_labels`], with options.
///
/// # Errors
/// As [`read_labels`].
pub fn read_labels_with(path: impl AsRef<Path>, options: &ImageOptions) -> Result<Labels> {
    Nifti::open(Source::open(path.as_ref())?)?.labels(options)
}

impl Image {
    /// Reads an image from the bytes of a file; `name` stands for its path in messages.
    ///
    /// # Errors
    /// As [`read_image_with`].
    pub fn from_bytes(name: &str, bytes: &[u8], options: &ImageOptions) -> Result<Self> {
        Nifti::open(Source::memory(name, bytes))?.image(options)
    }
}
