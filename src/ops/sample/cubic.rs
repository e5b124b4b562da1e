//! Cubic B-spline interpolation.

use super::{along_axes, splat, Cell};
use crate::ops::lanes::{Lanes, Places};

/// Weights of the four taps of a cubic B-spline and their first and second derivatives.
#[inline(always)]
pub(super) unsafe fn spline_weights<L: Lanes>(t: L) -> [[L; 4]; 3] {
    // SAFETY: within a kernel.
    unsafe {
        let one = splat::<L>(1.0);
        let s = one.sub(t);
        let (t2, s2) = (t.mul(t), s.mul(s));
        let sixth = splat::<L>(1.0 / 6.0);
        let value = [
            s2.mul(s).mul(sixth),
            t2.mul(t.fma(splat::<L>(0.5), splat::<L>(-1.0)))
                .add(splat::<L>(2.0 / 3.0)),
            s2.mul(s.fma(splat::<L>(0.5), splat::<L>(-1.0)))
                .add(splat::<L>(2.0 / 3.0)),
            t2.mul(t).mul(sixth),
        ];
        let first = [
            s2.mul(splat::<L>(-0.5)),
            t.mul(t.fma(splat::<L>(1.5), splat::<L>(-2.0))),
            s.mul(s.fma(splat::<L>(-1.5), splat::<L>(2.0))),
            t2.mul(splat::<L>(0.5)),
        ];
        let second = [
            s,
            t.fma(splat::<L>(3.0), splat::<L>(-2.0)),
            s.fma(splat::<L>(3.0), splat::<L>(-2.0)),
            t,
        ];
        [value, first, second]
    }
}

/// Tap `k` (of four) of a cell that starts at voxel `base`, mirrored at the border voxels.
#[inline(always)]
pub(super) unsafe fn mirrored<L: Lanes>(base: L, k: usize, size: usize) -> L {
    // SAFETY: within a kernel.
    unsafe {
        let zero = splat::<L>(0.0);
        let m = base.add(splat::<L>(k as f64 - 1.0));
        let m = m.max(zero.sub(m));
        m.min(splat::<L>(2.0 * (size - 1) as f64).sub(m)).max(zero)
    }
}

/// The first of four neighbours along an axis among which are all taps of a cell that starts at voxel `base`; the weights
/// of taps that the mirror brings onto each other are added up. For axes of four voxels and more.
#[inline(always)]
unsafe fn fold<L: Lanes, const ORDER: usize>(base: L, size: usize, weight: &mut [[L; 4]; 3]) -> L {
    // SAFETY: within a kernel.
    unsafe {
        let first = base.sub(splat::<L>(1.0));
        let start = first
            .max(splat::<L>(0.0))
            .min(splat::<L>((size - 4) as f64));
        if start.equals(first) {
            return start;
        }
        // the taps -1 and 1, and at the other end those beyond the last voxel and before it, are one voxel
        let (low, high) = (splat::<L>(0.0), splat::<L>((size - 2) as f64));
        for w in &mut weight[..=ORDER] {
            let mut folded = *w;
            for k in 0..4 {
                folded[k] = first.where_equal(start, w[k]);
            }
            folded[0] = folded[0].add(base.where_equal(low, w[1]));
            folded[1] = folded[1].add(base.where_equal(low, w[0].add(w[2])));
            folded[2] = folded[2].add(base.where_equal(low, w[3]));
            folded[1] = folded[1].add(base.where_equal(high, w[0]));
            folded[2] = folded[2].add(base.where_equal(high, w[1].add(w[3])));
            folded[3] = folded[3].add(base.where_equal(high, w[2]));
            *w = folded;
        }
        start
    }
}

/// Where the taps of cells lie.
struct Taps<L: Lanes, const D: usize> {
    /// The first taps, where four neighbours along each axis are all.
    near: Places,
    /// Each tap along each axis, where the mirror may put any of them anywhere.
    far: [[L::Index; 4]; D],
}

impl<L: Lanes, const D: usize> Taps<L, D> {
    /// The coefficients along row `ky` of plane `kz`.
    #[inline(always)]
    unsafe fn row<const NEAR: bool>(
        &self,
        coefficients: *const L::Element,
        stride: &[usize; D],
        (ky, kz): (usize, usize),
    ) -> [L; 4] {
        // SAFETY: all taps lie inside the volume.
        unsafe {
            if NEAR {
                let plane = if D == 2 { 0 } else { kz * stride[D - 1] };
                let from = coefficients.add(plane + ky * stride[1]);
                return L::gather_four(from, &self.near);
            }
            let mut at = self.far[1][ky];
            if D == 3 {
                at = L::index_add(at, self.far[D - 1][kz]);
            }
            let mut row = [splat::<L>(0.0); 4];
            for kx in 0..4 {
                row[kx] = L::gather(coefficients, L::index_add(at, self.far[0][kx]));
            }
            row
        }
    }
}

