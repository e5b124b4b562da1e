//! Fields in millimetres or voxels from displacements in voxels.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::ops::{inverted, read, warped_values};
use crate::transform::lines;
use crate::{Affine, Grid, Result};

/// `A (W (x + u)) - W x` at every voxel `x` of `grid`, planar, mm RAS.
pub(crate) fn total_on(grid: &Grid, u: Option<&Tensor>, affine: &Affine) -> Result<Vec<f32>> {
    let after = affine.compose(&grid.index_to_world());
    shifts(grid, u, &after, &grid.index_to_world())
}

/// [`total_on`] in voxels of `grid`.
pub(super) fn total_in_voxels(
    grid: &Grid,
    u: Option<&Tensor>,
    affine: &Affine,
) -> Result<Vec<f32>> {
    let after = affine.compose(&grid.index_to_world());
    let after = grid.world_to_index().compose(&after);
    shifts(grid, u, &after, &Affine::identity())
}

/// `after (x + u) - before x`, planar.
fn shifts(grid: &Grid, u: Option<&Tensor>, after: &Affine, before: &Affine) -> Result<Vec<f32>> {
    let shift = Shift::new(after, before, after);
    let mut out = vec![0.0; grid.rank() * grid.voxels()];
    match u {
        Some(u) => read(u, |u| shift.fill(grid, Some(u), &mut out))?,
        None => shift.fill(grid, None, &mut out),
    }
    Ok(out)
}

/// The inverse of the total map on another grid `target` (of moving space): `phi^-1(A^-1 y) - y`, planar, mm RAS, and
/// the share of the fixed voxels where the inversion missed a hundredth of a voxel.
///
/// Beyond the fixed grid the inverse displacement is continued by its nearest value.
pub fn inverse_on(
    grid: &Grid,
    u: Option<&Tensor>,
    affine: &Affine,
    target: &Grid,
) -> Result<(Vec<f32>, f64)> {
    let back = affine.inverse()?;
    let start = target.index_to_world();
    let Some(u) = u else {
        return Ok((shifts(target, None, &back.compose(&start), &start)?, 0.0));
    };
    let mut v = vec![0.0f32; grid.rank() * grid.voxels()];
    let missed = read(u, |u| inverted(u, grid.size(), &mut v))?;
    let world = grid.index_to_world();
    if target.matches(grid, 1e-6) && affine == &Affine::identity() {
        Shift::new(&world, &world, &world).apply(target, &mut v);
        return Ok((v, missed));
    }
    // voxels of the target, in voxels of the fixed grid; there the inverse displacement is sampled
    let into = grid.world_to_index().compose(&back).compose(&start);
    let mut v = warped_values(&v, grid.size(), None, target.size(), &into, true)?;
    // y -> W (into(y) + v) - y
    Shift::new(&world.compose(&into), &start, &world).apply(target, &mut v);
    Ok((v, missed))
}

/// `after x - before x`, plus the linear part of a map times a displacement.
struct Shift {
    rest: Affine,
    linear: [[f64; 3]; 3],
}

/// Voxels of a row that are worked on together.
const PIECE: usize = 64;

impl Shift {
    /// Small numbers stay exact in single precision: large ones cancel here.
    fn new(after: &Affine, before: &Affine, linear: &Affine) -> Self {
        Self {
            rest: Affine::new(
                std::array::from_fn(|r| {
                    std::array::from_fn(|c| after.matrix[r][c] - before.matrix[r][c])
                }),
                std::array::from_fn(|r| after.translation[r] - before.translation[r]),
            ),
            linear: linear.matrix,
        }
    }

    /// Fills planar values on `grid` from the displacement `u`; none is zero.
    fn fill(&self, grid: &Grid, u: Option<&[f32]>, out: &mut [f32]) {
        let (n, width) = (grid.voxels(), grid.size()[0]);
        lines(out, n, width)
            .into_par_iter()
            .enumerate()
            .for_each(|(row, mut line)| {
                let from = |a: usize| u.map(|u| &u[a * n + row * width..][..width]);
                self.row(grid, row, from, &mut line);
            });
    }

    /// Turns planar displacements on `grid` into the values.
    fn apply(&self, grid: &Grid, values: &mut [f32]) {
        lines(values, grid.voxels(), grid.size()[0])
            .into_par_iter()
            .enumerate()
            .for_each(|(row, mut line)| {
                let own: Vec<Vec<f32>> = line.iter().map(|part| part.to_vec()).collect();
                self.row(grid, row, |a| Some(&own[a][..]), &mut line);
            });
    }

    fn row<'a>(
        &self,
        grid: &Grid,
        row: usize,
        u: impl Fn(usize) -> Option<&'a [f32]>,
        line: &mut [&mut [f32]],
    ) {
        let (ny, width) = (grid.size()[1], grid.size()[0]);
        let begin = self.rest.apply([0.0, (row % ny) as f64, (row / ny) as f64]);
        let mut here = [[0.0f32; PIECE]; 3];
        for first in (0..width).step_by(PIECE) {
            let count = PIECE.min(width - first);
            for (a, here) in here.iter_mut().enumerate().take(line.len()) {
                if let Some(u) = u(a) {
                    here[..count].copy_from_slice(&u[first..first + count]);
                }
            }
            for (a, line) in line.iter_mut().enumerate() {
                let linear = self.linear[a];
                for (x, out) in line[first..first + count].iter_mut().enumerate() {
                    let mut value = begin[a] + self.rest.matrix[a][0] * (first + x) as f64;
                    for b in 0..3 {
                        value += linear[b] * f64::from(here[b][x % PIECE]);
                    }
                    *out = value as f32;
                }
            }
        }
    }
}
