//! Weights of linear interpolation between centres of voxels, along one axis, and rows added up by them.

use crate::ops::lanes::Lanes;
use crate::ops::real::Real;

/// Weight of the coarse voxel that a fine one lies in,
pub(super) const NEAR: f64 = 0.75;

/// and of the neighbour on its side.
pub(super) const FAR: f64 = 0.25;

/// Voxels with their weights; the first `count` are meant.
#[derive(Clone, Copy)]
pub(super) struct Taps<const N: usize> {
    pub at: [usize; N],
    pub weight: [f64; N],
    pub count: usize,
}

impl<const N: usize> Taps<N> {
    #[inline(always)]
    fn add(&mut self, at: usize, weight: f64) {
        self.at[self.count] = at;
        self.weight[self.count] = weight;
        self.count += 1;
    }

    #[inline(always)]
    fn none() -> Self {
        Self {
            at: [0; N],
            weight: [0.0; N],
            count: 0,
        }
    }
}

/// Writes `length` elements, from `begin` on, of the rows of volume `plane` added up by weights along y and z.
///
/// # Safety
/// Within a kernel only; `from` has volumes of this size, `to` as many elements.
#[inline(always)]
pub(super) unsafe fn add_rows<L: Lanes, const N: usize>(
    (from, size, plane): (*const L::Element, [usize; 3], usize),
    [along_y, along_z]: [&Taps<N>; 2],
    (begin, length): (usize, usize),
    to: *mut L::Element,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for i in (0..length).step_by(L::COUNT) {
            let count = (length - i).min(L::COUNT);
            let mut total = L::splat(L::Element::of(0.0));
            for b in 0..along_z.count {
                for a in 0..along_y.count {
                    let row = (plane * size[2] + along_z.at[b]) * size[1] + along_y.at[a];
                    let weight = L::constant(along_z.weight[b] * along_y.weight[a]);
                    let values = L::load_some(from.add(row * size[0] + begin + i), count);
                    total = values.fma(weight, total);
                }
            }
            total.store_some(to.add(i), count);
        }
    }
}

/// The coarse voxels that the fine voxel `i` is interpolated from, on axes of `fine` and `coarse` voxels.
#[inline(always)]
pub(super) fn of_fine(i: usize, fine: usize, coarse: usize) -> Taps<2> {
    let mut taps = Taps::none();
    if fine == coarse {
        taps.add(i, 1.0);
        return taps;
    }
    let near = i / 2;
    let far = if i.is_multiple_of(2) {
        near.saturating_sub(1)
    } else {
        (near + 1).min(coarse - 1)
    };
    if far == near {
        taps.add(near, 1.0);
    } else {
        taps.add(near, NEAR);
        taps.add(far, FAR);
    }
    taps
}

/// The fine voxels that take a share of the coarse voxel `c`: the transpose of [`of_fine`].
#[inline(always)]
pub(super) fn of_coarse(c: usize, fine: usize, coarse: usize) -> Taps<4> {
    let mut taps = Taps::none();
    if fine == coarse {
        taps.add(c, 1.0);
        return taps;
    }
    let inside = |end: bool| if end { 1.0 } else { NEAR };
    if c > 0 {
        taps.add(2 * c - 1, FAR);
    }
    taps.add(2 * c, inside(c == 0));
    if 2 * c + 1 < fine {
        taps.add(2 * c + 1, inside(c + 1 == coarse));
    }
    if 2 * c + 2 < fine {
        taps.add(2 * c + 2, FAR);
    }
    taps
}
