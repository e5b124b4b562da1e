//! The inverse of a displacement.

use candle_core::Tensor;

use super::diffusion::size;
use super::lanes::{dispatch, Kernel, Lanes};
use super::real::Real;
use super::rows::{sum_over_rows, Shared};
use super::sample::{Cell, Frame, Multilinear};
use super::storage::{read, with_real, write};
use crate::{Affine, Result};

/// Newton steps of one voxel at most.
const STEPS: usize = 12;

/// A voxel is done when `|v + u(x + v)|` is below this, in voxels.
const ENOUGH: f64 = 1e-4;

/// The displacement `v` with `v(x) + u(x + v(x)) = 0` at every voxel, so that `x + v` undoes `x + u`; and the share of
/// voxels where Newton's method did not reach 0.01 voxels.
///
/// `u` is `[rank, (nz,) ny, nx]`, in voxels, interpolated linearly and continued by its nearest value.
pub fn inverse_displacement(u: &Tensor) -> Result<(Tensor, f64)> {
    let out = Tensor::zeros(u.shape(), u.dtype(), u.device())?;
    let size = size(u);
    let missed = with_real!(u.dtype(), T => {
        read::<T, _>(u, |u| write::<T, _>(&out, |o| inverted(u, &size, o)))?
    })?;
    Ok((out, missed))
}

/// [`inverse_displacement`] of planar values, sizes fastest axis first; fills `out`.
pub(crate) fn inverted<T: Real>(u: &[T], size: &[usize], out: &mut [T]) -> f64 {
    let missed = if size.len() == 2 {
        ranked::<T, 2>(u, size, out)
    } else {
        ranked::<T, 3>(u, size, out)
    };
    missed / size.iter().product::<usize>() as f64
}

fn ranked<T: Real, const D: usize>(u: &[T], size: &[usize], out: &mut [T]) -> f64 {
    let frame = Frame::<T, D>::new(size, size, &Affine::identity());
    assert!(
        u.len() == frame.voxels() * D && out.len() == u.len(),
        "fields"
    );
    let out = Shared::new(out);
    let [missed] = sum_over_rows(frame.rows(), size[0], |rows| {
        [dispatch(Invert {
            u,
            frame: &frame,
            rows,
            out,
        })]
    });
    missed
}

struct Invert<'a, T, const D: usize> {
    u: &'a [T],
    frame: &'a Frame<T, D>,
    rows: std::ops::Range<usize>,
    out: Shared<T>,
}

impl<T: Real, const D: usize> Kernel<T> for Invert<'_, T, D> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> f64 {
        let (n, width) = (self.frame.voxels(), self.frame.fixed[0]);
        let mut missed = 0.0;
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            let zero = L::splat(T::of(0.0));
            for row in self.rows.clone() {
                let begin = self.frame.row_start(row);
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let at = row * width + i;
                    let mut v = [zero; D];
                    for a in 0..D {
                        v[a] = zero.sub(L::load_some(self.u.as_ptr().add(a * n + at), count));
                    }
                    let mut error = [T::of(0.0); 16];
                    for step in 0..=STEPS {
                        let position = self.frame.positions(&begin, i, v);
                        let cell = Cell::at(position, &self.frame.moving);
                        let here = Multilinear::of(&cell, &self.frame.stride);
                        let mut rest = [zero; D];
                        let mut jacobian = [[zero; D]; D];
                        let mut square = zero;
                        for a in 0..D {
                            let image = self.u.as_ptr().add(a * n);
                            let (value, slope) = here.slope(image, &self.frame.stride);
                            rest[a] = v[a].add(value);
                            jacobian[a] = slope;
                            jacobian[a][a] = jacobian[a][a].add(L::splat(T::of(1.0)));
                            square = rest[a].fma(rest[a], square);
                        }
                        square.store(error.as_mut_ptr());
                        let mut worst = T::of(0.0);
                        for e in &error[..count] {
                            if *e > worst {
                                worst = *e;
                            }
                        }
                        if worst <= T::of(ENOUGH * ENOUGH) || step == STEPS {
                            break;
                        }
                        let change = newton_step(&jacobian, rest);
                        // a voxel that is done stays, whatever its neighbours in the vector do
                        let far = square.max(L::splat(T::of(ENOUGH * ENOUGH)));
                        for a in 0..D {
                            v[a] = v[a].sub(far.where_equal(square, change[a]));
                        }
                    }
                    for e in &error[..count] {
                        if *e > T::of(1e-4) || e.wide().is_nan() {
                            missed += 1.0;
                        }
                    }
                    for a in 0..D {
                        v[a].store_some(self.out.at(a * n + at), count);
                    }
                    i += count;
                }
            }
        }
        missed
    }
}

/// `J^-1 r`, with the determinant held above 0.1 and the step within two voxels along each axis.
#[inline(always)]
unsafe fn newton_step<L: Lanes, const D: usize>(j: &[[L; D]; D], r: [L; D]) -> [L; D] {
    // SAFETY: within a kernel.
    unsafe {
        let least = L::splat(L::Element::of(0.1));
        let (low, high) = (
            L::splat(L::Element::of(-2.0)),
            L::splat(L::Element::of(2.0)),
        );
        let mut out = r;
        if D == 2 {
            let det = j[0][0].mul(j[1][1]).sub(j[0][1].mul(j[1][0])).max(least);
            out[0] = j[1][1].mul(r[0]).sub(j[0][1].mul(r[1])).div(det);
            out[1] = j[0][0].mul(r[1]).sub(j[1][0].mul(r[0])).div(det);
        } else {
            // columns of the adjugate are cross products of rows
            let mut adjugate = *j;
            for a in 0..D {
                for b in 0..D {
                    let (r0, r1) = ((b + 1) % D, (b + 2) % D);
                    let (c0, c1) = ((a + 1) % D, (a + 2) % D);
                    adjugate[a][b] = j[r0][c0].mul(j[r1][c1]).sub(j[r0][c1].mul(j[r1][c0]));
                }
            }
            let mut det = j[0][0].mul(adjugate[0][0]);
            for a in 1..D {
                det = j[0][a].fma(adjugate[a][0], det);
            }
            let det = det.max(least);
            for a in 0..D {
                let mut sum = adjugate[a][0].mul(r[0]);
                for b in 1..D {
                    sum = adjugate[a][b].fma(r[b], sum);
                }
                out[a] = sum.div(det);
            }
        }
        for a in 0..D {
            out[a] = out[a].max(low).min(high);
        }
        out
    }
}
