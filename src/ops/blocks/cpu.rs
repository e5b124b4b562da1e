//! Rows of the Gauss-Newton system and of its block-diagonal inverse.

use crate::ops::lanes::{dispatch, prefetch, Kernel, Lanes, Stores};
use crate::ops::near::{Line, AHEAD};
use crate::ops::real::Real;
use crate::ops::rows::{sum_over_rows, Shared};
use crate::ops::stencil::row_neighbours;

/// A pivot that is negative by more than this share of its diagonal entry is no rounding, of half-precision blocks either.
const ROUNDING: f64 = 1e-2;

/// The least diagonal beside a block: its reciprocal is finite in single precision.
const LEAST: f64 = 1e-30;

/// Vectors of a run, which is passed one component after the other: the planes of volumes of even sizes all lie at the same
/// place of the nearest cache, which holds eight lines of one place, and a voxel alone would ask for up to twenty.
const RUN: usize = 32;

/// Vectors of a plane that are read together: of halves, they make up a whole line.
const PAIR: usize = 2;

/// How many lanes of a pair of vectors lie within the `left` voxels.
#[inline(always)]
fn counts<L: Lanes>(left: usize) -> [usize; PAIR] {
    let first = left.min(L::COUNT);
    [first, (left - first).min(L::COUNT)]
}

/// The vectors of a preconditioning pass.
pub(super) enum Vectors<'a, T> {
    Apply {
        r: &'a [T],
        z: &'a mut [T],
    },
    Advance {
        alpha: f64,
        p: &'a [T],
        x: &'a mut [T],
        r: &'a mut [T],
        q: &'a mut [T],
    },
}

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

pub(super) fn precondition<T: Real>(
    blocks: &[T],
    size: &[usize],
    weight: &[[f64; 3]; 3],
    extra: [f64; 3],
    vectors: Vectors<'_, T>,
) -> [f64; 2] {
    if size.len() == 2 {
        inverse::<T, 2>(blocks, size, weight, extra, vectors)
    } else {
        inverse::<T, 3>(blocks, size, weight, extra, vectors)
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

/// The diagonal of the differences, as inside the grid, plus `extra`: at the border it is smaller, and the inverse stays
/// positive.
pub(super) fn diagonal(size: &[usize], weight: &[[f64; 3]; 3], extra: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|a| {
        let axes = (0..size.len()).filter(|&b| size[b] > 1);
        let diagonal = extra[a] + axes.map(|b| 2.0 * weight[a][b]).sum::<f64>();
        // without any, lanes beyond the volume would divide zero by zero
        diagonal.max(LEAST)
    })
}

fn inverse<T: Real, const D: usize>(
    blocks: &[T],
    size: &[usize],
    weight: &[[f64; 3]; 3],
    extra: [f64; 3],
    vectors: Vectors<'_, T>,
) -> [f64; 2] {
    let n: usize = size.iter().product();
    let entries = blocks.len() / n;
    assert!(blocks.len() == n * entries && (entries == D || entries == D * (D + 1) / 2));
    let all = diagonal(size, weight, extra);
    let diagonal: [f64; D] = std::array::from_fn(|a| all[a]);
    let (alpha, p, x, r, out) = match vectors {
        Vectors::Apply { r, z } => {
            assert!(r.len() == n * D && z.len() == n * D, "vectors");
            // `r` is only read
            (
                0.0,
                None,
                Shared::new(&mut []),
                Shared::of_const(r.as_ptr()),
                Shared::new(z),
            )
        }
        Vectors::Advance { alpha, p, x, r, q } => {
            assert!(
                [p.len(), x.len(), r.len(), q.len()] == [n * D; 4],
                "vectors"
            );
            (
                alpha,
                Some(p),
                Shared::new(x),
                Shared::new(r),
                Shared::new(q),
            )
        }
    };
    sum_over_rows(n / size[0], size[0], |rows| {
        dispatch(Inverse::<'_, T, D> {
            blocks,
            vector: entries == D,
            n,
            range: rows.start * size[0]..rows.end * size[0],
            diagonal,
            alpha,
            p,
            x,
            r,
            out,
        })
    })
}