/// Value, gradient and Hessian of a cubic B-spline.
///
/// `ORDER` 0 computes the value alone, 1 the gradient too, 2 all. The Hessian's entries are xx, xy, yy in 2D and
/// xx, xy, xz, yy, yz, zz in 3D. Coefficients are mirrored at the border voxels; cells are those of
/// [`Cell::mirrored`].
///
/// # Safety
/// As [`Multilinear::value`](super::Multilinear::value), with `coefficients` in place of voxels.
#[inline(always)]
pub(crate) unsafe fn cubic<L: Lanes, const D: usize, const ORDER: usize>(
    coefficients: *const L::Element,
    cell: &Cell<L, D>,
    size: &[usize; D],
    stride: &[usize; D],
) -> (L, [L; D], [L; 6]) {
    // SAFETY: mirrored taps lie inside the volume.
    unsafe {
        let zero = splat::<L>(0.0);
        let mut weight = [[[zero; 4]; 3]; D];
        let mut taps = Taps::<L, D> {
            near: Places::NONE,
            far: [[L::index_splat(0); 4]; D],
        };
        let neighbours = size.iter().all(|&s| s >= 4);
        let mut start = L::index_splat(0);
        for a in 0..D {
            weight[a] = spline_weights(cell.part[a]);
            let step = L::index_splat(stride[a] as i32);
            if neighbours {
                let first = fold::<L, ORDER>(cell.base[a], size[a], &mut weight[a]);
                start = L::index_add(start, L::index_mul(first.index(), step));
            } else {
                for k in 0..4 {
                    let m = mirrored(cell.base[a], k, size[a]);
                    taps.far[a][k] = L::index_mul(m.index(), step);
                }
            }
        }
        let (value, mut gradient, mut hessian) = if neighbours {
            taps.near = Places::of::<L>(start);
            sums::<L, D, ORDER, true>(coefficients, &taps, &weight, stride)
        } else {
            sums::<L, D, ORDER, false>(coefficients, &taps, &weight, stride)
        };
        along_axes(&cell.sign, &mut gradient, &mut hessian);
        (value, gradient, hessian)
    }
}

/// The sums over all taps, each with its weights along the axes, for the derivatives that [`cubic`] returns.
#[inline(always)]
unsafe fn sums<L: Lanes, const D: usize, const ORDER: usize, const NEAR: bool>(
    coefficients: *const L::Element,
    taps: &Taps<L, D>,
    weight: &[[[L; 4]; 3]; D],
    stride: &[usize; D],
) -> (L, [L; D], [L; 6]) {
    // SAFETY: all taps lie inside the volume.
    unsafe {
        let zero = splat::<L>(0.0);
        let [wx, wy] = [weight[0], weight[1]];
        let (mut value, mut gradient, mut hessian) = (zero, [zero; D], [zero; 6]);
        for kz in 0..if D == 2 { 1 } else { 4 } {
            // sums over a plane, for the derivative orders (x, y): 00 10 01 20 11 02
            let mut s = [zero; 6];
            for ky in 0..4 {
                let row = taps.row::<NEAR>(coefficients, stride, (ky, kz));
                let mut line = [zero; 3];
                for kx in 0..4 {
                    for o in 0..=ORDER {
                        line[o] = row[kx].fma(wx[o][kx], line[o]);
                    }
                }
                s[0] = line[0].fma(wy[0][ky], s[0]);
                if ORDER > 0 {
                    s[1] = line[1].fma(wy[0][ky], s[1]);
                    s[2] = line[0].fma(wy[1][ky], s[2]);
                }
                if ORDER > 1 {
                    s[3] = line[2].fma(wy[0][ky], s[3]);
                    s[4] = line[1].fma(wy[1][ky], s[4]);
                    s[5] = line[0].fma(wy[2][ky], s[5]);
                }
            }
            if D == 2 {
                value = s[0];
                gradient[0] = s[1];
                gradient[1] = s[2];
                hessian[..3].copy_from_slice(&s[3..]);
                continue;
            }
            let w = [
                weight[D - 1][0][kz],
                weight[D - 1][1][kz],
                weight[D - 1][2][kz],
            ];
            value = s[0].fma(w[0], value);
            if ORDER > 0 {
                gradient[0] = s[1].fma(w[0], gradient[0]);
                gradient[1] = s[2].fma(w[0], gradient[1]);
                gradient[D - 1] = s[0].fma(w[1], gradient[D - 1]);
            }
            if ORDER > 1 {
                hessian[0] = s[3].fma(w[0], hessian[0]);
                hessian[1] = s[4].fma(w[0], hessian[1]);
                hessian[2] = s[1].fma(w[1], hessian[2]);
                hessian[3] = s[5].fma(w[0], hessian[3]);
                hessian[4] = s[2].fma(w[1], hessian[4]);
                hessian[5] = s[0].fma(w[2], hessian[5]);
            }
        }
        (value, gradient, hessian)
    }
}
