//! The taps of some fixed voxels of a row.

use crate::ops::lanes::{Lanes, Places};
use crate::ops::real::Real;
use crate::ops::sample::{taps, Cell, Frame};

/// What up to 16 voxels of a fixed row hand shares to, tap by tap: planes of the moving grid, lines of these, voxels of
/// these, with weights and their derivatives along a step.
pub(super) struct Taps<T> {
    /// Along the slowest axis.
    plane: [Places; 4],
    /// Along the second axis of three, in elements from the plane's first.
    line: [Places; 4],
    /// Along the fastest axis.
    pub voxel: [Places; 4],
    /// Along the fastest axis.
    pub weight: [[T; 16]; 4],
    pub slope: [[T; 16]; 4],
    /// Of lines.
    of_line: [Share<T>; 16],
}

/// Weights of a tap, and their derivatives along the step.
#[derive(Clone, Copy)]
pub(super) struct Share<T> {
    pub weight: [T; 16],
    pub slope: [T; 16],
}

/// A line of the moving grid that a tap lies on.
pub(super) struct Line<'a, T> {
    /// Its first element, from that of the first plane on.
    pub start: usize,
    pub share: &'a Share<T>,
}

impl<T: Real> Taps<T> {
    pub fn room() -> Self {
        let none = [T::of(0.0); 16];
        Self {
            plane: [Places::NONE; 4],
            line: [Places::NONE; 4],
            voxel: [Places::NONE; 4],
            weight: [none; 4],
            slope: [none; 4],
            of_line: [Share {
                weight: none,
                slope: none,
            }; 16],
        }
    }

    /// Takes the place of those before: of these cells, with `ALONG` with a step of the position; weights are multiplied by a factor.
    ///
    /// # Safety
    /// Within a kernel only.
    #[inline(always)]
    pub unsafe fn fill<
        L: Lanes<Element = T>,
        const D: usize,
        const CUBIC: bool,
        const ALONG: bool,
    >(
        &mut self,
        frame: &Frame<T, D>,
        cell: &Cell<L, D>,
        step: &[L; D],
        factor: T,
    ) {
        let reach = if CUBIC { 4 } else { 2 };
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            let [voxel, weight, slope] = taps::<L, D, CUBIC>(cell, 0, frame.moving[0]);
            for k in 0..reach {
                self.voxel[k] = Places::of::<L>(voxel[k].index());
                weight[k].store(self.weight[k].as_mut_ptr());
                if ALONG {
                    step[0].mul(slope[k]).store(self.slope[k].as_mut_ptr());
                }
            }
            let [voxel, mut weight, mut slope] = taps::<L, D, CUBIC>(cell, 1, frame.moving[1]);
            for k in 0..reach {
                let place = voxel[k].index();
                if D == 2 {
                    self.plane[k] = Places::of::<L>(place);
                } else {
                    let stride = L::index_splat(frame.stride[1] as i32);
                    self.line[k] = Places::of::<L>(L::index_mul(place, stride));
                }
                let factor = L::splat(factor);
                weight[k] = factor.mul(weight[k]);
                slope[k] = factor.mul(step[1].mul(slope[k]));
            }
            if D == 2 {
                for k in 0..reach {
                    self.of_line[k].put::<L, ALONG>(weight[k], slope[k]);
                }
                return;
            }
            let last = D - 1;
            let [voxel, deep, bend] = taps::<L, D, CUBIC>(cell, last, frame.moving[last]);
            for kz in 0..reach {
                self.plane[kz] = Places::of::<L>(voxel[kz].index());
                let bend = step[last].mul(bend[kz]);
                for ky in 0..reach {
                    let along = deep[kz].fma(slope[ky], bend.mul(weight[ky]));
                    self.of_line[4 * kz + ky].put::<L, ALONG>(deep[kz].mul(weight[ky]), along);
                }
            }
        }
    }

    /// The line at taps `kz` and `ky` of a voxel, of the planes `first..end`; none where it lies outside.
    #[inline(always)]
    pub fn line<const D: usize>(
        &self,
        frame: &Frame<T, D>,
        (first, end): (usize, usize),
        lane: usize,
        (kz, ky): (usize, usize),
    ) -> Option<Line<'_, T>> {
        let tap = if D == 3 { kz } else { ky };
        let plane = self.plane[tap].words()[lane] as usize;
        if plane < first || plane >= end {
            return None;
        }
        let mut start = (plane - first) * frame.stride[D - 1];
        if D == 3 {
            start += self.line[ky].words()[lane] as usize;
        }
        Some(Line {
            start,
            share: &self.of_line[4 * kz + ky],
        })
    }
}

impl<T: Real> Share<T> {
    #[inline(always)]
    unsafe fn put<L: Lanes<Element = T>, const ALONG: bool>(&mut self, weight: L, slope: L) {
        // SAFETY: no vector has more than 16 lanes.
        unsafe {
            weight.store(self.weight.as_mut_ptr());
            if ALONG {
                slope.store(self.slope.as_mut_ptr());
            }
        }
    }
}
