//! Interpolation of a volume at a vector of positions: the inner loop of every warp.

use super::lanes::Lanes;
use super::real::Real;
use crate::Affine;

/// How the moving volume is interpolated between its voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Multilinear: fast; its gradient jumps at the voxel planes.
    Linear,
    /// Cubic B-spline over prefiltered coefficients: twice continuously differentiable.
    Cubic,
}

/// Sizes of both grids and the map from fixed index (plus displacement) to moving index.
#[derive(Clone, Copy)]
pub(crate) struct Frame<T, const D: usize> {
    /// Voxels of the fixed grid, fastest axis first.
    pub fixed: [usize; D],
    /// Voxels of the moving grid.
    pub moving: [usize; D],
    /// Elements between neighbours of the moving volume; 0 along an axis of one voxel.
    pub stride: [usize; D],
    /// Linear part of the index map.
    pub matrix: [[T; D]; D],
    /// Translation of the index map.
    pub offset: [T; D],
}

impl<T: Real, const D: usize> Frame<T, D> {
    pub(crate) fn new(fixed: &[usize], moving: &[usize], map: &Affine) -> Self {
        let mut step = 1;
        let stride = std::array::from_fn(|a| {
            let here = if moving[a] > 1 { step } else { 0 };
            step *= moving[a];
            here
        });
        Self {
            fixed: std::array::from_fn(|a| fixed[a]),
            moving: std::array::from_fn(|a| moving[a]),
            stride,
            matrix: std::array::from_fn(|a| std::array::from_fn(|b| T::of(map.matrix[a][b]))),
            offset: std::array::from_fn(|a| T::of(map.translation[a])),
        }
    }

    /// Voxels of the fixed grid.
    pub(crate) fn voxels(&self) -> usize {
        self.fixed.iter().product()
    }

    /// Rows (lines along the fastest axis) of the fixed grid.
    pub(crate) fn rows(&self) -> usize {
        self.fixed[1..].iter().product()
    }

    /// The position of index (0, j, k) of row `row` before displacement.
    #[inline(always)]
    pub(crate) fn row_start(&self, row: usize) -> [T; D] {
        let mut index = [T::of(0.0); D];
        let mut rest = row;
        for a in 1..D {
            index[a] = T::of((rest % self.fixed[a]) as f64);
            rest /= self.fixed[a];
        }
        std::array::from_fn(|a| {
            let mut p = self.offset[a];
            for b in 1..D {
                p += self.matrix[a][b] * index[b];
            }
            p
        })
    }

    /// Positions in the moving grid of the lanes that start at `i` in a row, displaced by `u`.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn positions<L: Lanes<Element = T>>(
        &self,
        start: &[T; D],
        i: usize,
        u: [L; D],
    ) -> [L; D] {
        // SAFETY: within a kernel.
        unsafe {
            let x = L::ramp().add(L::splat(T::of(i as f64))).add(u[0]);
            let mut position = u;
            for a in 0..D {
                let mut p = x.fma(L::splat(self.matrix[a][0]), L::splat(start[a]));
                for b in 1..D {
                    p = u[b].fma(L::splat(self.matrix[a][b]), p);
                }
                position[a] = p;
            }
            position
        }
    }

    /// The gradient with respect to the displacement from that with respect to the position: `B' g`.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn pull_gradient<L: Lanes<Element = T>>(&self, g: [L; D]) -> [L; D] {
        // SAFETY: within a kernel.
        unsafe {
            let mut out = g;
            for b in 0..D {
                let mut sum = g[0].mul(L::splat(self.matrix[0][b]));
                for a in 1..D {
                    sum = g[a].fma(L::splat(self.matrix[a][b]), sum);
                }
                out[b] = sum;
            }
            out
        }
    }
}

/// A cell of the moving grid and the place within it, for a vector of positions.
#[derive(Clone, Copy)]
pub(crate) struct Cell<L: Lanes, const D: usize> {
    /// First voxel of the cell, as whole lanes.
    pub base: [L; D],
    /// Fraction within the cell, 0 to 1.
    pub part: [L; D],
    /// The unclamped position and the clamped one are equal where the position is inside.
    position: [L; D],
    clamped: [L; D],
}

