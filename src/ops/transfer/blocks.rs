//! Sums of blocks over the voxels of a coarse one.

use super::{Transfer, RUN};
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};

/// Sums of packed blocks, or of the outer products of vectors.
pub(super) fn sums<T: Real>(transfer: &Transfer, vector: bool, fine: &[T], coarse: &mut [T]) {
    let [from, to] = [transfer.fine, transfer.coarse].map(|s| s.iter().product::<usize>());
    let rank = transfer.rank;
    let packed = rank * (rank + 1) / 2;
    let entries = if vector { rank } else { packed };
    assert!(
        fine.len() == entries * from && coarse.len() == packed * to,
        "blocks"
    );
    let coarse = Shared::new(coarse);
    let width = transfer.coarse[0];
    for_rows(to / width, 4 * packed * width, |rows| {
        dispatch(Sums {
            transfer,
            vector,
            fine,
            rows,
            coarse,
        });
    });
}

struct Sums<'a, T> {
    transfer: &'a Transfer,
    vector: bool,
    fine: &'a [T],
    rows: std::ops::Range<usize>,
    coarse: Shared<T>,
}

impl<T: Real> Kernel<T> for Sums<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let (fine, coarse) = (self.transfer.fine, self.transfer.coarse);
        let [from, to] = [fine, coarse].map(|s| s[0] * s[1] * s[2]);
        let rank = self.transfer.rank;
        let step = |b: usize| if fine[b] == coarse[b] { 1 } else { 2 };
        let (wide, high, deep) = (step(0), step(1), step(2));
        let mut sum = [T::of(0.0); 2 * RUN];
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            for row in self.rows.clone() {
                let (y, z) = (row % coarse[1], row / coarse[1]);
                let mut entry = 0;
                for i in 0..rank {
                    for j in i..rank {
                        for start in (0..coarse[0]).step_by(RUN) {
                            let stop = (start + RUN).min(coarse[0]);
                            let begin = wide * start;
                            let length = (wide * stop).min(fine[0]) - begin;
                            for x in (0..length).step_by(L::COUNT) {
                                let count = (length - x).min(L::COUNT);
                                let mut total = L::constant(0.0);
                                for fz in deep * z..(deep * (z + 1)).min(fine[2]) {
                                    for fy in high * y..(high * (y + 1)).min(fine[1]) {
                                        let at = (fz * fine[1] + fy) * fine[0] + begin + x;
                                        let at = self.fine.as_ptr().add(at);
                                        if self.vector {
                                            let a = L::load_some(at.add(i * from), count);
                                            let b = L::load_some(at.add(j * from), count);
                                            total = a.fma(b, total);
                                        } else {
                                            let block = L::load_some(at.add(entry * from), count);
                                            total = total.add(block);
                                        }
                                    }
                                }
                                total.store_some(sum.as_mut_ptr().add(x), count);
                            }
                            let out = self.coarse.at(entry * to + row * coarse[0] + start);
                            for c in 0..stop - start {
                                let mut value = sum[wide * c];
                                if wide == 2 && 2 * c + 1 < length {
                                    value += sum[wide * c + 1];
                                }
                                *out.add(c) = value;
                            }
                        }
                        entry += 1;
                    }
                }
            }
        }
    }
}