struct Inverse<'a, T, const D: usize> {
    blocks: &'a [T],
    vector: bool,
    n: usize,
    range: std::ops::Range<usize>,
    diagonal: [f64; D],
    alpha: f64,
    p: Option<&'a [T]>,
    x: Shared<T>,
    r: Shared<T>,
    out: Shared<T>,
}

impl<T: Real, const D: usize> Kernel<T> for Inverse<'_, T, D> {
    type Output = [f64; 2];

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) -> [f64; 2] {
        // SAFETY: lengths were checked; each task writes its own voxels.
        unsafe {
            match (self.vector, self.p.is_some()) {
                (true, true) => self.voxels::<L, true, true>(),
                (true, false) => self.voxels::<L, true, false>(),
                (false, true) => self.voxels::<L, false, true>(),
                (false, false) => self.voxels::<L, false, false>(),
            }
        }
    }
}

impl<T: Real, const D: usize> Inverse<'_, T, D> {
    #[inline(always)]
    unsafe fn voxels<L: Lanes<Element = T>, const VECTOR: bool, const ADVANCE: bool>(
        &self,
    ) -> [f64; 2] {
        // SAFETY: as in `run`.
        unsafe {
            let n = self.n;
            let zero = L::splat(T::of(0.0));
            let alpha = L::constant(self.alpha);
            let mut c = [zero; D];
            for a in 0..D {
                c[a] = L::constant(self.diagonal[a]);
            }
            let (mut rz, mut rr) = (0.0, 0.0);
            let mut residual = [[zero; D]; RUN];
            let mut at = self.range.start;
            while at < self.range.end {
                // sums are folded to doubles after every run
                let stop = (at + RUN * L::COUNT).min(self.range.end);
                let (mut part_z, mut part_r) = (zero, zero);
                for a in 0..D {
                    for k in 0..(stop - at).div_ceil(L::COUNT) {
                        let here = at + k * L::COUNT;
                        let (count, here) = ((stop - here).min(L::COUNT), a * n + here);
                        let mut r = L::load_some(self.r.at(here), count);
                        if let (true, Some(p)) = (ADVANCE, self.p) {
                            let q = L::load_some(self.out.at(here), count);
                            r = zero.sub(alpha).fma(q, r);
                            r.store_some(self.r.at(here), count);
                            let x = L::load_some(self.x.at(here), count);
                            let p = L::load_some(p.as_ptr().add(here), count);
                            alpha.fma(p, x).store_some(self.x.at(here), count);
                        }
                        residual[k][a] = r;
                    }
                }
                let mut k = 0;
                while at < stop {
                    let counts = counts::<L>(stop - at);
                    let mut entry = [[zero; 6]; PAIR];
                    for e in 0..if VECTOR { D } else { D * (D + 1) / 2 } {
                        let here = self.blocks.as_ptr().add(e * n + at);
                        for v in 0..PAIR {
                            entry[v][e] = L::load_some(here.add(v * L::COUNT), counts[v]);
                        }
                    }
                    let mut z = [[zero; D]; PAIR];
                    for v in 0..PAIR {
                        let r = residual[k + v];
                        z[v] = if VECTOR {
                            solve_vector(&entry[v], c, r)
                        } else {
                            solve_packed(&entry[v], c, r)
                        };
                    }
                    for a in 0..D {
                        let here = self.out.at(a * n + at);
                        for v in 0..PAIR {
                            let (r, z) = (residual[k + v][a], z[v][a]);
                            z.store_some(here.add(v * L::COUNT), counts[v]);
                            if counts[v] > 0 {
                                part_z = r.fma(z, part_z);
                                part_r = r.fma(r, part_r);
                            }
                        }
                    }
                    at += counts[0] + counts[1];
                    k += PAIR;
                }
                rz += part_z.sum();
                rr += part_r.sum();
            }
            [rz, rr]
        }
    }
}

