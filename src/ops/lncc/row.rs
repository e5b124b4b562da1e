//! Sums over the window along a row, by doubling.

use crate::ops::lanes::Lanes;

/// A row between margins of zeros. The window of element `x` begins at place `x` of the memory.
#[derive(Clone, Copy)]
pub(super) struct Row {
    values: *const f64,
    /// Sums of as many values as the radius of the window, from each place on.
    halves: *const f64,
    radius: usize,
}

impl Row {
    /// Memory that `width` elements with their margins take, and what vectors read beyond them.
    pub fn length(width: usize, radius: usize) -> usize {
        width + 2 * radius + 16
    }

    /// The row at `values`; makes its sums in `halves`. Both have the length of [`Row::length`].
    #[inline(always)]
    pub unsafe fn new<L: Lanes<Element = f64>>(
        values: *const f64,
        halves: *mut f64,
        (width, radius): (usize, usize),
    ) -> Self {
        let mut from = values;
        // SAFETY: within the lengths that the caller promises.
        unsafe {
            let mut count = 1;
            for bit in (0..radius.max(1).ilog2()).rev() {
                let odd = radius >> bit & 1;
                let length = width + 2 * radius + 1 - 2 * count - odd;
                let mut x = 0;
                while x < length {
                    let mut sum = L::load(from.add(x)).add(L::load(from.add(x + count)));
                    if odd == 1 {
                        sum = sum.add(L::load(values.add(x + 2 * count)));
                    }
                    sum.store(halves.add(x));
                    x += L::COUNT;
                }
                from = halves;
                count = 2 * count + odd;
            }
        }
        Self {
            values,
            halves: from,
            radius,
        }
    }

    /// The sums over the windows of the elements from `x` on.
    #[inline(always)]
    pub unsafe fn sums<L: Lanes<Element = f64>>(&self, x: usize) -> L {
        // SAFETY: the caller's elements lie in the row.
        unsafe {
            let last = L::load(self.values.add(x + 2 * self.radius));
            if self.radius == 0 {
                return last;
            }
            let first = L::load(self.halves.add(x));
            first
                .add(L::load(self.halves.add(x + self.radius)))
                .add(last)
        }
    }
}
