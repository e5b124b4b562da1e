//! Fields in millimetres from displacements in voxels.

use candle_core::Tensor;
use rayon::prelude::*;

use crate::ops::Interpolation;
use crate::ops::{inverse_displacement, read, SsdData};
use crate::transform::lines;
use crate::{Affine, Grid, Result};

/// `A (W (x + u)) - W x` at every voxel `x` of `grid`, planar, mm RAS.
pub(super) fn total_on(grid: &Grid, u: Option<&Tensor>, affine: &Affine) -> Result<Vec<f32>> {
    let after = affine.compose(&grid.index_to_world());
    match u {
        Some(u) => read(u, |u| difference(grid, Some(u), &after)),
        None => Ok(difference(grid, None, &after)),
    }
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
    let Some(u) = u else {
        let after = back.compose(&target.index_to_world());
        return Ok((difference(target, None, &after), 0.0));
    };
    let (v, missed) = inverse_displacement(u)?;
    // voxels of the target, in voxels of the fixed grid
    let into = grid
        .world_to_index()
        .compose(&back)
        .compose(&target.index_to_world());
    if target.matches(grid, 1e-6) && affine == &Affine::identity() {
        let values = read(&v, |v| difference(grid, Some(v), &grid.index_to_world()))?;
        return Ok((values, missed));
    }
    // sample the inverse displacement (in voxels of the fixed grid) where the target's voxels fall
    let rank = grid.rank();
    let zero = Tensor::zeros(
        [&[rank], target.shape().as_slice()].concat(),
        v.dtype(),
        v.device(),
    )?;
    let sampled = SsdData {
        fixed: zero,
        moving: v,
        mask: None,
        channel_weight: vec![1.0; rank],
        map: into,
        interpolation: Interpolation::Linear,
    }
    .warped(None)?;
    // y -> W (into(y) + v) - y
    let world = grid.index_to_world();
    let start = target.index_to_world();
    let (n, width) = (target.voxels(), target.size()[0]);
    let mut out = vec![0.0f32; rank * n];
    read(&sampled, |sampled: &[f32]| {
        lines(&mut out, n, width)
            .into_par_iter()
            .enumerate()
            .for_each(|(row, mut line)| {
                for x in 0..width {
                    let index = index_of(target, row, x);
                    let mut p = into.apply(index);
                    for (a, p) in p.iter_mut().enumerate().take(rank) {
                        *p += f64::from(sampled[a * n + row * width + x]);
                    }
                    let (to, from) = (world.apply(p), start.apply(index));
                    for (a, line) in line.iter_mut().enumerate() {
                        line[x] = (to[a] - from[a]) as f32;
                    }
                }
            });
    })?;
    Ok((out, missed))
}

fn index_of(grid: &Grid, row: usize, x: usize) -> [f64; 3] {
    let ny = grid.size()[1];
    [x as f64, (row % ny) as f64, (row / ny) as f64]
}

/// `after (x + u) - W x`, planar, mm RAS.
fn difference(grid: &Grid, u: Option<&[f32]>, after: &Affine) -> Vec<f32> {
    let world = grid.index_to_world();
    let (rank, n, width) = (grid.rank(), grid.voxels(), grid.size()[0]);
    // (after - W) x + after's linear part times u: small numbers stay exact in single precision
    let rest = Affine::new(
        std::array::from_fn(|r| std::array::from_fn(|c| after.matrix[r][c] - world.matrix[r][c])),
        std::array::from_fn(|r| after.translation[r] - world.translation[r]),
    );
    let mut out = vec![0.0f32; rank * n];
    out.par_chunks_mut(width)
        .enumerate()
        .for_each(|(line, out)| {
            let (a, row) = (line / (n / width), line % (n / width));
            let start = rest.apply(index_of(grid, row, 0))[a];
            for (x, out) in out.iter_mut().enumerate() {
                let mut value = start + rest.matrix[a][0] * x as f64;
                if let Some(u) = u {
                    for b in 0..rank {
                        value += after.matrix[a][b] * f64::from(u[b * n + row * width + x]);
                    }
                }
                *out = value as f32;
            }
        });
    out
}
