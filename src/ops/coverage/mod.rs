//! Which fixed voxels a displacement carries into the moving grid.

#[cfg(any(feature = "cuda", test))]
mod cuda;

use candle_core::Tensor;

use super::device::twin;
use super::lanes::{dispatch, Kernel, Lanes};
use super::real::Real;
use super::rows::{sum_over_rows, Shared};
use super::sample::{Cell, Frame};
use super::storage::{read, with_real, write};
use crate::{Affine, Result};

/// Writes 1 to `out` where the position `map(x + u(x))` lies within half a voxel of the moving grid and 0 elsewhere;
/// returns the share of ones. `u` is `[rank, ...]` in fixed voxels, or none; `out` is `[(nz,) ny, nx]`.
pub fn coverage(u: Option<&Tensor>, moving: &[usize], map: &Affine, out: &Tensor) -> Result<f64> {
    let fixed: Vec<usize> = out.dims().iter().rev().copied().collect();
    twin!(out, launcher => cuda::coverage(&launcher, u, (&fixed, moving, map), out));
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
    let out = Shared::new(out);
    let [inside] = sum_over_rows(frame.rows(), width, |rows| {
        [dispatch(Cover {
            u,
            frame: &frame,
            rows,
            out,
        })]
    });
    inside / n as f64
}

struct Cover<'a, T, const D: usize> {
    u: Option<&'a [T]>,
    frame: &'a Frame<T, D>,
    rows: std::ops::Range<usize>,
    out: Shared<T>,
}

impl<T: Real, const D: usize> Kernel<T> for Cover<'_, T, D> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> f64 {
        let width = self.frame.fixed[0];
        let ones = [T::of(1.0); 16];
        let mut total = 0.0;
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            for row in self.rows.clone() {
                let start = self.frame.row_start(row);
                let mut inside = L::constant(0.0);
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let at = row * width + i;
                    let place = (i, at, count);
                    let cell: Cell<L, D> = self.frame.cell::<L, false>(self.u, &start, place);
                    // lanes beyond the row count for nothing
                    let within = cell
                        .within(&self.frame.moving, 0.5)
                        .mul(L::load_some(ones.as_ptr(), count));
                    inside = inside.add(within);
                    within.store_some(self.out.at(at), count);
                    i += count;
                }
                total += inside.sum();
            }
        }
        total
    }
}
