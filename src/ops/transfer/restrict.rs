//! The transpose of linear interpolation.

use super::taps::{add_rows, of_coarse, FAR, NEAR};
use super::{Transfer, RUN};
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};

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
        let (near, far) = (T::of(NEAR), T::of(FAR));
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
                    let source = (self.fine.as_ptr(), fine, plane);
                    let to = sum.as_mut_ptr();
                    add_rows::<L, 4>(source, [&along_y, &along_z], (begin, length), to);
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
