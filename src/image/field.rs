//! Displacement field files, as ITK and ANTs write them.

use rayon::prelude::*;
use std::path::Path;

use super::element::ElementType;
use super::nifti_header::NiftiHeader;
use super::nifti_read::Nifti;
use super::nifti_write::{header_for, write_nifti};
use super::source::Source;
use super::volume::{check_length, Image, ImageOptions};
use crate::{Error, Grid, Result};

/// NIfTI's intent for vectors, which ITK uses for displacements in LPS.
const VECTOR: i16 = 1007;
/// NIfTI's intent for displacements, in RAS.
const DISPLACEMENT: i16 = 1006;

/// Vectors are rounded to multiples of this many millimetres when written: 2^-13.
const GRAIN: f32 = 1.0 / 8192.0;

/// A displacement field on the fixed image's grid: `p_moving = p_fixed + u(p_fixed)`.
///
/// Vectors are millimetres of the RAS world, planar: `rank * grid.voxels()` numbers, all x components first, then y
/// (then z), each with `i` fastest.
#[derive(Debug, Clone)]
pub struct DisplacementField {
    grid: Grid,
    values: Vec<f32>,
    header: Option<Box<NiftiHeader>>,
    warnings: Vec<String>,
}

impl DisplacementField {
    /// A field from its vectors.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not `rank * grid.voxels()` numbers.
    pub fn new(grid: Grid, values: Vec<f32>) -> Result<Self> {
        check_length("displacement", &grid, grid.rank(), values.len())?;
        Ok(Self {
            grid,
            values,
            header: None,
            warnings: Vec::new(),
        })
    }

    /// A field on an image's grid, to be written with its header.
    ///
    /// # Errors
    /// As [`DisplacementField::new`].
    pub fn on(image: &Image, values: Vec<f32>) -> Result<Self> {
        let mut field = Self::new(image.grid().clone(), values)?;
        field.header = image.header().cloned().map(Box::new);
        Ok(field)
    }

    /// Where the vectors stand.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Vectors in mm, RAS, planar.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Vectors in mm, RAS, planar, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Vectors in mm, RAS, planar, without a copy.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// The vectors in voxels, planar: component `a` along axis `a` of the grid. Without a copy.
    pub fn into_voxels(mut self) -> Vec<f32> {
        const CHUNK: usize = 1 << 14;
        let (rank, voxels) = (self.grid.rank(), self.grid.voxels());
        let index = self.grid.world_to_index().matrix;
        let mut planes: Vec<_> = self
            .values
            .chunks_mut(voxels)
            .map(|plane| plane.chunks_mut(CHUNK))
            .collect();
        let mut parts: Vec<Vec<&mut [f32]>> = (0..voxels.div_ceil(CHUNK))
            .map(|_| planes.iter_mut().filter_map(Iterator::next).collect())
            .collect();
        parts.par_iter_mut().for_each(|part| {
            for v in 0..part[0].len() {
                let mut mm = [0.0; 3];
                for c in 0..rank {
                    mm[c] = f64::from(part[c][v]);
                }
                for a in 0..rank {
                    let row = &index[a];
                    part[a][v] = (row[0] * mm[0] + row[1] * mm[1] + row[2] * mm[2]) as f32;
                }
            }
        });
        self.values
    }

