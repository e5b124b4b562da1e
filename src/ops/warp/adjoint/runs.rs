//! Which fixed voxels of a row hand on their shares together.

use super::taps::Taps;
use crate::ops::lanes::Lanes;
use crate::ops::real::Real;

/// Which of up to 16 voxels can hand on their shares together.
#[derive(Clone, Copy)]
pub(super) struct Runs<T> {
    /// 1 where the cell of the next voxel is the next one of its row.
    joined: [T; 16],
}

impl<T: Real> Runs<T> {
    pub fn room() -> Self {
        Self {
            joined: [T::of(0.0); 16],
        }
    }

    /// Of voxels with these cells.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub unsafe fn find<L: Lanes<Element = T>, const D: usize>(&mut self, cells: &[L; D]) {
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            let one = L::constant(1.0);
            let mut joined = cells[0].one_on(cells[0]);
            joined = joined.where_equal(cells[0].add(one), one);
            for cell in &cells[1..] {
                joined = joined.mul(cell.one_on(*cell).where_equal(*cell, one));
            }
            joined.store(self.joined.as_mut_ptr());
        }
    }

    /// The first voxel from `lane` on, before `most`, that does not belong to the run that begins there: `lane` itself where a
    /// border has put one of its `reach` taps elsewhere.
    #[inline(always)]
    pub fn end(&self, taps: &Taps<T>, lane: usize, most: usize, reach: usize) -> usize {
        let (first, last) = (taps.voxel[0].words(), taps.voxel[reach - 1].words());
        let mut end = lane;
        while end < most
            && last[end] == first[end] + reach as u32 - 1
            && (end == lane || self.joined[end - 1] == T::of(1.0))
        {
            end += 1;
        }
        end
    }
}
