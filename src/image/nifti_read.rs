//! Reading NIfTI-1 files, with nothing taken on trust.

use std::path::PathBuf;

use super::element::{self, Encoding};
use super::labels::Labels;
use super::nifti_geometry::{geometry, to_millimetres, Geometry};
use super::nifti_header::{element_of, NiftiHeader};
use super::source::Source;
use super::values::{check_memory, no_label, non_finite};
use super::volume::{Image, ImageOptions};
use crate::{Error, Grid, Result};

/// A checked header: what stands in the file, and where.
pub(super) struct Nifti<'a> {
    pub header: NiftiHeader,
    pub geometry: Geometry,
    pub encoding: Encoding,
    /// The sizes along all axes that the header names.
    pub dims: Vec<usize>,
    pub volumes: usize,
    pub warnings: Vec<String>,
    data: Source<'a>,
    offset: u64,
}

impl<'a> Nifti<'a> {
    /// Reads and checks the header.
    pub fn open(mut source: Source<'a>) -> Result<Self> {
        let path = source.path.clone();
        let bad = |reason: String| Error::format(&path, reason);
        let (mut header, big_endian) =
            NiftiHeader::parse(&source.head(NiftiHeader::BYTES)?).map_err(bad)?;
        let single = match &header.magic() {
            b"n+1\0" => true,
            b"ni1\0" => false,
            other => {
                return Err(bad(format!(
                    "not a NIfTI file: its magic is {:?}, expected \"n+1\" or \"ni1\"; an Analyze 7.5 file carries no \
                     orientation and must be converted to NIfTI first",
                    String::from_utf8_lossy(other).trim_end_matches('\0')
                )))
            }
        };
        let dims = dims(&header).map_err(bad)?;
        let element = element_of(header.datatype()).map_err(bad)?;
        let encoding = Encoding {
            element,
            big_endian,
            scale: header.scale(),
        };
        let mut warnings = Vec::new();
        if header.bitpix() != 8 * element.bytes() as i16 {
            warnings.push(format!(
                "bitpix is {}, but datatype {} has {} bits; the datatype was believed",
                header.bitpix(),
                header.datatype(),
                8 * element.bytes()
            ));
        }
        warnings.extend(to_millimetres(&mut header));
        let rank = if dims.get(2).copied().unwrap_or(1) == 1 {
            2
        } else {
            3
        };
        let mut geometry = geometry(&header, &dims[..rank]).map_err(bad)?;
        warnings.append(&mut geometry.warnings);
        let volumes = dims.iter().skip(3).product();
        let promised = dims.iter().map(|d| *d as u64).product::<u64>() * element.bytes() as u64;
        let offset = data_offset(&header, single, source.length(), promised).map_err(bad)?;
        let data = if single { source } else { sibling(source)? };
        Ok(Self {
            header,
            geometry,
            encoding,
            dims,
            volumes,
            warnings,
            data,
            offset,
        })
    }

    pub fn grid(&self) -> &Grid {
        &self.geometry.grid
    }

    fn bad(&self, reason: String) -> Error {
        Error::format(&self.data.path, reason)
    }

    /// Which volumes to read: the first one and how many.
    pub fn choose(&self, options: &ImageOptions) -> Result<(usize, usize)> {
        let dim = |axis: usize| self.dims.get(axis).copied().unwrap_or(1);
        if let Some(volume) = options.volume {
            return if volume < self.volumes {
                Ok((volume, 1))
            } else {
                Err(self.bad(format!(
                    "volume {volume} was asked for, but it has {}, counted from 0",
                    self.volumes
                )))
            };
        }
        if self.volumes == 1 {
            return Ok((0, 1));
        }
        if options.channels {
            if dim(3) > 1 && dim(4) > 1 {
                return Err(self.bad(format!(
                    "holds {} time points of {} components each; name one volume, or split the file first",
                    dim(3),
                    dim(4)
                )));
            }
            return Ok((0, self.volumes));
        }
        Err(self.bad(if dim(4) > 1 {
            format!(
                "holds vectors of {} components (intent {}), expected one number a voxel; \
                 is it a displacement field? Otherwise name a volume",
                dim(4),
                self.header.intent()
            )
        } else {
            format!(
                "holds {} volumes (dim {:?}), expected one; name the volume to use \
                 (`--fixed-volume` or `--moving-volume` of `register`, `--volume` of `apply`)",
                self.volumes, self.dims
            )
        }))
    }

    /// Reads volumes and hands their bytes to `convert`, if they and what becomes of them fit into memory.
    fn with_volumes<T>(
        &mut self,
        (first, count): (usize, usize),
        memory_limit: u64,
        convert: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        let voxels = self.grid().voxels() as u64 * count as u64;
        let width = self.encoding.element.bytes() as u64;
        check_memory(&self.data.path, voxels * (width + 4), memory_limit)?;
        let offset = self.offset + self.grid().voxels() as u64 * first as u64 * width;
        self.data
            .with_range(offset, (voxels * width) as usize, convert)
    }

