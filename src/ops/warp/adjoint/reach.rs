//! How far the rows of the fixed grid reach into the moving one.

use crate::ops::lanes::{Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::Shared;
use crate::ops::sample::{Cell, Frame, Interpolation};

/// First and last plane of the moving grid that each fixed row reaches.
pub(super) struct Reach<'a, T, const D: usize> {
    pub frame: &'a Frame<T, D>,
    pub interpolation: Interpolation,
    pub u: &'a [T],
    pub rows: std::ops::Range<usize>,
    pub out: Shared<[usize; 2]>,
}

impl<T: Real, const D: usize> Kernel<T> for Reach<'_, T, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            match self.interpolation {
                Interpolation::Linear => self.rows::<L, false>(),
                Interpolation::Cubic => self.rows::<L, true>(),
            }
        }
    }
}

impl<T: Real, const D: usize> Reach<'_, T, D> {
    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const CUBIC: bool>(&self) {
        let width = self.frame.fixed[0];
        // SAFETY: as in `run`.
        unsafe {
            for row in self.rows.clone() {
                let start = self.frame.row_start(row);
                let (mut low, mut high) = (usize::MAX, 0);
                let mut i = 0;
                while i < width {
                    let count = (width - i).min(L::COUNT);
                    let cell: Cell<L, D> = self.frame.cell::<L, CUBIC>(
                        Some(self.u),
                        &start,
                        (i, row * width + i, count),
                    );
                    let mut lanes = [T::of(0.0); 16];
                    cell.base[D - 1].store(lanes.as_mut_ptr());
                    for lane in &lanes[..count] {
                        let base = lane.wide() as usize;
                        low = low.min(base.saturating_sub(1));
                        high = high.max(base + 2);
                    }
                    i += count;
                }
                *self.out.at(row) = [low, high];
            }
        }
    }
}
