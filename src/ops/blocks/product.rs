//! Rows of the Gauss-Newton system.

use super::run::{counts, PAIR, RUN};
use crate::ops::lanes::{dispatch, prefetch, Kernel, Lanes, Stores};
use crate::ops::near::{Line, AHEAD};
use crate::ops::real::Real;
use crate::ops::rows::{sum_over_rows, Shared};
use crate::ops::stencil::row_neighbours;

pub(super) fn apply<T: Real>(
    blocks: &[T],
    p: &[T],
    size: &[usize],
    weight: &[[f64; 3]; 3],
    shift: f64,
    out: &mut [T],
) -> f64 {
    if size.len() == 2 {
        product::<T, 2>(blocks, p, size, weight, shift, out)
    } else {
        product::<T, 3>(blocks, p, size, weight, shift, out)
    }
}

fn product<T: Real, const D: usize>(
    blocks: &[T],
    p: &[T],
    size: &[usize],
    weight: &[[f64; 3]; 3],
    shift: f64,
    out: &mut [T],
) -> f64 {
    let size: [usize; D] = std::array::from_fn(|a| size[a]);
    let n: usize = size.iter().product();
    assert!(p.len() == n * D && out.len() == n * D, "vectors");
    let entries = blocks.len() / n;
    assert!(blocks.len() == n * entries && (entries == D || entries == D * (D + 1) / 2));
    let stores = Stores::of(size_of_val(out));
    let out = Shared::new(out);
    let [sum] = sum_over_rows(n / size[0], size[0], |rows| {
        [dispatch(Product {
            blocks,
            vector: entries == D,
            p,
            size: &size,
            weight,
            shift,
            rows,
            out,
            stores,
        })]
    });
    sum
}

struct Product<'a, T, const D: usize> {
    blocks: &'a [T],
    vector: bool,
    p: &'a [T],
    size: &'a [usize; D],
    weight: &'a [[f64; 3]; 3],
    shift: f64,
    rows: std::ops::Range<usize>,
    out: Shared<T>,
    stores: Stores,
}

impl<T: Real, const D: usize> Kernel<T> for Product<'_, T, D> {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> f64 {
        // SAFETY: lengths were checked; each task writes its own rows.
        unsafe {
            if self.vector {
                self.rows::<L, true>()
            } else {
                self.rows::<L, false>()
            }
        }
    }
}

impl<T: Real, const D: usize> Product<'_, T, D> {
    #[inline(always)]
    unsafe fn rows<L: Lanes<Element = T>, const VECTOR: bool>(&self) -> f64 {
        let n: usize = self.size.iter().product();
        let width = self.size[0];
        let mut total = 0.0;
        // SAFETY: as in `run`.
        unsafe {
            let shift = L::constant(self.shift);
            let mut weight = [[shift; D]; D];
            for a in 0..D {
                for b in 0..D {
                    weight[a][b] = L::constant(self.weight[a][b]);
                }
            }
            let zero = L::splat(T::of(0.0));
            let (mut middle, mut near) = ([[zero; D]; RUN], [[zero; D]; RUN]);
            for row in self.rows.clone() {
                let around = row_neighbours(self.size, row);
                let mut sum = zero;
                for begin in (0..width).step_by(RUN * L::COUNT) {
                    let vectors = RUN.min((width - begin).div_ceil(L::COUNT));
                    for a in 0..D {
                        let plane = self.p.as_ptr().add(a * n + row * width);
                        let mut line = Line::<L>::at(plane, begin, width);
                        for k in 0..vectors {
                            let i = begin + k * L::COUNT;
                            let (here, count) = (plane.add(i), (width - i).min(L::COUNT));
                            // what comes after this component: its part of the blocks, and the plane behind
                            let entry = a * n + row * width + i;
                            prefetch(self.blocks.as_ptr().wrapping_add(entry));
                            prefetch(here.wrapping_add(around[D - 1].1 + AHEAD * L::COUNT));
                            if self.stores.cached() {
                                prefetch(self.out.at(entry));
                            }
                            let (mine, left, right) = line.step(i);
                            let mut sum = mine.mul(shift);
                            for b in 0..D {
                                let mut pair = left.add(right);
                                if b > 0 {
                                    let (down, up) = around[b];
                                    pair = L::load_some(here.sub(down), count)
                                        .add(L::load_some(here.add(up), count));
                                }
                                let bend = mine.add(mine).sub(pair);
                                sum = bend.fma(weight[a][b], sum);
                            }
                            (middle[k][a], near[k][a]) = (mine, sum);
                        }
                    }
                    if vectors % PAIR != 0 {
                        middle[vectors] = [zero; D];
                    }
                    for k in (0..vectors).step_by(PAIR) {
                        let first = begin + k * L::COUNT;
                        let at = row * width + first;
                        let counts = counts::<L>(width - first);
                        let p = [middle[k], middle[k + 1]];
                        let mut q = [near[k], near[k + 1]];
                        let entries = self.blocks.as_ptr().add(at);
                        if VECTOR {
                            let mut j = p;
                            for a in 0..D {
                                let here = entries.add(a * n);
                                for v in 0..PAIR {
                                    j[v][a] = L::load_some(here.add(v * L::COUNT), counts[v]);
                                }
                            }
                            for v in 0..PAIR {
                                let mut dot = j[v][0].mul(p[v][0]);
                                for a in 1..D {
                                    dot = j[v][a].fma(p[v][a], dot);
                                }
                                for a in 0..D {
                                    q[v][a] = j[v][a].fma(dot, q[v][a]);
                                }
                            }
                        } else {
                            let mut here = entries;
                            for a in 0..D {
                                for b in a..D {
                                    for v in 0..PAIR {
                                        let entry = L::load_some(here.add(v * L::COUNT), counts[v]);
                                        q[v][a] = entry.fma(p[v][b], q[v][a]);
                                        if a != b {
                                            q[v][b] = entry.fma(p[v][a], q[v][b]);
                                        }
                                    }
                                    here = here.add(n);
                                }
                            }
                        }
                        for a in 0..D {
                            let here = self.out.at(a * n + at);
                            for v in 0..PAIR {
                                sum = p[v][a].fma(q[v][a], sum);
                                self.stores.put(q[v][a], here.add(v * L::COUNT), counts[v]);
                            }
                        }
                    }
                }
                total += sum.sum();
            }
            self.stores.settle();
        }
        total
    }
}
