//! The taps of some fixed voxels of a row, and which voxels hand on their shares together.

use crate::ops::lanes::Lanes;
use crate::ops::real::Real;

/// The taps of up to 16 voxels: places along an axis, weights and derivatives of weights along the step, tap by tap.
#[derive(Clone, Copy)]
pub(super) struct Taps<T> {
    pub place: [[T; 16]; 4],
    pub weight: [[T; 16]; 4],
    pub slope: [[T; 16]; 4],
}

impl<T: Real> Taps<T> {
    /// The voxel of the moving grid at a tap.
    #[inline(always)]
    pub fn voxel(&self, tap: usize, lane: usize) -> usize {
        self.place[tap][lane].wide() as usize
    }
}

/// Which of up to 16 voxels can hand on their shares together.
#[derive(Clone, Copy)]
pub(super) struct Runs<T> {
    /// 1 where the cell of the next voxel is the next one of its row.
    pub joined: [T; 16],
    /// 1 where the taps along the row lie side by side: no border has put one elsewhere.
    pub whole: [T; 16],
}

impl<T: Real> Runs<T> {
    /// Of voxels with these cells, and with as many taps along the row as `reach`.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub unsafe fn find<L: Lanes<Element = T>, const D: usize>(
        &mut self,
        cells: &[L; D],
        taps: &[[T; 16]; 4],
        reach: usize,
    ) {
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            let one = L::constant(1.0);
            let mut joined = cells[0].one_on(cells[0]);
            joined = joined.where_equal(cells[0].add(one), one);
            for cell in &cells[1..] {
                joined = joined.mul(cell.one_on(*cell).where_equal(*cell, one));
            }
            joined.store(self.joined.as_mut_ptr());
            let first = L::load(taps[0].as_ptr());
            let last = L::load(taps[reach - 1].as_ptr());
            let apart = first.add(L::constant((reach - 1) as f64));
            last.where_equal(apart, one).store(self.whole.as_mut_ptr());
        }
    }

    /// The first voxel from `lane` on, before `most`, that does not belong to the run that begins there.
    #[inline(always)]
    pub fn end(&self, lane: usize, most: usize) -> usize {
        let one = T::of(1.0);
        let mut end = lane;
        while end < most && self.whole[end] == one && (end == lane || self.joined[end - 1] == one) {
            end += 1;
        }
        end
    }
}

/// Some lanes in the front of a vector whose others are zero.
///
/// # Safety
/// Within a kernel only; there are as many from `first` on.
#[inline(always)]
pub(super) unsafe fn in_front<L: Lanes>(lanes: &[L::Element; 16], first: usize, count: usize) -> L {
    // SAFETY: the caller's promise.
    unsafe { L::load_part(lanes.as_ptr().add(first), count) }
}
