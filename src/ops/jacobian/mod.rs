//! Jacobian determinants of `phi(x) = x + u(x)` and the digital criterion of a diffeomorphism.
//!
//! A displacement here is planar: `rank` components one after the other, each over all voxels, first axis fastest,
//! component `a` along axis `a`, in voxels.

mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(in crate::ops) mod cuda;

pub(in crate::ops) use cpu::{smallest, Field as Lines, Measure};

use candle_core::Tensor;
use rayon::prelude::*;

use super::device::twin;
use super::diffusion::size;
use super::real::Real;
use super::storage::{read, with_real};
use crate::Result;

/// Lines of voxels that one task takes: fixed, so that no sum depends on the number of threads.
const LINES: usize = 16;

/// A measure of all voxels, rounded to single precision.
fn voxelwise<T: Real>(u: &[T], size: &[usize], what: Measure) -> Vec<f32> {
    let field = cpu::Field::new(u, size);
    let mut out = vec![0.0; field.voxels()];
    out.par_chunks_mut(LINES * field.length())
        .enumerate()
        .for_each_init(
            || vec![T::of(0.0); field.length()],
            |buffer, (chunk, values)| {
                for (line, row) in values.chunks_mut(field.length()).enumerate() {
                    field.measure(what, chunk * LINES + line, 0..field.length(), buffer);
                    for (value, determinant) in row.iter_mut().zip(buffer.iter()) {
                        *value = determinant.narrow();
                    }
                }
            },
        );
    out
}

/// Determinants of `I + Du` by central differences.
///
/// `det(I + Du)` at every voxel, differences `(u(x + e) - u(x - e)) / 2`, one-sided at the border, zero along an axis
/// of one voxel. `u` is planar in voxels, length `rank * voxels`; the result has one value a voxel.
///
/// # Panics
/// When the rank is not 2 or 3 or the length of `u` is not `rank * voxels`.
pub fn determinants<T: Real>(u: &[T], size: &[usize]) -> Vec<f32> {
    voxelwise(u, size, Measure::Central)
}

/// [`determinants`] of a displacement `[rank, (nz,) ny, nx]`: `[(nz,) ny, nx]`, single precision.
pub(crate) fn determinant_map(u: &Tensor) -> Result<Tensor> {
    let size = size(u);
    twin!(u, launcher => Ok(cuda::central(&launcher, u, &size)?.to_dtype(candle_core::DType::F32)?));
    let values = with_real!(u.dtype(), T => read::<T, _>(u, |u| determinants(u, &size)))?;
    Ok(Tensor::from_vec(values, &u.dims()[1..], u.device())?)
}

/// The smallest determinant of the digital criterion at every voxel.
///
/// At a voxel: the `2^rank` determinants of `I + Du` with each derivative taken forward or backward, which are the
/// volumes spanned by the three edges that meet in the voxel in each cell around it, and in 3D the two diagonal
/// determinants of the cell whose lowest corner the voxel is,
/// `det[q(1,0,0) - q(1,1,1), ...] / 2` and `det[q(0,1,1) - q(0,0,0), ...] / 2` with `q` the displaced corners,
/// signed and scaled so that the identity gives 1. These are the tetrahedra of the two ways to cut a cell into five.
/// Only cells inside the grid count; along an axis of one voxel the derivative is zero. A voxel next to a displacement
/// that is not finite gets minus infinity.
///
/// Source: Liu, Chen, Wei, Carass, Prince, "On finite difference Jacobian computation in deformable image
/// registration", IJCV 2024, arXiv:2212.06060.
///
/// # Panics
/// As [`determinants`].
pub fn corner_determinants_minimum<T: Real>(u: &[T], size: &[usize]) -> Vec<f32> {
    voxelwise(u, size, Measure::Corners)
}

/// The smallest of [`corner_determinants_minimum`] over all voxels: positive if and only if the displacement is a
/// digital diffeomorphism.
///
/// One pass over `u`, no allocation beyond a line a task.
///
/// # Panics
/// As [`determinants`].
pub fn minimum_determinant<T: Real>(u: &[T], size: &[usize]) -> f32 {
    let field = cpu::Field::new(u, size);
    (0..field.lines().div_ceil(LINES))
        .into_par_iter()
        .map_init(
            || vec![T::of(0.0); field.length()],
            |buffer, chunk| {
                let mut smallest = f32::INFINITY;
                for line in chunk * LINES..((chunk + 1) * LINES).min(field.lines()) {
                    field.measure(Measure::Corners, line, 0..field.length(), buffer);
                    smallest = smallest.min(cpu::smallest(buffer).narrow());
                }
                smallest
            },
        )
        .reduce(|| f32::INFINITY, f32::min)
}

/// At how many voxels the digital criterion fails, and [`minimum_determinant`].
pub(crate) fn digital_folds<T: Real>(u: &[T], size: &[usize]) -> (usize, f32) {
    let field = cpu::Field::new(u, size);
    (0..field.lines().div_ceil(LINES))
        .into_par_iter()
        .map_init(
            || vec![T::of(0.0); field.length()],
            |buffer, chunk| {
                let (mut folds, mut smallest) = (0, f32::INFINITY);
                for line in chunk * LINES..((chunk + 1) * LINES).min(field.lines()) {
                    field.measure(Measure::Corners, line, 0..field.length(), buffer);
                    folds += buffer.iter().filter(|v| **v <= T::of(0.0)).count();
                    smallest = smallest.min(cpu::smallest(buffer).narrow());
                }
                (folds, smallest)
            },
        )
        .reduce(|| (0, f32::INFINITY), |a, b| (a.0 + b.0, a.1.min(b.1)))
}

/// The voxels at which the digital criterion fails: [`corner_determinants_minimum`] zero or negative.
///
/// # Panics
/// As [`determinants`].
pub fn folded_voxels<T: Real>(u: &[T], size: &[usize]) -> Vec<bool> {
    corner_determinants_minimum(u, size)
        .into_par_iter()
        .map(|determinant| determinant <= 0.0)
        .collect()
}

/// The volume that is turned inside out, in voxels.
///
/// In 3D the sum over cells and the ten tetrahedra of the two ways to cut a cell into five of `-min(J, 0) / 12`, with
/// `J` six times the signed volume of the displaced tetrahedron; in 2D the sum over cells and the four triangles of the
/// two ways to cut a cell into two of `-min(J, 0) / 4`, with `J` twice the signed area. Zero if the displacement is a
/// digital diffeomorphism. Summed in double precision, line by line in order.
///
/// Source: as [`corner_determinants_minimum`].
///
/// # Panics
/// As [`determinants`].
pub fn non_diffeomorphic_volume<T: Real>(u: &[T], size: &[usize]) -> f64 {
    let field = cpu::Field::new(u, size);
    let sums: Vec<f64> = (0..field.lines().div_ceil(LINES))
        .into_par_iter()
        .map_init(
            || vec![T::of(0.0); field.length()],
            |buffer, chunk| {
                let mut sum = 0.0;
                for line in chunk * LINES..((chunk + 1) * LINES).min(field.lines()) {
                    field.measure(Measure::FoldedVolume, line, 0..field.length(), buffer);
                    sum += buffer.iter().map(|v| v.wide()).sum::<f64>();
                }
                sum
            },
        )
        .collect();
    sums.iter().sum::<f64>() / if size.len() == 3 { 12.0 } else { 4.0 }
}
