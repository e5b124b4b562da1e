//! Writing NIfTI-1 files: quickly, with the fixed image's header, whole or not at all.

use std::ops::Range;
use std::path::Path;

use super::element::ElementType;
use super::gzip::Stream;
use super::labels::Labels;
use super::nifti_geometry::geometry;
use super::nifti_header::NiftiHeader;
use super::output::{wants_gzip, write_whole};
use super::volume::Image;
use crate::{Error, Grid, Result};

impl Image {
    /// Writes the image as NIfTI, single precision; gzip where the name ends in `.gz`.
    ///
    /// The header of the file that the image (or the one it was made from) came from is kept, with new shape and type;
    /// channels become the fifth axis. The same values give the same bytes whatever the number of threads.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written; nothing is left then. [`Error::InvalidArgument`] for a name that
    /// does not end in `.nii` or `.nii.gz`, or a size above 32767.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write_as(path, false)
    }

    /// As [`Image::write`], in double precision.
    ///
    /// # Errors
    /// As [`Image::write`].
    pub fn write_double(&self, path: impl AsRef<Path>) -> Result<()> {
        self.write_as(path, true)
    }

    /// As [`Image::write`], in the smallest of u8, i16, u16 and i32 that holds all values where they are whole numbers;
    /// in single precision where they are not.
    ///
    /// # Errors
    /// As [`Image::write`].
    pub fn write_whole_numbers(&self, path: impl AsRef<Path>) -> Result<()> {
        let (path, values) = (path.as_ref(), self.values());
        let Some(element) = ElementType::for_whole(values) else {
            return self.write(path);
        };
        let header = header_for(path, self.header(), self.grid(), self.channels(), element)?;
        let width = element.bytes();
        write_nifti(path, &header, element, values.len(), &|range, out| {
            // The low bytes of a whole number are those of the narrower type, negative or not.
            for value in &values[range] {
                out.extend_from_slice(&(*value as i32).to_le_bytes()[..width]);
            }
        })
    }

    fn write_as(&self, path: impl AsRef<Path>, double: bool) -> Result<()> {
        let element = if double {
            ElementType::F64
        } else {
            ElementType::F32
        };
        let (header, path) = (self.header(), path.as_ref());
        let header = header_for(path, header, self.grid(), self.channels(), element)?;
        let values = self.values();
        write_nifti(path, &header, element, values.len(), &|range, out| {
            if double {
                out.extend(
                    values[range]
                        .iter()
                        .flat_map(|v| f64::from(*v).to_le_bytes()),
                );
            } else {
                append_f32(&values[range], out);
            }
        })
    }
}

impl Labels {
    /// Writes the labels as NIfTI, in the smallest of u8, i16, u16, i32 and u32 that holds them.
    ///
    /// # Errors
    /// As [`Image::write`].
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let values = self.values();
        let element = ElementType::for_labels(values.iter().copied().max().unwrap_or(0));
        let header = header_for(path, self.header(), self.grid(), 1, element)?;
        let width = element.bytes();
        write_nifti(path, &header, element, values.len(), &|range, out| {
            // Every type takes the low bytes: labels are not negative, and little-endian.
            for value in &values[range] {
                out.extend_from_slice(&value.to_le_bytes()[..width]);
            }
        })
    }
}

/// Appends the little-endian bytes of values.
pub(super) fn append_f32(values: &[f32], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 4 * values.len(), 0);
    for (bytes, value) in out[start..].chunks_exact_mut(4).zip(values) {
        bytes.copy_from_slice(&value.to_le_bytes());
    }
}

/// A header for data on `grid`: the one given, if there is one, with its geometry replaced only if it means another grid.
pub(super) fn header_for(
    path: &Path,
    kept: Option<&NiftiHeader>,
    grid: &Grid,
    channels: usize,
    element: ElementType,
) -> Result<NiftiHeader> {
    if let Some(size) = grid
        .size()
        .iter()
        .chain([&channels])
        .find(|n| **n > i16::MAX as usize)
    {
        return Err(Error::argument(
            path.display().to_string(),
            format!(
                "NIfTI-1 holds at most {} voxels along an axis, got {size}",
                i16::MAX
            ),
        ));
    }
    let mut header = kept.cloned().unwrap_or_else(|| NiftiHeader::for_grid(grid));
    let as_read = geometry(&header, grid.size());
    if !as_read.is_ok_and(|found| found.grid.matches(grid, 1e-3)) {
        header.set_geometry(grid);
    }
    let mut dims = grid.size().to_vec();
    if channels > 1 {
        dims.resize(4, 1);
        dims.push(channels);
    } else if header.dims()[0] >= 3 {
        // A slice that came as 3D goes as 3D.
        dims.resize(3, 1);
    }
    header.set_data(&dims, element);
    header.set_intent(if channels > 1 { 1007 } else { 0 });
    Ok(header)
}

/// Writes a header and `elements` numbers, which `fill` appends range by range.
pub(super) fn write_nifti(
    path: &Path,
    header: &NiftiHeader,
    element: ElementType,
    elements: usize,
    fill: &(dyn Fn(Range<usize>, &mut Vec<u8>) + Sync),
) -> Result<()> {
    let name = path.to_string_lossy().to_lowercase();
    if !name.ends_with(".nii") && !name.ends_with(".nii.gz") {
        return Err(Error::argument(
            path.display().to_string(),
            "images are written as NIfTI: the name must end in .nii or .nii.gz",
        ));
    }
    let mut prefix = header.bytes().to_vec();
    prefix.extend([0; 4]);
    let stream = Stream {
        prefix: &prefix,
        elements,
        width: element.bytes(),
        fill,
    };
    write_whole(path, |out| stream.write(out, wants_gzip(path)))
}
