//! Cells of a grid, and the voxels that a value in one is made of.

use super::cubic::{mirrored, spline_weights};
use super::splat;
use crate::ops::lanes::{Lanes, Places};
use crate::ops::real::Real;

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
    pub(super) sign: [L; D],
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
    pub(super) unsafe fn inside(&self, a: usize, value: L) -> L {
        // SAFETY: within a kernel.
        unsafe { self.position[a].where_equal(self.clamped[a], value) }
    }

    /// Where the first voxels of the cells lie.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub(super) unsafe fn places(&self, stride: &[usize; D]) -> Places {
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