impl<L: Lanes, const D: usize> Cell<L, D> {
    /// The cell of each position, positions clamped to the grid.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn at(position: [L; D], size: &[usize; D]) -> Self {
        // SAFETY: within a kernel.
        unsafe {
            let zero = L::splat(L::Element::of(0.0));
            let (mut clamped, mut base, mut part) = (position, position, position);
            for a in 0..D {
                // `max` first: a NaN position becomes 0, never an index outside
                clamped[a] = position[a]
                    .max(zero)
                    .min(L::splat(L::Element::of((size[a] - 1) as f64)));
                base[a] = clamped[a]
                    .floor()
                    .min(L::splat(L::Element::of(size[a].saturating_sub(2) as f64)));
                part[a] = clamped[a].sub(base[a]);
            }
            Self {
                base,
                part,
                position,
                clamped,
            }
        }
    }

    /// Keeps `value` where the position is inside along axis `a`, else zero.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    unsafe fn inside(&self, a: usize, value: L) -> L {
        // SAFETY: within a kernel.
        unsafe { self.position[a].where_equal(self.clamped[a], value) }
    }

    /// Sets derivatives along axes where the position was clamped to zero.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    unsafe fn keep_inside(&self, gradient: &mut [L; D], hessian: &mut [L; 6]) {
        // SAFETY: within a kernel.
        unsafe {
            let mut k = 0;
            for a in 0..D {
                gradient[a] = self.inside(a, gradient[a]);
                for b in a..D {
                    hessian[k] = self.inside(a, self.inside(b, hessian[k]));
                    k += 1;
                }
            }
        }
    }

    /// Offset of the cell's first voxel.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn offset(&self, stride: &[usize; D]) -> L::Index {
        // SAFETY: within a kernel.
        unsafe {
            let mut sum = self.base[0].index();
            if stride[0] == 0 {
                sum = L::index_mul(sum, L::index_splat(0));
            }
            for a in 1..D {
                sum = L::index_add(
                    sum,
                    L::index_mul(self.base[a].index(), L::index_splat(stride[a] as i32)),
                );
            }
            sum
        }
    }
}

#[inline(always)]
unsafe fn lerp<L: Lanes>(a: L, b: L, t: L) -> L {
    // SAFETY: within a kernel.
    unsafe { t.fma(b.sub(a), a) }
}

/// Multilinear value at a cell.
///
/// # Safety
/// Within a kernel only; `image` has the volume that the cell was made for.
#[inline(always)]
pub(crate) unsafe fn linear_value<L: Lanes, const D: usize>(
    image: *const L::Element,
    cell: &Cell<L, D>,
    offset: L::Index,
    stride: &[usize; D],
) -> L {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        let low = plane_value(image, cell, offset, stride);
        if D == 2 {
            low
        } else {
            let high = plane_value(image.add(stride[D - 1]), cell, offset, stride);
            lerp(low, high, cell.part[D - 1])
        }
    }
}

/// The voxels at both ends of a cell's edge along the fastest axis.
#[inline(always)]
unsafe fn along_row<L: Lanes>(from: *const L::Element, offset: L::Index, stride: usize) -> (L, L) {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        if stride == 0 {
            // an axis of one voxel: what follows is another row, or nothing
            let voxel = L::gather(from, offset);
            (voxel, voxel)
        } else {
            L::gather_pair(from, offset)
        }
    }
}

/// Bilinear value in the plane of the first two axes.
#[inline(always)]
unsafe fn plane_value<L: Lanes, const D: usize>(
    from: *const L::Element,
    cell: &Cell<L, D>,
    offset: L::Index,
    stride: &[usize; D],
) -> L {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        let (a, b) = along_row::<L>(from, offset, stride[0]);
        let (c, d) = along_row::<L>(from.add(stride[1]), offset, stride[0]);
        lerp(
            lerp(a, b, cell.part[0]),
            lerp(c, d, cell.part[0]),
            cell.part[1],
        )
    }
}

/// Bilinear value in the plane of the first two axes, with its derivatives along x, y and both.
#[inline(always)]
unsafe fn plane_gradient<L: Lanes, const D: usize>(
    from: *const L::Element,
    cell: &Cell<L, D>,
    offset: L::Index,
    stride: &[usize; D],
) -> [L; 4] {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        let (a, b) = along_row::<L>(from, offset, stride[0]);
        let (c, d) = along_row::<L>(from.add(stride[1]), offset, stride[0]);
        let (x0, x1) = (b.sub(a), d.sub(c));
        let (low, high) = (cell.part[0].fma(x0, a), cell.part[0].fma(x1, c));
        let y = high.sub(low);
        let xy = x1.sub(x0);
        [cell.part[1].fma(y, low), cell.part[1].fma(xy, x0), y, xy]
    }
}

