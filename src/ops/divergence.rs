//! The squared divergence of a field, at cell centres, and its operator.

use candle_core::Tensor;
use rayon::prelude::*;

use super::diffusion::size;
use super::real::Real;
use super::storage::{read, with_real, write};
use crate::Result;

/// `1/2 sum over cells of (div u)^2`; the derivative of component `a` along axis `a` is the mean of the forward
/// differences on the cell's edges in that direction. Components in voxels make it the divergence in millimetres too.
pub(crate) fn divergence_value(u: &Tensor) -> Result<f64> {
    with_real!(u.dtype(), T => read::<T, _>(u, |x| {
        let div = divergence(x, &size(u));
        0.5 * div.par_chunks(8192).map(|c| c.iter().map(|d| d.wide().powi(2)).sum::<f64>()).collect::<Vec<_>>().iter().sum::<f64>()
    }))
}

/// Adds `weight` times the gradient of [`divergence_value`] to `out`.
pub(crate) fn add_divergence_gradient(u: &Tensor, weight: f64, out: &Tensor) -> Result<()> {
    let size = size(u);
    with_real!(u.dtype(), T => read::<T, _>(u, |x| {
        let div = divergence(x, &size);
        write::<T, _>(out, |o| add_adjoint(&div, &size, T::of(weight), o))
    })?)
}

/// Sizes with a third axis of one voxel in 2D.
fn extended(size: &[usize]) -> [usize; 3] {
    [size[0], size[1], size.get(2).copied().unwrap_or(1)]
}

/// Divergence of each cell, stored at the cell's first voxel; cells that would leave the grid hold zero.
fn divergence<T: Real>(u: &[T], size: &[usize]) -> Vec<T> {
    let rank = size.len();
    let [nx, ny, nz] = extended(size);
    let n = nx * ny * nz;
    let share = T::of(1.0 / (1 << (rank - 1)) as f64);
    let step = [1, nx, nx * ny];
    let mut out = vec![T::of(0.0); n];
    out.par_chunks_mut(nx).enumerate().for_each(|(row, out)| {
        let (y, z) = (row % ny, row / ny);
        if y + 1 >= ny || (rank == 3 && z + 1 >= nz) {
            return;
        }
        for (x, out) in out.iter_mut().enumerate().take(nx.saturating_sub(1)) {
            let at = row * nx + x;
            let mut sum = T::of(0.0);
            for corner in 0..1usize << rank {
                let shift: usize = (0..rank)
                    .filter(|a| corner >> a & 1 == 1)
                    .map(|a| step[a])
                    .sum();
                for a in 0..rank {
                    let v = u[a * n + at + shift];
                    if corner >> a & 1 == 1 {
                        sum += v;
                    } else {
                        sum -= v;
                    }
                }
            }
            *out = sum * share;
        }
    });
    out
}

fn add_adjoint<T: Real>(div: &[T], size: &[usize], weight: T, out: &mut [T]) {
    let rank = size.len();
    let [nx, ny, nz] = extended(size);
    let n = nx * ny * nz;
    let share = weight * T::of(1.0 / (1 << (rank - 1)) as f64);
    let limit = [nx, ny, nz];
    let step = [1, nx, nx * ny];
    out.par_chunks_mut(nx).enumerate().for_each(|(line, out)| {
        let (a, row) = (line / (ny * nz), line % (ny * nz));
        let place = [0, row % ny, row / ny];
        for (x, out) in out.iter_mut().enumerate() {
            let mut sum = T::of(0.0);
            // the voxel is corner `corner` of the cell that starts `shift` before it
            'corner: for corner in 0..1usize << rank {
                let mut shift = 0;
                for b in 0..rank {
                    let here = if b == 0 { x } else { place[b] };
                    if corner >> b & 1 == 1 {
                        if here == 0 {
                            continue 'corner;
                        }
                        shift += step[b];
                    } else if here + 1 >= limit[b] {
                        continue 'corner;
                    }
                }
                let d = div[row * nx + x - shift];
                if corner >> a & 1 == 1 {
                    sum += d;
                } else {
                    sum -= d;
                }
            }
            *out += share * sum;
        }
        debug_assert!(line < rank * n / nx);
    });
}
