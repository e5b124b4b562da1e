//! Rows of the compositive step.

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};
use crate::ops::sample::{linear_value, Cell, Frame};
use crate::ops::stencil::{row_neighbours, segment};
use crate::Affine;

pub(super) fn step<T: Real>(
    u: &[T],
    v: &[T],
    size: &[usize],
    t: T,
    pulled: bool,
    out: &mut [T],
) {
    if size.len() == 2 {
        ranked::<T, 2>(u, v, size, t, pulled, out);
    } else {
        ranked::<T, 3>(u, v, size, t, pulled, out);
    }
}

fn ranked<T: Real, const D: usize>(
    u: &[T],
    v: &[T],
    size: &[usize],
    t: T,
    pulled: bool,
    out: &mut [T],
) {
    let frame = Frame::<T, D>::new(size, size, &Affine::identity());
    let n = frame.voxels();
    assert!([u.len(), v.len(), out.len()] == [n * D; 3], "fields");
    let out = Shared::new(out);
    for_rows(frame.rows(), size[0], |rows| {
        dispatch(Step {
            u,
            v,
            frame: &frame,
            t,
            pulled,
            rows,
            out,
        });
    });
}

struct Step<'a, T, const D: usize> {
    u: &'a [T],
    v: &'a [T],
    frame: &'a Frame<T, D>,
    t: T,
    pulled: bool,
    rows: std::ops::Range<usize>,
    out: Shared<T>,
}

impl<T: Real, const D: usize> Kernel<T> for Step<'_, T, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let (n, width) = (self.frame.voxels(), self.frame.fixed[0]);
        // SAFETY: lengths were checked; neighbours stay within the field; each task writes its own rows.
        unsafe {
            let t = L::splat(self.t);
            for row in self.rows.clone() {
                let around = row_neighbours(&self.frame.fixed, row);
                let begin = self.frame.row_start(row);
                let mut start = 0;
                while start < width {
                    let s = segment(width, start, L::COUNT);
                    start += s.count;
                    let load = |from: *const T| {
                        if s.count == L::COUNT {
                            L::load(from)
                        } else {
                            L::load_part(from, s.count)
                        }
                    };
                    let at = row * width + s.start;
                    let mut e: [L; D] =
                        std::array::from_fn(|a| load(self.v.as_ptr().add(a * n + at)));
                    if self.pulled {
                        let mut jacobian = [e; D];
                        for a in 0..D {
                            let here = self.u.as_ptr().add(a * n + at);
                            for b in 0..D {
                                let (back, ahead) =
                                    if b == 0 { (s.left, s.right) } else { around[b] };
                                let scale = if back > 0 && ahead > 0 { 0.5 } else { 1.0 };
                                let slope = load(here.add(ahead)).sub(load(here.sub(back)));
                                let unit = if a == b { 1.0 } else { 0.0 };
                                jacobian[a][b] =
                                    slope.fma(L::splat(T::of(scale)), L::splat(T::of(unit)));
                            }
                        }
                        e = solve(&jacobian, e);
                    }
                    let e: [L; D] = std::array::from_fn(|a| t.mul(e[a]));
                    let position = self.frame.positions(&begin, s.start, e);
                    let cell = Cell::at(position, &self.frame.moving);
                    let offset = cell.offset(&self.frame.stride);
                    for a in 0..D {
                        let image = self.u.as_ptr().add(a * n);
                        let moved = linear_value(image, &cell, offset, &self.frame.stride);
                        let to = self.out.at(a * n + at);
                        if s.count == L::COUNT {
                            e[a].add(moved).store(to);
                        } else {
                            e[a].add(moved).store_part(to, s.count);
                        }
                    }
                }
            }
        }
    }
}

/// `J^-1 v` by the adjugate, with the determinant held above 0.2.
#[inline(always)]
unsafe fn solve<L: Lanes, const D: usize>(j: &[[L; D]; D], v: [L; D]) -> [L; D] {
    // SAFETY: within a kernel.
    unsafe {
        let floor = L::splat(L::Element::of(0.2));
        let one = L::splat(L::Element::of(1.0));
        let mut out = v;
        if D == 2 {
            let det = j[0][0].mul(j[1][1]).sub(j[0][1].mul(j[1][0]));
            let scale = one.div(det.max(floor));
            out[0] = j[1][1].mul(v[0]).sub(j[0][1].mul(v[1])).mul(scale);
            out[1] = j[0][0].mul(v[1]).sub(j[1][0].mul(v[0])).mul(scale);
        } else {
            let minor = |r: usize, c: usize| {
                let (r0, r1) = ((r + 1) % D, (r + 2) % D);
                let (c0, c1) = ((c + 1) % D, (c + 2) % D);
                j[r0][c0].mul(j[r1][c1]).sub(j[r0][c1].mul(j[r1][c0]))
            };
            let top = [minor(0, 0), minor(0, 1), minor(0, 2)];
            let det = j[0][0]
                .mul(top[0])
                .add(j[0][1].mul(top[1]))
                .add(j[0][2 % D].mul(top[2]));
            let scale = one.div(det.max(floor));
            for a in 0..D {
                let sum = minor(0, a)
                    .mul(v[0])
                    .add(minor(1, a).mul(v[1]))
                    .add(minor(2, a).mul(v[D - 1]));
                out[a] = sum.mul(scale);
            }
        }
        out
    }
}
