//! Interpolation of a volume at a vector of positions: the inner loop of every warp.

mod cubic;
mod linear;

use super::lanes::{Lanes, Places};
use super::real::Real;
use crate::Affine;

pub(crate) use cubic::cubic;
pub(crate) use linear::{vectors, Multilinear, RUN, RUNS};

use cubic::{mirrored, spline_weights};

/// How the moving volume is interpolated between its voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Multilinear: fast; its gradient jumps at the voxel planes.
    Linear,
    /// Cubic B-spline over prefiltered coefficients: twice continuously differentiable everywhere, beyond the border too,
    /// where it continues by its mirror image.
    Cubic,
}

#[cfg(any(feature = "cuda", test))]
impl Interpolation {
    /// The word in the names of kernels.
    pub(in crate::ops) fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Cubic => "cubic",
        }
    }
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

    /// The cells of the lanes that start at voxel `i` of a row, which is voxel `at` of the fixed grid; without a displacement
    /// that of none.
    ///
    /// # Safety
    /// Within a kernel only; the displacement covers the fixed grid, the lanes lie within the row.
    #[inline(always)]
    pub(crate) unsafe fn cell<L: Lanes<Element = T>, const CUBIC: bool>(
        &self,
        u: Option<&[T]>,
        start: &[T; D],
        (i, at, count): (usize, usize, usize),
    ) -> Cell<L, D> {
        // SAFETY: the caller's promise.
        unsafe {
            let mut step = [L::constant(0.0); D];
            if let Some(u) = u {
                for a in 0..D {
                    step[a] = L::load_some(u.as_ptr().add(a * self.voxels() + at), count);
                }
            }
            Cell::of::<CUBIC>(self.positions(start, i, step), &self.moving)
        }
    }

    /// Row and first voxel of run `s` of those that the rows from `first` on consist of.
    #[inline(always)]
    pub(crate) fn run_at<L: Lanes<Element = T>>(&self, first: usize, s: usize) -> (usize, usize) {
        let of_row = self.runs::<L>(1);
        (first + s / of_row, s % of_row * RUN * L::COUNT)
    }

    /// Runs of so many rows.
    #[inline(always)]
    pub(crate) fn runs<L: Lanes<Element = T>>(&self, rows: usize) -> usize {
        rows * self.fixed[0].div_ceil(RUN * L::COUNT)
    }

    /// Room for the places of a run.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn room<L: Lanes<Element = T>>(&self) -> [Multilinear<L, D>; RUN] {
        // SAFETY: within a kernel.
        unsafe {
            let origin = Cell::at([L::constant(0.0); D], &self.moving);
            [Multilinear::of(&origin, &self.stride); RUN]
        }
    }

    /// Where the vectors of a run from voxel `begin` of a row on lie, for linear interpolation.
    ///
    /// # Safety
    /// As [`Frame::cell`].
    #[inline(always)]
    pub(crate) unsafe fn run<L: Lanes<Element = T>>(
        &self,
        u: Option<&[T]>,
        start: &[T; D],
        (row, begin): (usize, usize),
        between: &mut [Multilinear<L, D>; RUN],
    ) {
        let width = self.fixed[0];
        // SAFETY: the caller's promise.
        unsafe {
            for k in 0..vectors::<L>(width - begin) {
                let i = begin + k * L::COUNT;
                let place = (i, row * width + i, (width - i).min(L::COUNT));
                let cell = self.cell::<L, false>(u, start, place);
                between[k] = Multilinear::of(&cell, &self.stride);
            }
        }
    }

    /// The step of the position that a step of the displacement makes: `B q`.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn push_step<L: Lanes<Element = T>>(&self, q: [L; D]) -> [L; D] {
        // SAFETY: within a kernel.
        unsafe {
            let mut out = q;
            for a in 0..D {
                let mut sum = q[0].mul(L::splat(self.matrix[a][0]));
                for b in 1..D {
                    sum = q[b].fma(L::splat(self.matrix[a][b]), sum);
                }
                out[a] = sum;
            }
            out
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
    /// The direction in which the place moves with the position: -1 where it was mirrored, 0 where it is held.
    sign: [L; D],
}

