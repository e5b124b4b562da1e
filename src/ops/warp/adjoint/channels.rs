//! Channels from planes to vectors and back.

use crate::ops::lanes::{Lanes, Places};
use crate::ops::real::Real;

/// Vectors of channels, of some voxels that follow each other in planes.
pub(super) struct Channels {
    /// How many there are, at most a vector.
    pub count: usize,
    /// Elements from a plane to the next.
    pub step: usize,
}

impl Channels {
    /// The channels of `count` voxels, a vector each, from the first plane's voxel on; `left` of each plane may be read.
    ///
    /// # Safety
    /// Within a kernel only; the planes have these voxels.
    #[inline(always)]
    pub unsafe fn load<L: Lanes>(
        &self,
        from: *const L::Element,
        (count, left): (usize, usize),
        voxels: &mut [L; 16],
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if left < L::COUNT || self.step > i32::MAX as usize / 16 {
                for v in 0..count {
                    let mut lanes = [L::Element::of(0.0); 16];
                    for c in 0..self.count {
                        lanes[c] = *from.add(c * self.step + v);
                    }
                    voxels[v] = L::load(lanes.as_ptr());
                }
                return;
            }
            let planes = Places::rows(self.step, self.count);
            for v in (0..L::COUNT).step_by(4) {
                voxels[v..v + 4].copy_from_slice(&L::gather_four(from.add(v), &planes));
            }
        }
    }

    /// Takes interleaved channels of `count` voxels to planes.
    ///
    /// # Safety
    /// As [`Channels::load`].
    #[inline(always)]
    pub unsafe fn part<L: Lanes>(
        &self,
        from: *const L::Element,
        count: usize,
        to: *mut L::Element,
    ) {
        let voxels = Places::rows(L::COUNT, L::COUNT);
        let whole = count / L::COUNT * L::COUNT;
        // SAFETY: the caller's promise.
        unsafe {
            for v in (0..whole).step_by(L::COUNT) {
                for c in (0..self.count).step_by(4) {
                    let four = L::gather_four(from.add(v * L::COUNT + c), &voxels);
                    for k in 0..4.min(self.count - c) {
                        four[k].store(to.add((c + k) * self.step + v));
                    }
                }
            }
            for v in whole..count {
                for c in 0..self.count {
                    *to.add(c * self.step + v) = *from.add(v * L::COUNT + c);
                }
            }
        }
    }
}
