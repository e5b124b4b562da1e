//! Rows of the difference operator.

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{sum_over_rows, Shared};
use crate::ops::stencil::{row_neighbours, segment};

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
    let weight = std::array::from_fn(|a| std::array::from_fn(|b| T::of(weight[a][b])));
    let out = out.map(Shared::new);
    let [sum] = sum_over_rows(n / size[0], size[0], |rows| {
        [dispatch(Rows {
            u,
            size: &size,
            weight: &weight,
            rows,
            out,
        })]
    });
    0.5 * sum
}

struct Rows<'a, T, const D: usize> {
    u: &'a [T],
    size: &'a [usize; D],
    weight: &'a [[T; D]; D],
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
        // SAFETY: lengths were checked; neighbours stay within the field; each task writes its own rows.
        unsafe {
            for row in self.rows.clone() {
                let around = row_neighbours(self.size, row);
                let mut energy = L::splat(T::of(0.0));
                let mut start = 0;
                while start < width {
                    let s = segment(width, start, L::COUNT);
                    start += s.count;
                    for a in 0..D {
                        let at = a * n + row * width + s.start;
                        let here = self.u.as_ptr().add(at);
                        let u = L::load_some(here, s.count);
                        let mut sum = L::splat(T::of(0.0));
                        for b in 0..D {
                            let (back, ahead) = if b == 0 { (s.left, s.right) } else { around[b] };
                            let w = L::splat(self.weight[a][b]);
                            let next = L::load_some(here.add(ahead), s.count).sub(u);
                            if self.out.is_some() {
                                let previous = u.sub(L::load_some(here.sub(back), s.count));
                                sum = previous.sub(next).fma(w, sum);
                            } else {
                                energy = next.mul(next).fma(w, energy);
                            }
                        }
                        if let Some(out) = self.out {
                            let to = out.at(at);
                            L::load_some(to, s.count).add(sum).store_some(to, s.count);
                        }
                    }
                }
                total += energy.sum();
            }
        }
        total
    }
}
