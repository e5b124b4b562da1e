//! Boxes of voxels that are solved apart.

use candle_core::Tensor;
use rayon::prelude::*;

use super::crop::crop;
use super::diffusion::size;
use super::real::Real;
use super::rows::{for_rows, Shared};
use super::storage::{read, with_real, with_stored, write};
use crate::Result;

/// Edge of the cubes in which a field is weighed, voxels.
const CUBE: usize = 8;

/// Voxels that a region takes on each side of its cube, held ones included.
const MARGIN: usize = 6;

/// Voxels that are held on each side, as far as any term of an energy couples.
const HELD: usize = 2;

/// A box of voxels of a grid. Those near its faces are held, but for faces that the grid itself has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The first voxel along each axis, fastest first.
    pub start: Vec<usize>,
    /// Voxels along each axis.
    pub size: Vec<usize>,
    /// Voxels of the whole grid along each axis.
    pub whole: Vec<usize>,
}

impl Region {
    /// Boxes that hold the share `most` of a field's squared length, largest first; none where that takes more than the
    /// share `few` of the grid's cubes. The field is `[channels, (nz,) ny, nx]`.
    pub fn concentrations(field: &Tensor, most: f64, few: f64) -> Result<Vec<Self>> {
        let whole = size(field);
        let cubes: Vec<usize> = whole.iter().map(|n| n.div_ceil(CUBE)).collect();
        let count: usize = cubes.iter().product();
        let sums: Vec<f64> = with_real!(field.dtype(), T => read::<T, _>(field, |f| {
            let corner = |cube| corner_of(cube, &cubes);
            (0..count)
                .into_par_iter()
                .map(|cube| squares(f, &whole, &corner(cube)))
                .collect()
        }))?;
        let total: f64 = sums.iter().sum();
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]));
        let enough = (few * count as f64) as usize;
        let mut held = 0.0;
        let mut regions = Vec::new();
        for cube in order {
            if held >= most * total {
                return Ok(regions);
            }
            if regions.len() == enough {
                break;
            }
            held += sums[cube];
            regions.push(Self::around(&corner_of(cube, &cubes), &whole));
        }
        Ok(Vec::new())
    }

    /// The box around the cube at `corner`.
    fn around(corner: &[usize], whole: &[usize]) -> Self {
        let start: Vec<usize> = corner.iter().map(|c| c.saturating_sub(MARGIN)).collect();
        let size = (0..whole.len())
            .map(|a| (corner[a] + CUBE + MARGIN).min(whole[a]) - start[a])
            .collect();
        Self {
            start,
            size,
            whole: whole.to_vec(),
        }
    }

    /// Whether two boxes have a voxel in common.
    pub fn touches(&self, other: &Self) -> bool {
        (0..self.size.len()).all(|a| {
            self.start[a] < other.start[a] + other.size[a]
                && other.start[a] < self.start[a] + self.size[a]
        })
    }

    /// The part of a tensor `[channels, (nz,) ny, nx]` that lies in the box.
    pub fn crop(&self, tensor: &Tensor) -> Result<Tensor> {
        crop(tensor, &self.start, &self.size)
    }

    /// Writes a part that [`Region::crop`] took back into the whole.
    pub fn paste(&self, part: &Tensor, whole: &Tensor) -> Result<()> {
        let (n, m): (usize, usize) = (self.whole.iter().product(), self.size.iter().product());
        let row = self.size[0];
        with_real!(part.dtype(), T => read::<T, _>(part, |from| {
            write::<T, _>(whole, |to| {
                for (line, from) in from.chunks_exact(row).enumerate() {
                    let (channel, mut rest) = (line / (m / row), line % (m / row));
                    let (mut at, mut stride) = (channel * n + self.start[0], self.whole[0]);
                    for a in 1..self.size.len() {
                        at += (self.start[a] + rest % self.size[a]) * stride;
                        rest /= self.size[a];
                        stride *= self.whole[a];
                    }
                    to[at..at + row].copy_from_slice(from);
                }
            })
        })?)
    }

    /// Sets a tensor over the box to zero where voxels are held.
    pub fn clear_held(&self, part: &Tensor) -> Result<()> {
        let row = self.size[0];
        let lines: usize = self.size[1..].iter().product();
        with_stored!(part.dtype(), T => write::<T, _>(part, |values| {
            let zero = <T as Real>::of(0.0);
            let free = self.free(0);
            let count = values.len() / row;
            let out = Shared::new(values);
            for_rows(count, row, |run| {
                for line in run {
                    let mut rest = line % lines;
                    let mut inside = true;
                    for a in 1..self.size.len() {
                        inside &= self.free(a).contains(&(rest % self.size[a]));
                        rest /= self.size[a];
                    }
                    let held = |x: &usize| !(inside && free.contains(x));
                    for x in (0..row).filter(held) {
                        // SAFETY: inside the tensor; each task its own rows.
                        unsafe { *out.at(line * row + x) = zero };
                    }
                }
            });
        }))
    }

    /// The voxels along an axis that are not held.
    fn free(&self, a: usize) -> std::ops::Range<usize> {
        let low = if self.start[a] == 0 { 0 } else { HELD };
        let at_end = self.start[a] + self.size[a] == self.whole[a];
        low..self.size[a] - if at_end { 0 } else { HELD }
    }
}

/// The first voxel of a cube.
fn corner_of(cube: usize, cubes: &[usize]) -> Vec<usize> {
    let mut rest = cube;
    cubes
        .iter()
        .map(|n| {
            let at = rest % n * CUBE;
            rest /= n;
            at
        })
        .collect()
}

/// The squared length of a field within the cube at `corner`.
fn squares<T: Real>(field: &[T], whole: &[usize], corner: &[usize]) -> f64 {
    let along = |a: usize| {
        let from = corner.get(a).copied().unwrap_or(0);
        from..(from + CUBE).min(whole.get(a).copied().unwrap_or(1))
    };
    let n: usize = whole.iter().product();
    let mut sum = 0.0;
    for plane in field.chunks_exact(n) {
        for z in along(2) {
            for y in along(1) {
                let row = (z * whole[1] + y) * whole[0];
                let values = &plane[row + corner[0]..row + along(0).end];
                sum += values.iter().map(|v| v.wide() * v.wide()).sum::<f64>();
            }
        }
    }
    sum
}