impl<L: Lanes, const D: usize> Cell<L, D> {
    /// The cell of each position as the interpolation asks for it: [`Cell::mirrored`] for a cubic one, else [`Cell::at`].
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn of<const CUBIC: bool>(position: [L; D], size: &[usize; D]) -> Self {
        // SAFETY: within a kernel.
        unsafe {
            if CUBIC {
                Self::mirrored(position, size)
            } else {
                Self::at(position, size)
            }
        }
    }

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
                sign: [splat::<L>(1.0); D],
            }
        }
    }

    /// The cell of each position, positions mirrored at the outer voxels, as the volume itself then continues with all its
    /// derivatives; held where they would leave the mirror image too.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn mirrored(position: [L; D], size: &[usize; D]) -> Self {
        // SAFETY: within a kernel.
        unsafe {
            let (zero, one) = (splat::<L>(0.0), splat::<L>(1.0));
            let (mut inner, mut sign) = (position, position);
            for a in 0..D {
                let last = (size[a] - 1) as f64;
                let low = position[a].max(zero.sub(position[a]));
                let high = splat::<L>(2.0 * last).sub(low);
                inner[a] = low.min(high);
                // one where an end mirrored nothing
                let (start, end) = (
                    low.where_equal(position[a], one),
                    inner[a].where_equal(low, one),
                );
                let turn = start.add(start).sub(one).mul(end.add(end).sub(one));
                let held = inner[a].max(zero).min(splat::<L>(last));
                sign[a] = held.where_equal(inner[a], turn);
            }
            let mut cell = Self::at(inner, size);
            cell.sign = sign;
            cell
        }
    }

    /// One where the position lies within `slack` of the outer voxels, zero elsewhere.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(crate) unsafe fn within(&self, size: &[usize; D], slack: f64) -> L {
        // SAFETY: within a kernel.
        unsafe {
            let low = L::constant(-slack);
            let mut inside = L::constant(1.0);
            for a in 0..D {
                let high = L::constant((size[a] - 1) as f64 + slack);
                let held = self.position[a].max(low).min(high);
                inside = held.where_equal(self.position[a], inside);
            }
            inside
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

    /// Where the first voxels of the cells lie.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    unsafe fn places(&self, stride: &[usize; D]) -> Places {
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
            Places::of::<L>(sum)
        }
    }
}

/// Multiplies derivatives by a factor for each axis that they are taken along.
///
/// # Safety
/// Within a kernel only.
#[inline(always)]
unsafe fn along_axes<L: Lanes, const D: usize>(
    factor: &[L; D],
    gradient: &mut [L; D],
    hessian: &mut [L; 6],
) {
    // SAFETY: within a kernel.
    unsafe {
        let mut k = 0;
        for a in 0..D {
            gradient[a] = factor[a].mul(gradient[a]);
            for b in a..D {
                hessian[k] = factor[a].mul(factor[b]).mul(hessian[k]);
                k += 1;
            }
        }
    }
}

/// The voxels along axis `a` that a value is made of, their weights, and the derivatives of these by the position (zero
/// where it is held); two taps for linear interpolation, four for cubic, the rest zero.
///
/// # Safety
/// Within a kernel only.
#[inline(always)]
pub(crate) unsafe fn taps<L: Lanes, const D: usize, const CUBIC: bool>(
    cell: &Cell<L, D>,
    a: usize,
    size: usize,
) -> [[L; 4]; 3] {
    // SAFETY: within a kernel.
    unsafe {
        let mut voxel = [splat::<L>(0.0); 4];
        let (mut weight, mut slope) = (voxel, voxel);
        if CUBIC {
            let [values, first, _] = spline_weights(cell.part[a]);
            weight = values;
            for k in 0..4 {
                voxel[k] = mirrored(cell.base[a], k, size);
                slope[k] = cell.sign[a].mul(first[k]);
            }
            return [voxel, weight, slope];
        }
        let one = splat::<L>(1.0);
        voxel[0] = cell.base[a];
        voxel[1] = cell.base[a].add(one).min(splat::<L>((size - 1) as f64));
        weight[0] = one.sub(cell.part[a]);
        weight[1] = cell.part[a];
        slope[1] = cell.inside(a, one);
        slope[0] = splat::<L>(0.0).sub(slope[1]);
        [voxel, weight, slope]
    }
}

#[inline(always)]
unsafe fn splat<L: Lanes>(value: f64) -> L {
    // SAFETY: within a kernel.
    unsafe { L::splat(L::Element::of(value)) }
}
