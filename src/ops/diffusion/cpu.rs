//! Rows of the difference operator.

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::near::{Near, Neighbourhood};
use crate::ops::real::Real;
use crate::ops::rows::{sum_over_rows, Shared};
use crate::ops::sample::{vectors, RUN};

pub(super) fn value<T: Real>(u: &[T], size: &[usize], weight: &[[f64; 3]; 3]) -> f64 {
    if size.len() == 2 {
        ranked::<T, 2>(u, size, weight, None)
    } else {
        ranked::<T, 3>(u, size, weight, None)
    }
}

pub(super) fn add_gradient<T: Real>(
    u: &[T],
    size: &[usize],
    weight: &[[f64; 3]; 3],
    out: &mut [T],
) {
    assert_eq!(u.len(), out.len(), "gradient");
    if size.len() == 2 {
        ranked::<T, 2>(u, size, weight, Some(out));
    } else {
        ranked::<T, 3>(u, size, weight, Some(out));
    }
}

fn ranked<T: Real, const D: usize>(
    u: &[T],
    size: &[usize],
    weight: &[[f64; 3]; 3],
    out: Option<&mut [T]>,
) -> f64 {
    let size: [usize; D] = std::array::from_fn(|a| size[a]);
    let n: usize = size.iter().product();
    assert_eq!(u.len(), n * D, "field");
    let out = out.map(Shared::new);
    let [sum] = sum_over_rows(n / size[0], size[0], |rows| {
        [dispatch(Rows {
            u,
            size: &size,
            weight,
            rows,
            out,
        })]
    });
    0.5 * sum
}

struct Rows<'a, T, const D: usize> {
    u: &'a [T],
    size: &'a [usize; D],
    weight: &'a [[f64; 3]; 3],
    rows: std::ops::Range<usize>,
    out: Option<Shared<T>>,
}

impl<T: Real, const D: usize> Kernel<T> for Rows<'_, T, D> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> f64 {
        let n: usize = self.size.iter().product();
        let width = self.size[0];
        let mut total = 0.0;
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            let field = Neighbourhood::<L, D>::new(self.u.as_ptr(), self.size, self.weight);
            let mut nears = Near::room();
            for row in self.rows.clone() {
                let mut energy = L::constant(0.0);
                for begin in (0..width).step_by(RUN * L::COUNT) {
                    field.run(self.out.is_some(), (row, begin), &mut nears);
                    for k in 0..vectors::<L>(width - begin) {
                        let i = begin + k * L::COUNT;
                        let count = (width - i).min(L::COUNT);
                        let Some(out) = self.out else {
                            energy = energy.add(nears[k].energy);
                            continue;
                        };
                        for a in 0..D {
                            let to = out.at(a * n + row * width + i);
                            let sum = L::load_some(to, count).add(nears[k].force[a]);
                            sum.store_some(to, count);
                        }
                    }
                }
                total += energy.sum();
            }
        }
        total
    }
}