/// `(j j' + C)^-1 r` with a diagonal `C` (Sherman-Morrison).
#[inline(always)]
unsafe fn solve_vector<L: Lanes, const D: usize>(entry: &[L; 6], c: [L; D], r: [L; D]) -> [L; D] {
    // SAFETY: within a kernel.
    unsafe {
        let one = L::splat(L::Element::of(1.0));
        let mut z = r;
        let mut cj = r;
        let (mut top, mut bottom) = (L::splat(L::Element::of(0.0)), one);
        for a in 0..D {
            let j = entry[a];
            let scaled = one.div(c[a]);
            cj[a] = scaled.mul(j);
            z[a] = scaled.mul(r[a]);
            top = j.fma(z[a], top);
            bottom = j.fma(cj[a], bottom);
        }
        let factor = top.div(bottom);
        for a in 0..D {
            z[a] = z[a].sub(cj[a].mul(factor));
        }
        z
    }
}

/// `(B + C)^-1 r` for a packed symmetric block, by elimination: `L D L'`.
///
/// For a positive semidefinite block no pivot is below that of `C`. Where one is clearly negative the block is
/// indefinite, and the sums of the absolute values of its rows stand in for it.
#[inline(always)]
unsafe fn solve_packed<L: Lanes, const D: usize>(entry: &[L; 6], c: [L; D], r: [L; D]) -> [L; D] {
    // SAFETY: within a kernel.
    unsafe {
        let zero = L::splat(L::Element::of(0.0));
        let half = c[0].mul(L::constant(0.5));
        let share = L::constant(ROUNDING);
        let one = L::splat(L::Element::of(1.0));
        let (xx, xy) = (entry[0].add(c[0]), entry[1]);
        let mut sure = xx.sub(half);
        let x = one.div(xx.max(c[0]));
        let lxy = xy.mul(x);
        let (mut z, mut sum) = (r, r);
        if D == 2 {
            let yy = entry[2].add(c[1]);
            let rest = yy.sub(lxy.mul(xy));
            sure = sure.min(share.fma(yy, rest));
            z[1] = r[1].sub(lxy.mul(r[0])).div(rest.max(c[1]));
            z[0] = r[0].mul(x).sub(lxy.mul(z[1]));
            sum[0] = absolute(xx).add(absolute(xy));
            sum[1] = absolute(yy).add(absolute(xy));
        } else {
            let (xz, yz) = (entry[2], entry[4]);
            let (yy, zz) = (entry[3].add(c[1]), entry[5].add(c[D - 1]));
            let lxz = xz.mul(x);
            let rest = yy.sub(lxy.mul(xy));
            sure = sure.min(share.fma(yy, rest));
            let y = one.div(rest.max(c[1]));
            let low = yz.sub(lxy.mul(xz));
            let lyz = low.mul(y);
            let rest = zz.sub(lxz.mul(xz)).sub(lyz.mul(low));
            sure = sure.min(share.fma(zz, rest));
            let r1 = r[1].sub(lxy.mul(r[0]));
            let r2 = r[D - 1].sub(lxz.mul(r[0])).sub(lyz.mul(r1));
            z[D - 1] = r2.div(rest.max(c[D - 1]));
            z[1] = r1.mul(y).sub(lyz.mul(z[D - 1]));
            z[0] = r[0].mul(x).sub(lxy.mul(z[1])).sub(lxz.mul(z[D - 1]));
            let (axy, axz, ayz) = (absolute(xy), absolute(xz), absolute(yz));
            sum[0] = absolute(xx).add(axy).add(axz);
            sum[1] = absolute(yy).add(axy).add(ayz);
            sum[D - 1] = absolute(zz).add(axz).add(ayz);
        }
        for a in 0..D {
            let instead = r[a].div(sum[a].max(c[a]));
            let positive = sure.max(zero);
            z[a] = instead
                .sub(positive.where_equal(sure, instead))
                .add(positive.where_equal(sure, z[a]));
        }
        z
    }
}

#[inline(always)]
unsafe fn absolute<L: Lanes>(v: L) -> L {
    // SAFETY: within a kernel.
    unsafe { v.max(L::splat(L::Element::of(0.0)).sub(v)) }
}
