//! Sizes, maps and weights as kernels take them.

use super::argument::{counted, Plain};
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
pub(in crate::ops) struct Weights([[f32; 3]; 3]);

// SAFETY: `struct Weights` of kernels/prelude.cuh.
unsafe impl Plain for Weights {}

impl Weights {
    pub fn of(weights: &[[f64; 3]; 3]) -> Self {
        Self(weights.map(|row| row.map(|w| w as f32)))
    }
}

/// A number for each component.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::ops) struct Vector([f32; 3]);

// SAFETY: `struct Vector` of kernels/prelude.cuh.
unsafe impl Plain for Vector {}

impl Vector {
    pub fn of(numbers: [f64; 3]) -> Self {
        Self(numbers.map(|x| x as f32))
    }
}

/// Sizes of both grids and the map from fixed index, plus displacement, to moving index.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(in crate::ops) struct Frame {
    fixed: Size,
    moving: Size,
    stride: [i32; 3],
    matrix: [[f32; 3]; 3],
    offset: [f32; 3],
}

// SAFETY: `struct Frame` of kernels/sample.cuh.
unsafe impl Plain for Frame {}

impl Frame {
    pub fn new(fixed: &[usize], moving: &[usize], map: &Affine) -> Result<Self> {
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
            matrix: map.matrix.map(|row| row.map(|x| x as f32)),
            offset: map.translation.map(|x| x as f32),
        })
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
