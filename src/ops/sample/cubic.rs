//! Cubic B-spline interpolation.

use super::{along_axes, splat, Cell};
use crate::ops::lanes::Lanes;
use crate::ops::real::Real;

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

/// Whether the four taps of every cell are neighbours in a row.
#[inline(always)]
unsafe fn unmirrored<L: Lanes>(base: L, size: usize) -> bool {
    if size < 4 {
        return false;
    }
    // SAFETY: within a kernel.
    unsafe {
        let middle = base.max(splat::<L>(1.0)).min(splat::<L>((size - 3) as f64));
        base.where_equal(middle, splat::<L>(1.0)).sum() == L::COUNT as f64
    }
}

/// Weighted sums over the taps along the first two axes, for the derivative orders (x, y): 00 10 01 20 11 02.
#[inline(always)]
unsafe fn plane_cubic<L: Lanes, const ORDER: usize>(
    coefficients: *const L::Element,
    shift: L::Index,
    wx: &[[L; 4]; 3],
    wy: &[[L; 4]; 3],
    tap_x: &[L::Index; 4],
    tap_y: &[L::Index; 4],
    inside: bool,
) -> [L; 6] {
    // SAFETY: mirrored taps lie inside the volume.
    unsafe {
        let zero = splat::<L>(0.0);
        let mut sum = [zero; 6];
        for ky in 0..4 {
            let row = L::index_add(shift, tap_y[ky]);
            let mut line = [zero; 3];
            let mut v = [zero; 4];
            if inside {
                v = L::gather_four(coefficients, L::index_add(row, tap_x[0]));
            } else {
                for kx in 0..4 {
                    v[kx] = L::gather(coefficients, L::index_add(row, tap_x[kx]));
                }
            }
            for kx in 0..4 {
                for o in 0..=ORDER {
                    line[o] = v[kx].fma(wx[o][kx], line[o]);
                }
            }
            sum[0] = line[0].fma(wy[0][ky], sum[0]);
            if ORDER > 0 {
                sum[1] = line[1].fma(wy[0][ky], sum[1]);
                sum[2] = line[0].fma(wy[1][ky], sum[2]);
            }
            if ORDER > 1 {
                sum[3] = line[2].fma(wy[0][ky], sum[3]);
                sum[4] = line[1].fma(wy[1][ky], sum[4]);
                sum[5] = line[0].fma(wy[2][ky], sum[5]);
            }
        }
        sum
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
        let zero = L::splat(L::Element::of(0.0));
        let mut weight = [[[zero; 4]; 3]; D];
        let mut tap = [[L::index_splat(0); 4]; D];
        for a in 0..D {
            weight[a] = spline_weights(cell.part[a]);
            for k in 0..4 {
                let m = mirrored(cell.base[a], k, size[a]);
                tap[a][k] = L::index_mul(m.index(), L::index_splat(stride[a] as i32));
            }
        }
        let inside = unmirrored(cell.base[0], size[0]);
        let mut gradient = [zero; D];
        let mut hessian = [zero; 6];
        let value;
        if D == 2 {
            let s = plane_cubic::<L, ORDER>(
                coefficients,
                L::index_splat(0),
                &weight[0],
                &weight[1],
                &tap[0],
                &tap[1],
                inside,
            );
            value = s[0];
            if ORDER > 0 {
                gradient[0] = s[1];
                gradient[1] = s[2];
            }
            if ORDER > 1 {
                hessian[0] = s[3];
                hessian[1] = s[4];
                hessian[2] = s[5];
            }
        } else {
            let mut sum = zero;
            for k in 0..4 {
                let s = plane_cubic::<L, ORDER>(
                    coefficients,
                    tap[D - 1][k],
                    &weight[0],
                    &weight[1],
                    &tap[0],
                    &tap[1],
                    inside,
                );
                let w = [
                    weight[D - 1][0][k],
                    weight[D - 1][1][k],
                    weight[D - 1][2][k],
                ];
                sum = s[0].fma(w[0], sum);
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
            value = sum;
        }
        along_axes(&cell.sign, &mut gradient, &mut hessian);
        (value, gradient, hessian)
    }
}
