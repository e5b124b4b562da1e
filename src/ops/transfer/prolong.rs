//! Linear interpolation to a grid of twice the resolution.

use super::taps::{add_rows, of_fine, FAR, NEAR};
use super::{Transfer, RUN};
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};

/// Writes or adds what is interpolated.
pub(super) fn prolong<T: Real, const ADD: bool>(transfer: &Transfer, coarse: &[T], fine: &mut [T]) {
    let [to, from] = [transfer.fine, transfer.coarse].map(|s| s.iter().product::<usize>());
    let planes = coarse.len() / from;
    assert!(
        fine.len() == planes * to && coarse.len() == planes * from,
        "fields"
    );
    let fine = Shared::new(fine);
    let width = transfer.fine[0];
    for_rows(planes * to / width, width, |rows| {
        dispatch(Prolong::<'_, T, ADD> {
            transfer,
            coarse,
            rows,
            fine,
        });
    });
}

struct Prolong<'a, T, const ADD: bool> {
    transfer: &'a Transfer,
    coarse: &'a [T],
    rows: std::ops::Range<usize>,
    fine: Shared<T>,
}

impl<T: Real, const ADD: bool> Kernel<T> for Prolong<'_, T, ADD> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let (fine, coarse) = (self.transfer.fine, self.transfer.coarse);
        let zero = T::of(0.0);
        let (near, far) = (T::of(NEAR), T::of(FAR));
        // the interpolated coarse row, with a voxel more on each side, and the fine row made of it
        let mut line = [zero; RUN + 2];
        let mut wide = [zero; 2 * RUN];
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            for row in self.rows.clone() {
                let (y, rest) = (row % fine[1], row / fine[1]);
                let (z, plane) = (rest % fine[2], rest / fine[2]);
                let along_y = of_fine(y, fine[1], coarse[1]);
                let along_z = of_fine(z, fine[2], coarse[2]);
                let out = self.fine.at(row * fine[0]);
                for start in (0..coarse[0]).step_by(RUN) {
                    let stop = (start + RUN).min(coarse[0]);
                    let (begin, end) = (start.saturating_sub(1), (stop + 1).min(coarse[0]));
                    // line[0] is the voxel before `start`: itself at the border
                    let ahead = 1 - (start - begin);
                    let length = end - begin;
                    let source = (self.coarse.as_ptr(), coarse, plane);
                    let to = line.as_mut_ptr().add(ahead);
                    add_rows::<L, 2>(source, [&along_y, &along_z], (begin, length), to);
                    if start == 0 {
                        line[0] = line[1];
                    }
                    if stop == coarse[0] {
                        line[stop - start + 1] = line[stop - start];
                    }
                    let (values, first) = if fine[0] == coarse[0] {
                        (&line[1..=stop - start], start)
                    } else {
                        for c in 0..stop - start {
                            let middle = near * line[c + 1];
                            wide[2 * c] = middle + far * line[c];
                            wide[2 * c + 1] = middle + far * line[c + 2];
                        }
                        let end = (2 * stop).min(fine[0]);
                        (&wide[..end - 2 * start], 2 * start)
                    };
                    for i in (0..values.len()).step_by(L::COUNT) {
                        let count = (values.len() - i).min(L::COUNT);
                        let to = out.add(first + i);
                        let mut value = L::load_some(values.as_ptr().add(i), count);
                        if ADD {
                            value = value.add(L::load_some(to, count));
                        }
                        value.store_some(to, count);
                    }
                }
            }
        }
    }
}
