//! Sizes, maps and weights as kernels take them.

use super::argument::{counted, Argument, Plain};
use super::precision::with_precision;
use super::Launcher;
use crate::ops::real::Real;
use crate::{Affine, Result};

/// Voxels along each axis, fastest first; 1 beyond the rank.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::ops) struct Size([i32; 3]);

// SAFETY: `struct Size` of kernels/prelude.cuh.
unsafe impl Plain for Size {}

impl Size {
    pub fn of(size: &[usize]) -> Result<Self> {
        counted(size.iter().product())?;
        Ok(Self(std::array::from_fn(|a| {
            size.get(a).map_or(1, |&n| n as i32)
        })))
    }
}

/// Weights of differences: component, then axis.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::ops) struct Weights<T>([[T; 3]; 3]);

// SAFETY: `struct Weights` of kernels/prelude.cuh.
unsafe impl<T: Plain> Plain for Weights<T> {}

impl<T: Real> Weights<T> {
    pub fn of(weights: &[[f64; 3]; 3]) -> Self {
        Self(weights.map(|row| row.map(T::of)))
    }
}

/// A number for each component.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Vector<T>([T; 3]);

// SAFETY: `struct Vector` of kernels/prelude.cuh.
unsafe impl<T: Plain> Plain for Vector<T> {}

/// Sizes of both grids and the map from fixed index, plus displacement, to moving index.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Frame<T> {
    fixed: Size,
    moving: Size,
    stride: [i32; 3],
    /// Fills up what the alignment of doubles would leave.
    filler: i32,
    matrix: [[T; 3]; 3],
    offset: [T; 3],
}

// SAFETY: `struct Frame` of kernels/sample.cuh.
unsafe impl<T: Plain> Plain for Frame<T> {}

impl<T: Real> Frame<T> {
    fn new(fixed: &[usize], moving: &[usize], map: &Affine) -> Result<Self> {
        let mut step = 1;
        let mut stride = [0; 3];
        for (a, &n) in moving.iter().enumerate() {
            stride[a] = if n > 1 { step } else { 0 };
            step *= n as i32;
        }
        Ok(Self {
            fixed: Size::of(fixed)?,
            moving: Size::of(moving)?,
            stride,
            filler: 0,
            matrix: map.matrix.map(|row| row.map(T::of)),
            offset: map.translation.map(T::of),
        })
    }
}

impl Launcher {
    /// Both grids and the map between them, `struct Frame` of kernels/sample.cuh.
    pub fn frame(&self, fixed: &[usize], moving: &[usize], map: &Affine) -> Result<Argument> {
        Ok(with_precision!(self.precision(), T => {
            Argument::of(Frame::<T>::new(fixed, moving, map)?)
        }))
    }

    /// Weights of differences, `struct Weights` of kernels/prelude.cuh.
    pub fn weights(&self, weights: &[[f64; 3]; 3]) -> Argument {
        with_precision!(self.precision(), T => Argument::of(Weights::<T>::of(weights)))
    }

    /// A number for each component, `struct Vector` of kernels/prelude.cuh.
    pub fn vector(&self, numbers: [f64; 3]) -> Argument {
        with_precision!(self.precision(), T => Argument::of(Vector(numbers.map(<T as Real>::of))))
    }
}

/// The rank of a grid, which names a kernel.
///
/// # Panics
/// For other ranks than 2 and 3.
pub(in crate::ops) fn rank(size: &[usize]) -> usize {
    assert!((2..=3).contains(&size.len()), "two or three axes");
    size.len()
}
