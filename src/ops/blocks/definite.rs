//! Blocks of a model or a preconditioner made definite.

use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;
use crate::ops::rows::{for_rows, Shared};

/// Sweeps of Jacobi's rotations: convergence is quadratic, and five reach double precision.
const SWEEPS: usize = 5;

/// Keeps the tangent of a rotation finite where there is nothing to rotate; its reciprocal is finite in single precision.
const LEAST: f64 = 1e-30;

/// Changes packed blocks `B` so that every `B + diag(c)` has eigenvalues of at least `floor`: smaller ones are
/// mirrored at zero, then raised to it. Blocks that have them already keep their values.
pub(super) fn make_definite<T: Real>(blocks: &mut [T], rank: usize, c: &[f64], floor: f64) {
    if rank == 2 {
        bounded::<T, 2>(blocks, c, floor);
    } else {
        bounded::<T, 3>(blocks, c, floor);
    }
}

fn bounded<T: Real, const D: usize>(blocks: &mut [T], c: &[f64], floor: f64) {
    let entries = D * (D + 1) / 2;
    assert_eq!(blocks.len() % entries, 0, "packed blocks");
    let n = blocks.len() / entries;
    let blocks = Shared::new(blocks);
    for_rows(n, 1, |range| {
        dispatch(Bounded::<'_, T, D> {
            blocks,
            n,
            range,
            c,
            floor,
        });
    });
}

struct Bounded<'a, T, const D: usize> {
    blocks: Shared<T>,
    n: usize,
    range: std::ops::Range<usize>,
    c: &'a [f64],
    floor: f64,
}

impl<T: Real, const D: usize> Kernel<T> for Bounded<'_, T, D> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        // SAFETY: lengths were checked; each task has its own voxels.
        unsafe {
            let (zero, one) = (L::constant(0.0), L::constant(1.0));
            let floor = L::constant(self.floor);
            let mut c = [zero; D];
            for i in 0..D {
                c[i] = L::constant(self.c[i]);
            }
            let mut at = self.range.start;
            while at < self.range.end {
                let count = (self.range.end - at).min(L::COUNT);
                let mut a = [[zero; D]; D];
                let mut old = [zero; 6];
                let mut k = 0;
                for i in 0..D {
                    for j in i..D {
                        old[k] = L::load_some(self.blocks.at(k * self.n + at), count);
                        a[i][j] = old[k];
                        a[j][i] = old[k];
                        k += 1;
                    }
                    a[i][i] = a[i][i].add(c[i]);
                }
                let sure = margin::<L, D>(&a, floor);
                let kept = sure.max(zero).where_equal(sure, one);
                if kept.sum() < L::COUNT as f64 {
                    let (values, vectors) = eigen::<L, D>(a);
                    let mut bound = values;
                    for e in 0..D {
                        bound[e] = absolute(values[e]).max(floor);
                    }
                    let mut k = 0;
                    for i in 0..D {
                        for j in i..D {
                            let mut sum = if i == j { zero.sub(c[i]) } else { zero };
                            for e in 0..D {
                                sum = bound[e].mul(vectors[i][e]).fma(vectors[j][e], sum);
                            }
                            kept.where_equal(one, old[k])
                                .add(kept.where_equal(zero, sum))
                                .store_some(self.blocks.at(k * self.n + at), count);
                            k += 1;
                        }
                    }
                }
                at += count;
            }
        }
    }
}

/// Negative where an eigenvalue is below `floor`: the least of the leading minors of `a - floor I`.
#[inline(always)]
unsafe fn margin<L: Lanes, const D: usize>(a: &[[L; D]; D], floor: L) -> L {
    // SAFETY: within a kernel.
    unsafe {
        let (x, y) = (a[0][0].sub(floor), a[1][1].sub(floor));
        let minor = x.mul(y).sub(a[0][1].mul(a[0][1]));
        let least = x.min(minor);
        if D == 2 {
            return least;
        }
        let z = D - 1;
        let first = x.mul(a[1][z]).sub(a[0][1].mul(a[0][z]));
        let second = a[0][1].mul(a[1][z]).sub(y.mul(a[0][z]));
        let determinant = a[z][z]
            .sub(floor)
            .mul(minor)
            .sub(a[1][z].mul(first))
            .add(a[0][z].mul(second));
        least.min(determinant)
    }
}

