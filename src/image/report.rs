//! What a file's header says, for people.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::meta_image::MetaImage;
use super::nifti_geometry::{orientation, Reading};
use super::nifti_read::Nifti;
use super::read::ImageFile;
use super::source::Source;
use super::volume::ImageOptions;
use crate::{Grid, Result};

/// Everything worth knowing about an image file before it is used.
#[derive(Debug, Clone, Serialize)]
pub struct HeaderReport {
    /// The file.
    pub path: PathBuf,
    /// "NIfTI-1" or "MetaImage".
    pub format: &'static str,
    /// Whether the most significant byte comes first.
    pub big_endian: bool,
    /// Sizes along all axes, also those beyond space.
    pub dims: Vec<usize>,
    /// Images on the grid: time points, or components of vectors.
    pub volumes: usize,
    /// Type of the stored numbers.
    pub element: &'static str,
    /// 2 or 3: a slice has rank 2.
    pub rank: usize,
    /// Millimetres between voxels, along each of the rank's axes.
    pub spacing: Vec<f64>,
    /// Letters of the axes' directions in the world, such as `RAS` or `LPI`.
    pub orientation: String,
    /// Where the voxels lie, as it is used here.
    pub geometry: GeometryReport,
    /// Where ITK and ANTs would say they lie; missing when they refuse the file.
    pub itk_geometry: Option<GeometryReport>,
    /// Fields of NIfTI files only.
    pub nifti: Option<NiftiReport>,
    /// What is doubtful, in whole sentences.
    pub warnings: Vec<String>,
    /// About the values, if they were asked for.
    pub values: Option<ValueReport>,
}

/// A map from index to world, RAS mm.
#[derive(Debug, Clone, Serialize)]
pub struct GeometryReport {
    /// Which part of the header it comes from.
    pub from: String,
    /// `world = matrix * (i, j, k, 1)`, three rows of four.
    pub matrix: [[f64; 4]; 3],
}

/// Fields of a NIfTI header.
#[derive(Debug, Clone, Serialize)]
pub struct NiftiReport {
    /// `sform_code`.
    pub sform_code: i16,
    /// `qform_code`.
    pub qform_code: i16,
    /// `intent_code`; 1007 and 1006 are displacement fields.
    pub intent_code: i16,
    /// `scl_slope` as stored; `None` when not finite.
    pub slope: Option<f32>,
    /// `scl_inter` as stored; `None` when not finite.
    pub intercept: Option<f32>,
    /// `descrip`.
    pub description: String,
}

/// About the values of all volumes.
#[derive(Debug, Clone, Serialize)]
pub struct ValueReport {
    /// Smallest finite value; `None` when there is none.
    pub min: Option<f32>,
    /// Largest finite value; `None` when there is none.
    pub max: Option<f32>,
    /// How many are NaN or infinite.
    pub non_finite: usize,
}

/// Reads a file's header, and its values if `with_values`.
///
/// # Errors
/// As [`read_image_with`](crate::read_image_with); values that are not finite are counted, not refused.
pub fn header_report(path: impl AsRef<Path>, with_values: bool) -> Result<HeaderReport> {
    let path = path.as_ref();
    match ImageFile::open(Source::open(path)?)? {
        ImageFile::Nifti(file) => of_nifti(path, *file, with_values),
        ImageFile::Meta(file) => of_meta(path, *file, with_values),
    }
}

fn of_nifti(path: &Path, mut file: Nifti<'_>, with_values: bool) -> Result<HeaderReport> {
    let values = with_values
        .then(|| file.values((0, file.volumes), &lenient()))
        .transpose()?;
    let (slope, intercept) = file.header.stored_scale();
    let nifti = NiftiReport {
        sform_code: file.header.sform_code(),
        qform_code: file.header.qform_code(),
        intent_code: file.header.intent(),
        slope: Some(slope).filter(|v| v.is_finite()),
        intercept: Some(intercept).filter(|v| v.is_finite()),
        description: file.header.description(),
    };
    let grid = &file.geometry.grid;
    Ok(HeaderReport {
        path: path.to_path_buf(),
        format: "NIfTI-1",
        big_endian: file.encoding.big_endian,
        volumes: file.volumes,
        element: file.encoding.element.name(),
        rank: grid.rank(),
        spacing: grid.spacing().to_vec(),
        orientation: orientation(grid),
        geometry: of_reading(&file.geometry.own),
        itk_geometry: file.geometry.itk.as_ref().ok().map(of_reading),
        nifti: Some(nifti),
        warnings: file.warnings,
        values: values.map(|v| of_values(&v)),
        dims: file.dims,
    })
}

fn of_meta(path: &Path, mut file: MetaImage<'_>, with_values: bool) -> Result<HeaderReport> {
    let volumes = file.volumes * file.components;
    let values = with_values
        .then(|| file.values((0, volumes), &lenient()))
        .transpose()?;
    let geometry = of_grid(&file.grid);
    Ok(HeaderReport {
        path: path.to_path_buf(),
        format: "MetaImage",
        big_endian: file.encoding.big_endian,
        volumes,
        element: file.encoding.element.name(),
        rank: file.grid.rank(),
        spacing: file.grid.spacing().to_vec(),
        orientation: orientation(&file.grid),
        itk_geometry: Some(geometry.clone()),
        geometry,
        nifti: None,
        warnings: Vec::new(),
        values: values.map(|v| of_values(&v)),
        dims: file.dims,
    })
}

fn lenient() -> ImageOptions {
    ImageOptions {
        allow_non_finite: true,
        ..ImageOptions::default()
    }
}

fn of_reading(reading: &Reading) -> GeometryReport {
    let (m, t) = (reading.map.matrix, reading.map.translation);
    GeometryReport {
        from: reading.from.clone(),
        matrix: std::array::from_fn(|r| [m[r][0], m[r][1], m[r][2], t[r]]),
    }
}

fn of_grid(grid: &Grid) -> GeometryReport {
    of_reading(&Reading {
        map: grid.index_to_world(),
        from: "TransformMatrix, ElementSpacing and Offset".into(),
    })
}

fn of_values(values: &[f32]) -> ValueReport {
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    ValueReport {
        min: finite().reduce(f32::min),
        max: finite().reduce(f32::max),
        non_finite: values.len() - finite().count(),
    }
}
