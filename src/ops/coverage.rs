//! Which fixed voxels a displacement carries into the moving grid.

use candle_core::Tensor;

use super::real::Real;
use super::rows::{sum_over_rows, Shared};
use super::sample::Frame;
use super::storage::{read, with_real, write};
use crate::{Affine, Result};

/// Writes 1 to `out` where the position `map(x + u(x))` lies within half a voxel of the moving grid and 0 elsewhere;
/// returns the share of ones. `u` is `[rank, ...]` in fixed voxels, or none; `out` is `[(nz,) ny, nx]`.
pub fn coverage(u: Option<&Tensor>, moving: &[usize], map: &Affine, out: &Tensor) -> Result<f64> {
    let fixed: Vec<usize> = out.dims().iter().rev().copied().collect();
    with_real!(out.dtype(), T => {
        let run = |u: Option<&[T]>| {
            write::<T, _>(out, |o| {
                if fixed.len() == 2 {
                    ranked::<T, 2>(u, Frame::new(&fixed, moving, map), o)
                } else {
                    ranked::<T, 3>(u, Frame::new(&fixed, moving, map), o)
                }
            })
        };
        match u {
            Some(u) => read::<T, _>(u, |u| run(Some(u)))?,
            None => run(None),
        }
    })
}

fn ranked<T: Real, const D: usize>(u: Option<&[T]>, frame: Frame<T, D>, out: &mut [T]) -> f64 {
    let (n, width) = (frame.voxels(), frame.fixed[0]);
    assert!(
        out.len() == n && u.is_none_or(|u| u.len() == n * D),
        "fields"
    );
    let shared = Shared::new(out);
    let [inside] = sum_over_rows(frame.rows(), width, |rows| {
        let mut count = 0.0;
        for row in rows {
            let start = frame.row_start(row);
            for i in 0..width {
                let at = row * width + i;
                let mut q = [T::of(0.0); D];
                if let Some(u) = u {
                    for a in 0..D {
                        q[a] = u[a * n + at];
                    }
                }
                q[0] += T::of(i as f64);
                let mut within = true;
                for a in 0..D {
                    let mut p = start[a];
                    for b in 0..D {
                        p += frame.matrix[a][b] * q[b];
                    }
                    let last = T::of(frame.moving[a] as f64 - 0.5);
                    within &= p >= T::of(-0.5) && p <= last;
                }
                count += f64::from(u8::from(within));
                // SAFETY: inside the volume; each task its own rows.
                unsafe { *shared.at(at) = T::of(f64::from(u8::from(within))) };
            }
        }
        [count]
    });
    inside / n as f64
}
