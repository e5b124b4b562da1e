//! The ways in: files are told apart by what they contain, not by their names.

use std::path::Path;

use super::labels::Labels;
use super::meta_image::{is_meta_image, MetaImage};
use super::nifti_read::Nifti;
use super::source::Source;
use super::volume::{Image, ImageOptions};
use crate::{Error, Result};

/// An image file of either format, its header read and checked.
pub(super) enum ImageFile<'a> {
    Nifti(Box<Nifti<'a>>),
    Meta(Box<MetaImage<'a>>),
}

impl<'a> ImageFile<'a> {
    pub fn open(mut source: Source<'a>) -> Result<Self> {
        let head = source.head(512)?;
        if is_meta_image(&head) {
            return Ok(Self::Meta(Box::new(MetaImage::open(source)?)));
        }
        if let Some(other) = other_format(&head) {
            return Err(Error::format(
                &source.path,
                format!("{other}; NIfTI-1 (.nii, .nii.gz) and MetaImage (.mha, .mhd) are read: convert it first"),
            ));
        }
        Ok(Self::Nifti(Box::new(Nifti::open(source)?)))
    }

    fn image(self, options: &ImageOptions) -> Result<Image> {
        match self {
            Self::Nifti(file) => file.image(options),
            Self::Meta(file) => file.image(options),
        }
    }

    fn labels(self, options: &ImageOptions) -> Result<Labels> {
        match self {
            Self::Nifti(file) => file.labels(options),
            Self::Meta(file) => file.labels(options),
        }
    }
}

/// What a file is, if it is one of the formats that people try.
fn other_format(head: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| head.starts_with(magic);
    if head.get(128..132) == Some(b"DICM") {
        Some("a DICOM file, one slice of a series")
    } else if starts(b"\x89PNG") {
        Some("a PNG picture")
    } else if starts(b"\xff\xd8\xff") {
        Some("a JPEG picture")
    } else if starts(b"II*\0") || starts(b"MM\0*") {
        Some("a TIFF picture")
    } else if starts(b"NRRD") {
        Some("an NRRD file")
    } else if starts(b"\x89HDF") {
        Some("an HDF5 or MINC2 file")
    } else if starts(b"\x93NUMPY") || starts(b"PK\x03\x04") {
        Some("a NumPy or zip file")
    } else if starts(b"\0\0\0\x01") && head.len() >= 284 {
        Some("a FreeSurfer .mgh or .mgz file")
    } else {
        None
    }
}

/// Reads an image of one volume with finite values.
///
/// # Errors
/// As [`read_image_with`].
pub fn read_image(path: impl AsRef<Path>) -> Result<Image> {
    read_image_with(path, &ImageOptions::default())
}

/// Reads an image: NIfTI-1 (`.nii`, `.nii.gz`, `.hdr` with `.img`) or MetaImage (`.mha`, `.mhd` with its data file).
///
/// Slices (one voxel along the third axis) become images of rank 2.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read; [`Error::Format`] when it is damaged, of another format, or its geometry
/// is no grid; [`Error::Data`] for values that are not finite; [`Error::Memory`] when it promises more than the limit.
pub fn read_image_with(path: impl AsRef<Path>, options: &ImageOptions) -> Result<Image> {
    ImageFile::open(Source::open(path.as_ref())?)?.image(options)
}

/// Reads labels: any integer type, or floats that are whole numbers.
///
/// # Errors
/// As [`read_image_with`]; [`Error::Data`] names the first value that is negative or fractional.
pub fn read_labels(path: impl AsRef<Path>) -> Result<Labels> {
    read_labels_with(path, &ImageOptions::default())
}

/// As [`read_labels`], with options.
///
/// # Errors
/// As [`read_labels`].
pub fn read_labels_with(path: impl AsRef<Path>, options: &ImageOptions) -> Result<Labels> {
    ImageFile::open(Source::open(path.as_ref())?)?.labels(options)
}

impl Image {
    /// Reads an image from the bytes of a file; `name` stands for its path in messages.
    ///
    /// # Errors
    /// As [`read_image_with`].
    pub fn from_bytes(name: &str, bytes: &[u8], options: &ImageOptions) -> Result<Self> {
        ImageFile::open(Source::memory(name, bytes))?.image(options)
    }
}

impl Labels {
    /// Reads labels from the bytes of a file; `name` stands for its path in messages.
    ///
    /// # Errors
    /// As [`read_labels`].
    pub fn from_bytes(name: &str, bytes: &[u8], options: &ImageOptions) -> Result<Self> {
        ImageFile::open(Source::memory(name, bytes))?.labels(options)
    }
}