/// Multilinear value, gradient and Hessian (with respect to the position, zero where clamped).
///
/// Inside a cell only the mixed second derivatives are not zero. Packed as in [`cubic`]; what is not used costs nothing.
///
/// # Safety
/// As [`linear_value`].
#[inline(always)]
pub(crate) unsafe fn linear<L: Lanes, const D: usize>(
    image: *const L::Element,
    cell: &Cell<L, D>,
    offset: L::Index,
    stride: &[usize; D],
) -> (L, [L; D], [L; 6]) {
    // SAFETY: the cell lies inside the volume.
    unsafe {
        let [value, x, y, xy] = plane_gradient(image, cell, offset, stride);
        let mut gradient = [x; D];
        gradient[1] = y;
        let mut hessian = [splat::<L>(0.0); 6];
        hessian[1] = xy;
        let mut result = value;
        if D == 3 {
            let above = image.add(stride[D - 1]);
            let [value1, x1, y1, xy1] = plane_gradient(above, cell, offset, stride);
            let t = cell.part[D - 1];
            let z = value1.sub(value);
            result = t.fma(z, value);
            gradient[0] = lerp(x, x1, t);
            gradient[1] = lerp(y, y1, t);
            gradient[D - 1] = z;
            hessian[1] = lerp(xy, xy1, t);
            hessian[2] = x1.sub(x);
            hessian[4] = y1.sub(y);
        }
        cell.keep_inside(&mut gradient, &mut hessian);
        (result, gradient, hessian)
    }
}

/// Weights of the four taps of a cubic B-spline and their first and second derivatives.
#[inline(always)]
unsafe fn spline_weights<L: Lanes>(t: L) -> [[L; 4]; 3] {
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
unsafe fn mirrored<L: Lanes>(base: L, k: usize, size: usize) -> L {
    // SAFETY: within a kernel.
    unsafe {
        let zero = splat::<L>(0.0);
        let m = base.add(splat::<L>(k as f64 - 1.0));
        let m = m.max(zero.sub(m));
        m.min(splat::<L>(2.0 * (size - 1) as f64).sub(m)).max(zero)
    }
}

/// The voxels along axis `a` that a value is made of, and their weights; two taps for linear interpolation, four for
/// cubic, the rest zero.
///
/// # Safety
/// Within a kernel only.
#[inline(always)]
pub(crate) unsafe fn taps<L: Lanes, const D: usize, const CUBIC: bool>(
    cell: &Cell<L, D>,
    a: usize,
    size: usize,
) -> ([L; 4], [L; 4]) {
    // SAFETY: within a kernel.
    unsafe {
        let mut voxel = [splat::<L>(0.0); 4];
        if CUBIC {
            for k in 0..4 {
                voxel[k] = mirrored(cell.base[a], k, size);
            }
            return (voxel, spline_weights(cell.part[a])[0]);
        }
        let mut weight = voxel;
        voxel[0] = cell.base[a];
        voxel[1] = cell.base[a]
            .add(splat::<L>(1.0))
            .min(splat::<L>((size - 1) as f64));
        weight[0] = splat::<L>(1.0).sub(cell.part[a]);
        weight[1] = cell.part[a];
        (voxel, weight)
    }
}

#[inline(always)]
unsafe fn splat<L: Lanes>(value: f64) -> L {
    // SAFETY: within a kernel.
    unsafe { L::splat(L::Element::of(value)) }
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
) -> [L; 6] {
    // SAFETY: mirrored taps lie inside the volume.
    unsafe {
        let zero = splat::<L>(0.0);
        let mut sum = [zero; 6];
        for ky in 0..4 {
            let row = L::index_add(shift, tap_y[ky]);
            let mut line = [zero; 3];
            for kx in 0..4 {
                let v = L::gather(coefficients, L::index_add(row, tap_x[kx]));
                for o in 0..=ORDER {
                    line[o] = v.fma(wx[o][kx], line[o]);
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
/// xx, xy, xz, yy, yz, zz in 3D. Coefficients are mirrored at the border voxels; derivatives are zero where clamped.
///
/// # Safety
/// As [`linear_value`], with `coefficients` in place of voxels.
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
        cell.keep_inside(&mut gradient, &mut hessian);
        (value, gradient, hessian)
    }
}
