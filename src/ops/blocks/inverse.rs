//! Rows of the inverse of the system's block diagonal.

use super::run::{counts, PAIR, RUN};
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{sum_over_rows, Shared};

/// A pivot that is negative by more than this share of its diagonal entry is no rounding, of half-precision blocks either.
const ROUNDING: f64 = 1e-2;

/// The least diagonal beside a block: its reciprocal is finite in single precision.
const LEAST: f64 = 1e-30;

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
