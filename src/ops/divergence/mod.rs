//! The squared divergence of a field, at cell centres, and its operator.

#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;
use rayon::prelude::*;

use super::device::twin;
use super::diffusion::size;
use super::real::Real;
use super::storage::{read, with_real, write};
use crate::Result;

/// `1/2 sum over cells of (div u)^2`; the derivative of component `a` along axis `a` is the mean of the forward
/// differences on the cell's edges in that direction. Components in voxels make it the divergence in millimetres too.
pub(crate) fn divergence_value(u: &Tensor) -> Result<f64> {
    twin!(u, launcher => cuda::value(&launcher, u));
    with_real!(u.dtype(), T => read::<T, _>(u, |x| {
        let div = divergence(x, &size(u));
        0.5 * div.par_chunks(8192).map(|c| c.iter().map(|d| d.wide().powi(2)).sum::<f64>()).collect::<Vec<_>>().iter().sum::<f64>()
    }))
}

/// Adds `weight` times the gradient of [`divergence_value`] to `out`.
pub(crate) fn add_divergence_gradient(u: &Tensor, weight: f64, out: &Tensor) -> Result<()> {
    twin!(u, launcher => cuda::add_gradient(&launcher, u, weight, out));
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
    let mut out = vec![T::of(0.0); n];
    out.par_chunks_mut(nx)
        .with_min_len((8192 / nx).max(1))
        .enumerate()
        .for_each(|(row, out)| {
            let place = [row % ny, row / ny];
            if place[0] + 1 >= ny || (rank == 3 && place[1] + 1 >= nz) {
                return;
            }
            for a in 0..rank {
                for side in sides(rank) {
                    let from = a * n + (row + side[0] + side[1] * ny) * nx;
                    let u = &u[from..from + nx];
                    let sign = sign::<T>(a, side);
                    for x in 0..nx - 1 {
                        out[x] += if a == 0 {
                            u[x + 1] - u[x]
                        } else {
                            sign * (u[x + 1] + u[x])
                        };
                    }
                }
            }
            out.iter_mut().for_each(|d| *d *= share);
        });
    out
}

/// The rows of a cell, as steps along the two slower axes.
fn sides(rank: usize) -> impl Iterator<Item = [usize; 2]> {
    (0..1usize << (rank - 1)).map(|side| [side & 1, side >> 1])
}

/// With which sign a row of a cell enters the derivative of component `a` along axis `a`.
fn sign<T: Real>(a: usize, side: [usize; 2]) -> T {
    T::of(if a > 0 && side[a - 1] == 0 { -1.0 } else { 1.0 })
}

fn add_adjoint<T: Real>(div: &[T], size: &[usize], weight: T, out: &mut [T]) {
    let rank = size.len();
    let [nx, ny, nz] = extended(size);
    let share = weight * T::of(1.0 / (1 << (rank - 1)) as f64);
    out.par_chunks_mut(nx)
        .with_min_len((8192 / nx).max(1))
        .enumerate()
        .for_each(|(line, out)| {
            let (a, row) = (line / (ny * nz), line % (ny * nz));
            let place = [row % ny, row / ny];
            for side in sides(rank) {
                if place[0] < side[0] || place[1] < side[1] {
                    continue;
                }
                // cells that would leave the grid hold zero
                let from = (row - side[0] - side[1] * ny) * nx;
                let div = &div[from..from + nx];
                let sign = sign::<T>(a, side) * share;
                // the voxel is the first of the cell at `x` along the row and the last of the one before
                let here = if a == 0 { -sign } else { sign };
                out[0] += here * div[0];
                for x in 1..nx {
                    out[x] += sign * div[x - 1] + here * div[x];
                }
            }
        });
}
