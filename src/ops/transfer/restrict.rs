//! The transpose of linear interpolation.

use super::taps::of_coarse;
use super::Transfer;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};

/// Coarse voxels of a row that are worked on together.
const RUN: usize = 256;

pub(super) fn restrict<T: Real>(transfer: &Transfer, fine: &[T], coarse: &mut [T]) {
    let [from, to] = [transfer.fine, transfer.coarse].map(|s| s.iter().product::<usize>());
    let planes = coarse.len() / to;
    assert!(
        fine.len() == planes * from && coarse.len() == planes * to,
        "fields"
    );
    let coarse = Shared::new(coarse);
    let width = transfer.coarse[0];
    for_rows(planes * to / width, 4 * transfer.fine[0], |rows| {
        dispatch(Restrict {
            transfer,
            fine,
            rows,
            coarse,
        });
    });
}

struct Restrict<'a, T> {
    transfer: &'a Transfer,
    fine: &'a [T],
    rows: std::ops::Range<usize>,
    coarse: Shared<T>,
}

impl<T: Real> Kernel<T> for Restrict<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let (fine, coarse) = (self.transfer.fine, self.transfer.coarse);
        let zero = T::of(0.0);
        let (near, far) = (T::of(0.75), T::of(0.25));
        // what the fine rows add up to, from the voxel before the run's first to the one after its last
        let mut sum = [zero; 2 * RUN + 2];
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            for row in self.rows.clone() {
                let (y, rest) = (row % coarse[1], row / coarse[1]);
                let (z, plane) = (rest % coarse[2], rest / coarse[2]);
                let along_y = of_coarse(y, fine[1], coarse[1]);
                let along_z = of_coarse(z, fine[2], coarse[2]);
                let out = self.coarse.at(row * coarse[0]);
                for start in (0..coarse[0]).step_by(RUN) {
                    let stop = (start + RUN).min(coarse[0]);
                    let halved = fine[0] != coarse[0];
                    let (begin, end) = if halved {
                        ((2 * start).saturating_sub(1), (2 * stop + 1).min(fine[0]))
                    } else {
                        (start, stop)
                    };
                    let length = end - begin;
                    for i in (0..length).step_by(L::COUNT) {
                        let count = (length - i).min(L::COUNT);
                        let mut total = L::constant(0.0);
                        for b in 0..along_z.count {
                            for a in 0..along_y.count {
                                let line =
                                    (plane * fine[2] + along_z.at[b]) * fine[1] + along_y.at[a];
                                let from = self.fine.as_ptr().add(line * fine[0] + begin + i);
                                let weight = L::constant(along_z.weight[b] * along_y.weight[a]);
                                total = L::load_some(from, count).fma(weight, total);
                            }
                        }
                        total.store_some(sum.as_mut_ptr().add(i), count);
                    }
                    if !halved {
                        for (k, value) in sum[..length].iter().enumerate() {
                            *out.add(start + k) = *value;
                        }
                        continue;
                    }
                    for c in start..stop {
                        let at = 2 * c - begin;
                        let mut value = sum[at];
                        if c > 0 {
                            value = near * value + far * sum[at - 1];
                        }
                        if 2 * c + 1 < fine[0] {
                            let share = if c + 1 == coarse[0] { T::of(1.0) } else { near };
                            value += share * sum[at + 1];
                        }
                        if 2 * c + 2 < fine[0] {
                            value += far * sum[at + 2];
                        }
                        *out.add(c) = value;
                    }
                }
            }
        }
    }
}
