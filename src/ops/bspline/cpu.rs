//! The tridiagonal solve of one axis.

use rayon::prelude::*;

use crate::ops::real::Real;

/// Solves along the axis of `length` entries that lie `inner` elements apart, in place.
pub(super) fn along_axis<T: Real>(x: &mut [T], length: usize, inner: usize, adjoint: bool) {
    if length == 1 {
        return;
    }
    let system = Elimination::<T>::new(length, adjoint);
    if inner == 1 {
        x.par_chunks_mut(length)
            .with_min_len((8192 / length).max(1))
            .for_each(|line| system.solve(line, 0, 1, 1));
    } else {
        x.par_chunks_mut(length * inner).for_each(|slab| {
            // columns in cache-sized strips
            for first in (0..inner).step_by(256) {
                system.solve(slab, first, (inner - first).min(256), inner);
            }
        });
    }
}

/// The factors of the elimination; they depend on the length alone.
struct Elimination<T> {
    /// Entry below the diagonal of row `i` divided by the pivot above.
    lower: Vec<T>,
    /// One over the pivot of row `i`.
    pivot: Vec<T>,
    /// Entry above the diagonal of row `i`.
    upper: Vec<T>,
}

impl<T: Real> Elimination<T> {
    fn new(n: usize, adjoint: bool) -> Self {
        let sixth = 1.0 / 6.0;
        let mut below = vec![sixth; n];
        let mut above = vec![sixth; n];
        if adjoint {
            below[1] = 2.0 * sixth;
            above[n - 2] = 2.0 * sixth;
        } else {
            above[0] = 2.0 * sixth;
            below[n - 1] = 2.0 * sixth;
        }
        let mut lower = vec![T::of(0.0); n];
        let mut pivot = vec![T::of(0.0); n];
        let mut last = 4.0 * sixth;
        pivot[0] = T::of(1.0 / last);
        for i in 1..n {
            let factor = below[i] / last;
            last = 4.0 * sixth - factor * above[i - 1];
            lower[i] = T::of(factor);
            pivot[i] = T::of(1.0 / last);
        }
        Self {
            lower,
            pivot,
            upper: above.into_iter().map(T::of).collect(),
        }
    }

    /// Solves `count` neighbouring columns that start at element `first`, rows `stride` apart.
    fn solve(&self, x: &mut [T], first: usize, count: usize, stride: usize) {
        let n = self.pivot.len();
        for i in 1..n {
            let (above, here) = x.split_at_mut(i * stride);
            let above = &above[(i - 1) * stride + first..][..count];
            for (h, a) in here[first..][..count].iter_mut().zip(above) {
                *h -= self.lower[i] * *a;
            }
        }
        for h in &mut x[(n - 1) * stride + first..][..count] {
            *h *= self.pivot[n - 1];
        }
        for i in (0..n - 1).rev() {
            let (here, below) = x.split_at_mut((i + 1) * stride);
            let below = &below[first..][..count];
            for (h, b) in here[i * stride + first..][..count].iter_mut().zip(below) {
                *h = (*h - self.upper[i] * *b) * self.pivot[i];
            }
        }
    }
}