    /// The values of some volumes, planar.
    pub fn values(&mut self, which: (usize, usize), options: &ImageOptions) -> Result<Vec<f32>> {
        let encoding = self.encoding;
        let (values, found) = self.with_volumes(which, options.memory_limit, |bytes| {
            element::to_f32(bytes, encoding)
        })?;
        if found.count > 0 && !options.allow_non_finite {
            return Err(non_finite(&self.data.path, self.grid(), found));
        }
        Ok(values)
    }

    /// Reads an image.
    pub fn image(mut self, options: &ImageOptions) -> Result<Image> {
        let which = self.choose(options)?;
        let values = self.values(which, options)?;
        Ok(Image::from_file(
            self.geometry.grid,
            which.1,
            values,
            Some(Box::new(self.header)),
            self.warnings,
        ))
    }

    /// Reads labels.
    pub fn labels(mut self, options: &ImageOptions) -> Result<Labels> {
        let (first, count) = self.choose(options)?;
        if count > 1 {
            return Err(self.bad(format!(
                "holds {count} volumes, expected one label a voxel; name the volume to use"
            )));
        }
        let encoding = self.encoding;
        let values = self
            .with_volumes((first, 1), options.memory_limit, |bytes| {
                element::to_labels(bytes, encoding)
            })?
            .map_err(|offender| no_label(&self.data.path, self.grid(), offender))?;
        Ok(Labels::from_file(
            self.geometry.grid,
            values,
            Some(Box::new(self.header)),
            self.warnings,
        ))
    }
}

/// The sizes along the axes that a header names, checked.
fn dims(header: &NiftiHeader) -> Result<Vec<usize>, String> {
    let dim = header.dims();
    let rank = dim[0];
    if !(1..=7).contains(&rank) {
        return Err(format!(
            "dim[0] is {rank}, expected the number of axes, 1 to 7; the header is damaged"
        ));
    }
    let named = &dim[1..=rank as usize];
    if let Some(axis) = named.iter().position(|d| *d <= 0) {
        let kind = if named[axis] == 0 { "zero" } else { "negative" };
        return Err(format!(
            "dim[{}] is {}: a {kind} size along axis {axis} (dim {dim:?}); the header is damaged",
            axis + 1,
            named[axis]
        ));
    }
    if rank < 2 {
        return Err(format!(
            "has one axis only (dim {dim:?}), expected a 2D or 3D image"
        ));
    }
    let sizes: Vec<usize> = named.iter().map(|d| *d as usize).collect();
    if sizes.iter().skip(5).any(|d| *d > 1) {
        return Err(format!(
            "has more than five axes (dim {dim:?}), expected a 2D or 3D image, or several of them"
        ));
    }
    // Five factors below 2^15 and eight bytes: no overflow of 64 bits before this check.
    let voxels = sizes.iter().take(5).map(|d| *d as u128).product::<u128>();
    if voxels > 1 << 48 {
        return Err(format!(
            "promises {voxels} voxels (dim {dim:?}); the header is damaged"
        ));
    }
    Ok(sizes)
}

/// Where in the file the numbers begin.
fn data_offset(
    header: &NiftiHeader,
    single: bool,
    length: Option<u64>,
    promised: u64,
) -> Result<u64, String> {
    let offset = header.vox_offset();
    if !offset.is_finite() || offset < 0.0 || offset.fract() != 0.0 || offset > 1e15 {
        return Err(format!(
            "vox_offset is {offset}, expected a whole number of bytes; the header is damaged"
        ));
    }
    if !single {
        return Ok(offset as u64);
    }
    match offset as u64 {
        // Never filled in: the numbers follow the header, with or without the four extension bytes.
        0 if length == Some(NiftiHeader::BYTES as u64 + promised) => Ok(NiftiHeader::BYTES as u64),
        0 => Ok(NiftiHeader::BYTES as u64 + 4),
        inside if inside < NiftiHeader::BYTES as u64 => Err(format!(
            "vox_offset is {inside}, inside the header of {} bytes; the header is damaged",
            NiftiHeader::BYTES
        )),
        behind => Ok(behind),
    }
}

/// The file with the numbers that belongs to a `.hdr`: `.img`, or `.img.gz`.
fn sibling(source: Source<'_>) -> Result<Source<'_>> {
    if !source.is_file() {
        return Err(Error::format(
            &source.path,
            "its numbers are in a file of their own (magic \"ni1\"); convert the pair to one .nii file first",
        ));
    }
    let name = source.path.to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = stem.strip_suffix(".hdr").unwrap_or(stem);
    let candidates = [".img", ".img.gz"].map(|ending| PathBuf::from(format!("{stem}{ending}")));
    match candidates.iter().find(|c| c.exists()) {
        Some(found) => Source::open(found),
        None => Err(Error::format(
            &source.path,
            format!(
                "its numbers should be in {} beside it, which is missing",
                candidates[0].display()
            ),
        )),
    }
}
