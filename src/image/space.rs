//! The space of an image file, without its values.

use std::path::Path;

use super::labels::Labels;
use super::nifti_header::NiftiHeader;
use super::read::ImageFile;
use super::source::Source;
use super::volume::{check_length, Image};
use crate::{Grid, Result};

/// Where the voxels of an image file lie, with its header: the reference onto which other images are carried.
///
/// Its values are not read, so that files of several volumes and files with damaged values serve too.
#[derive(Debug, Clone)]
pub struct ImageSpace {
    grid: Grid,
    header: Option<Box<NiftiHeader>>,
    warnings: Vec<String>,
}

impl ImageSpace {
    /// Reads the header of an image file.
    ///
    /// # Errors
    /// As [`read_image_with`](crate::read_image_with), as far as the header is concerned.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Ok(match ImageFile::open(Source::open(path.as_ref())?)? {
            ImageFile::Nifti(file) => Self {
                grid: file.geometry.grid,
                header: Some(Box::new(file.header)),
                warnings: file.warnings,
            },
            ImageFile::Meta(file) => Self {
                grid: file.grid,
                header: None,
                warnings: Vec::new(),
            },
        })
    }

    /// Where the voxels lie.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What was doubtful in the header, in whole sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// An image in this space, to be written with its header. Values as in [`Image::new`].
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn image(&self, channels: usize, values: Vec<f32>) -> Result<Image> {
        check_length("image", &self.grid, channels, values.len())?;
        Ok(Image::from_file(
            self.grid.clone(),
            channels,
            values,
            self.header.clone(),
            Vec::new(),
        ))
    }

    /// Labels in this space, to be written with its header. Values as in [`Labels::new`].
    ///
    /// # Errors
    /// As [`Labels::new`].
    pub fn labels(&self, values: Vec<u32>) -> Result<Labels> {
        check_length("labels", &self.grid, 1, values.len())?;
        Ok(Labels::from_file(
            self.grid.clone(),
            values,
            self.header.clone(),
            Vec::new(),
        ))
    }
}
