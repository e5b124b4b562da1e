//! Two grids and the map between them: where each voxel of one lies in the other.

use super::linear::{vectors, Multilinear, RUN};
use super::Cell;
use crate::ops::lanes::Lanes;
use crate::ops::real::Real;
use crate::Affine;

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

    /// Where the vectors of run `s` of the rows from `first` on lie, for linear interpolation; see [`Frame::run_at`].
    ///
    /// # Safety
    /// As [`Frame::cell`].
    #[inline(always)]
    pub(crate) unsafe fn run<L: Lanes<Element = T>>(
        &self,
        u: Option<&[T]>,
        (first, s): (usize, usize),
        between: &mut [Multilinear<L, D>; RUN],
    ) {
        let width = self.fixed[0];
        let (row, begin) = self.run_at::<L>(first, s);
        let start = self.row_start(row);
        // SAFETY: the caller's promise.
        unsafe {
            for k in 0..vectors::<L>(width - begin) {
                let i = begin + k * L::COUNT;
                let place = (i, row * width + i, (width - i).min(L::COUNT));
                let cell = self.cell::<L, false>(u, &start, place);
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