/// Eigenvalues and eigenvectors (columns) of symmetric matrices, by Jacobi's rotations.
#[inline(always)]
unsafe fn eigen<L: Lanes, const D: usize>(mut a: [[L; D]; D]) -> ([L; D], [[L; D]; D]) {
    // SAFETY: within a kernel.
    unsafe {
        let (zero, one, two) = (L::constant(0.0), L::constant(1.0), L::constant(2.0));
        let least = L::constant(LEAST);
        let mut v = [[zero; D]; D];
        let mut values = [zero; D];
        for i in 0..D {
            v[i][i] = one;
        }
        for _ in 0..SWEEPS {
            for p in 0..D {
                for q in p + 1..D {
                    let gap = a[q][q].sub(a[p][p]);
                    let double = a[p][q].add(a[p][q]);
                    let size = absolute(gap);
                    let sign = size.where_equal(gap, two).sub(one);
                    let root = double.fma(double, gap.mul(gap)).sqrt();
                    let t = double.mul(sign).div(size.add(root).max(least));
                    let c = one.div(t.fma(t, one).sqrt());
                    let s = t.mul(c);
                    for k in 0..D {
                        let (x, y) = (a[k][p], a[k][q]);
                        a[k][p] = c.mul(x).sub(s.mul(y));
                        a[k][q] = s.mul(x).add(c.mul(y));
                    }
                    for k in 0..D {
                        let (x, y) = (a[p][k], a[q][k]);
                        a[p][k] = c.mul(x).sub(s.mul(y));
                        a[q][k] = s.mul(x).add(c.mul(y));
                        let (x, y) = (v[k][p], v[k][q]);
                        v[k][p] = c.mul(x).sub(s.mul(y));
                        v[k][q] = s.mul(x).add(c.mul(y));
                    }
                }
            }
        }
        for i in 0..D {
            values[i] = a[i][i];
        }
        (values, v)
    }
}

#[inline(always)]
unsafe fn absolute<L: Lanes>(v: L) -> L {
    // SAFETY: within a kernel.
    unsafe { v.max(L::constant(0.0).sub(v)) }
}

#[cfg(test)]
mod tests {
    use super::make_definite;
    use crate::Rng;

    #[test]
    fn only_indefinite_blocks_change_and_they_become_definite() {
        // three voxels in planes: definite, negative, indefinite off the diagonal
        let mut blocks = [4.0f64, -6.0, 1.0, 0.5, 0.0, 5.0, 3.0, 2.0, 1.0];
        make_definite(&mut blocks, 2, &[1.0, 1.0], 0.1);
        let block = |v: usize| [blocks[v], blocks[3 + v], blocks[6 + v]];
        assert_eq!(block(0), [4.0, 0.5, 3.0]);
        assert!((block(1)[0] - 4.0).abs() < 1e-12, "mirrored: |-6 + 1| - 1");
        // eigenvalues 7 and -3 with the diagonal: 7 and 3 afterwards, along the same directions
        for (found, expected) in block(2).iter().zip([4.0, 2.0, 4.0]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    type Matrix = [[f64; 3]; 3];

    fn times(a: &Matrix, b: &Matrix) -> Matrix {
        std::array::from_fn(|i| {
            std::array::from_fn(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum::<f64>())
        })
    }

    fn unpacked(blocks: &[f64], n: usize, v: usize) -> Matrix {
        let place = [[0, 1, 2], [1, 3, 4], [2, 4, 5]];
        place.map(|row| row.map(|k| blocks[k * n + v]))
    }

    #[test]
    fn mirrored_blocks_keep_their_squares_and_become_semidefinite() {
        let n = 37;
        let mut rng = Rng::new(3);
        let before: Vec<f64> = (0..6 * n).map(|_| rng.normal()).collect();
        let mut mirrored = before.clone();
        make_definite(&mut mirrored, 3, &[0.0; 3], 0.0);
        for v in 0..n {
            let (old, new) = (unpacked(&before, n, v), unpacked(&mirrored, n, v));
            let (old, square) = (times(&old, &old), times(&new, &new));
            for i in 0..3 {
                assert!((0..3).all(|j| (old[i][j] - square[i][j]).abs() < 1e-12));
                assert!(new[i][i] >= 0.0);
                for j in 0..3 {
                    let minor = new[i][i] * new[j][j] - new[i][j] * new[j][i];
                    assert!(minor >= -1e-12, "{minor}");
                }
            }
        }
    }
}
