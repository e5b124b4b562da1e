//! The tridiagonal solve of one axis.

use rayon::prelude::*;

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::Shared;

/// Columns that are solved side by side: a strip of a slab that stays in the cache.
const STRIP: usize = 256;

/// Lines along the fastest axis that are turned into columns together.
const LINES: usize = 16;

/// Solves along the axis of `length` entries that lie `inner` elements apart, in place.
pub(super) fn along_axis<T: Real>(x: &mut [T], length: usize, inner: usize, adjoint: bool) {
    if length == 1 {
        return;
    }
    let system = Elimination::<T>::new(length, adjoint);
    if inner == 1 {
        x.par_chunks_mut(length * LINES).for_each_init(
            || vec![T::of(0.0); length * LINES],
            |columns, lines| {
                for (l, line) in lines.chunks(length).enumerate() {
                    for (i, v) in line.iter().enumerate() {
                        columns[i * LINES + l] = *v;
                    }
                }
                system.solve(Shared::new(columns), LINES, LINES);
                for (l, line) in lines.chunks_mut(length).enumerate() {
                    for (i, v) in line.iter_mut().enumerate() {
                        *v = columns[i * LINES + l];
                    }
                }
            },
        );
    } else {
        let (slabs, strips) = (x.len() / (length * inner), inner.div_ceil(STRIP));
        let all = Shared::new(x);
        (0..slabs * strips).into_par_iter().for_each(|task| {
            let first = task % strips * STRIP;
            // SAFETY: each task takes columns of its own, inside its slab.
            let columns = unsafe { all.skip(task / strips * length * inner + first) };
            system.solve(columns, (inner - first).min(STRIP), inner);
        });
    }
}

/// The factors of the elimination; they depend on the length alone.
pub(super) struct Elimination<T> {
    /// Entry below the diagonal of row `i` divided by the pivot above.
    pub lower: Vec<T>,
    /// One over the pivot of row `i`.
    pub pivot: Vec<T>,
    /// Entry above the diagonal of row `i`.
    pub upper: Vec<T>,
}

impl<T: Real> Elimination<T> {
    pub fn new(n: usize, adjoint: bool) -> Self {
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

    /// Solves `count` neighbouring columns, whose rows lie `stride` elements apart.
    fn solve(&self, x: Shared<T>, count: usize, stride: usize) {
        dispatch(Columns {
            system: self,
            x,
            count,
            stride,
        });
    }
}

struct Columns<'a, T> {
    system: &'a Elimination<T>,
    x: Shared<T>,
    count: usize,
    stride: usize,
}

impl<T: Real> Kernel<T> for Columns<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let Elimination {
            lower,
            pivot,
            upper,
        } = self.system;
        let n = pivot.len();
        // SAFETY: `n` rows of `count` elements belong to this task.
        unsafe {
            for i in 1..n {
                let factor = L::splat(-lower[i]);
                let mut c = 0;
                while c < self.count {
                    let some = (self.count - c).min(L::COUNT);
                    let here = self.x.at(i * self.stride + c);
                    let above = L::load_some(self.x.at((i - 1) * self.stride + c), some);
                    let v = above.fma(factor, L::load_some(here, some));
                    v.store_some(here, some);
                    c += some;
                }
            }
            for i in (0..n).rev() {
                let (factor, pivot) = (L::splat(-upper[i]), L::splat(pivot[i]));
                let mut c = 0;
                while c < self.count {
                    let some = (self.count - c).min(L::COUNT);
                    let here = self.x.at(i * self.stride + c);
                    let mut v = L::load_some(here, some);
                    if i + 1 < n {
                        let below = L::load_some(self.x.at((i + 1) * self.stride + c), some);
                        v = below.fma(factor, v);
                    }
                    v.mul(pivot).store_some(here, some);
                    c += some;
                }
            }
        }
    }
}