    /// What was doubtful in the file, in whole sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Reads a field: NIfTI with dim `[5, nx, ny, nz, 1, 3]`, or `[5, nx, ny, 1, 1, 2]` in 2D.
    ///
    /// Intent 1007 means vectors in LPS, as ITK and ANTs write them; intent 1006 vectors in RAS.
    ///
    /// # Errors
    /// As [`read_image_with`](crate::read_image_with), and [`Error::Format`] for another intent or shape.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::read_with(path, &ImageOptions::default())
    }

    /// As [`DisplacementField::read`], with limits; `volume` and `channels` have no meaning here.
    ///
    /// # Errors
    /// As [`DisplacementField::read`].
    pub fn read_with(path: impl AsRef<Path>, options: &ImageOptions) -> Result<Self> {
        let path = path.as_ref();
        let mut file = Nifti::open(Source::open(path)?)?;
        let intent = file.header.intent();
        if ![VECTOR, DISPLACEMENT].contains(&intent) {
            return Err(Error::format(
                path,
                format!(
                    "expected a displacement field (intent 1007 or 1006), found intent {intent} and dim {:?}; \
                     fields of FSL or in voxels must be converted first",
                    file.dims
                ),
            ));
        }
        let rank = file.grid().rank();
        let dim = |axis: usize| file.dims.get(axis).copied().unwrap_or(1);
        if dim(3) != 1 || dim(4) != rank {
            return Err(Error::format(
                path,
                format!(
                    "expected a displacement field of {rank} components, dim [nx, ny, {}, 1, {rank}], found dim {:?}",
                    if rank == 3 { "nz" } else { "1" },
                    file.dims
                ),
            ));
        }
        let mut values = file.values((0, rank), options)?;
        if intent == VECTOR {
            let plane = 2 * file.grid().voxels();
            values[..plane].iter_mut().for_each(|v| *v = -*v);
        } else {
            file.warnings.push(
                "the field has intent 1006 (DISPVECT): its vectors were read as RAS, as ITK 5.4 and later do; older ITK \
                 would not flip x and y"
                    .into(),
            );
        }
        Ok(Self {
            grid: file.geometry.grid,
            values,
            header: Some(Box::new(file.header)),
            warnings: file.warnings,
        })
    }

    /// Writes the field as ITK and ANTs do: intent 1007, vectors in LPS mm, single precision.
    ///
    /// Vectors are rounded to multiples of 2^-13 mm, an error below 6.2e-5 mm, which makes the compressed file much
    /// smaller. The conversion happens block by block, no second copy of the field is made.
    ///
    /// # Errors
    /// As [`Image::write`](crate::Image::write).
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let (path, rank, voxels) = (path.as_ref(), self.grid.rank(), self.grid.voxels());
        let element = ElementType::F32;
        let mut header = header_for(path, self.header.as_deref(), &self.grid, rank, element)?;
        header.set_intent(VECTOR);
        let flipped = 2 * voxels;
        write_nifti(path, &header, element, rank * voxels, &|range, out| {
            let start = out.len();
            out.resize(start + 4 * range.len(), 0);
            let split = flipped.clamp(range.start, range.end) - range.start;
            let (lps, same) = self.values[range].split_at(split);
            let (first, second) = out[start..].split_at_mut(4 * split);
            append(lps, -1.0, first);
            append(same, 1.0, second);
        })
    }
}

/// The bytes of values, rounded, times a sign.
fn append(values: &[f32], sign: f32, out: &mut [u8]) {
    for (bytes, value) in out.chunks_exact_mut(4).zip(values) {
        // + 0.0 turns a negative zero into a positive one.
        let rounded = round(value * (sign / GRAIN)) * GRAIN + 0.0;
        bytes.copy_from_slice(&rounded.to_le_bytes());
    }
}

/// The nearest whole number, ties to even: `f32::round_ties_even`, which is a function call on many processors.
#[inline(always)]
fn round(value: f32) -> f32 {
    // from here on all numbers are whole, and sums with smaller ones are rounded to whole numbers
    const WHOLE: f32 = (1 << 23) as f32;
    let size = value.abs();
    let rounded = ((size + WHOLE) - WHOLE).copysign(value);
    if size < WHOLE {
        rounded
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_the_nearest_and_ties_go_to_even() {
        let mut values = vec![
            f32::NAN,
            f32::INFINITY,
            0.0,
            f32::MIN_POSITIVE,
            f32::MAX,
            0.499_999_97,
        ];
        for k in 0..200 {
            values.extend([k as f32 * 0.25, (1 << 22) as f32 + k as f32 * 0.5]);
            values.push((1 << 23) as f32 - 50.0 + k as f32 * 0.5);
        }
        for v in values.iter().flat_map(|v| [*v, -v]) {
            assert_eq!(round(v).to_bits(), v.round_ties_even().to_bits(), "{v}");
        }
    }
}
