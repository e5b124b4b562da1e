//! Blocks of a preconditioner made positive definite.

use rayon::prelude::*;

use crate::ops::real::Real;
use crate::ops::rows::Shared;

/// Voxels of one task.
const CHUNK: usize = 4096;

/// Changes packed blocks `B` so that every `B + diag(c)` has eigenvalues of at least `floor`: those below are mirrored at
/// zero, then raised. Blocks that have them already keep their bits.
pub(super) fn make_definite<T: Real>(blocks: &mut [T], rank: usize, c: &[f64], floor: f64) {
    let entries = rank * (rank + 1) / 2;
    assert_eq!(blocks.len() % entries, 0, "packed blocks");
    let n = blocks.len() / entries;
    let shared = Shared::new(blocks);
    (0..n.div_ceil(CHUNK)).into_par_iter().for_each(|chunk| {
        for voxel in chunk * CHUNK..((chunk + 1) * CHUNK).min(n) {
            // SAFETY: inside the blocks; each task has its own voxels.
            let at = |k: usize| unsafe { &mut *shared.at(k * n + voxel) };
            let mut a = [[0.0; 3]; 3];
            let mut k = 0;
            for i in 0..rank {
                for j in i..rank {
                    a[i][j] = at(k).wide();
                    a[j][i] = a[i][j];
                    k += 1;
                }
                a[i][i] += c[i];
            }
            if exceeds(&a, rank, floor) {
                continue;
            }
            let (values, vectors) = eigen(a, rank);
            let mut k = 0;
            for i in 0..rank {
                for j in i..rank {
                    let mut sum = if i == j { -c[i] } else { 0.0 };
                    for e in 0..rank {
                        sum += values[e].abs().max(floor) * vectors[i][e] * vectors[j][e];
                    }
                    *at(k) = T::of(sum);
                    k += 1;
                }
            }
        }
    });
}

/// Whether all eigenvalues exceed `floor`, by the leading minors of `a - floor I`.
fn exceeds(a: &[[f64; 3]; 3], rank: usize, floor: f64) -> bool {
    let (x, y) = (a[0][0] - floor, a[1][1] - floor);
    let minor = x * y - a[0][1] * a[0][1];
    if rank == 2 {
        return x > 0.0 && minor > 0.0;
    }
    let determinant = (a[2][2] - floor) * minor - a[1][2] * (x * a[1][2] - a[0][1] * a[0][2])
        + a[0][2] * (a[0][1] * a[1][2] - y * a[0][2]);
    x > 0.0 && minor > 0.0 && determinant > 0.0
}

/// Eigenvalues and eigenvectors (columns) of a symmetric matrix of the first `rank` rows, by Jacobi's rotations.
fn eigen(mut a: [[f64; 3]; 3], rank: usize) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut v: [[f64; 3]; 3] =
        std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))));
    for _ in 0..6 {
        for p in 0..rank {
            for q in p + 1..rank {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..rank {
                    let (x, y) = (a[k][p], a[k][q]);
                    (a[k][p], a[k][q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..rank {
                    let (x, y) = (a[p][k], a[q][k]);
                    (a[p][k], a[q][k]) = (c * x - s * y, s * x + c * y);
                    let (x, y) = (v[k][p], v[k][q]);
                    (v[k][p], v[k][q]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    ([a[0][0], a[1][1], a[2][2]], v)
}

#[cfg(test)]
mod tests {
    use super::{eigen, make_definite};

    #[test]
    fn only_indefinite_blocks_change_and_they_become_definite() {
        // three voxels in planes: definite, negative, indefinite off the diagonal
        let mut blocks = [4.0f64, -6.0, 1.0, 0.5, 0.0, 5.0, 3.0, 2.0, 1.0];
        make_definite(&mut blocks, 2, &[1.0, 1.0], 0.1);
        let block = |v: usize| [blocks[v], blocks[3 + v], blocks[6 + v]];
        assert_eq!(block(0), [4.0, 0.5, 3.0]);
        assert!((block(1)[0] - 4.0).abs() < 1e-12, "mirrored: |-6 + 1| - 1");
        let [xx, xy, yy] = block(2);
        let (values, _) = eigen([[xx + 1.0, xy, 0.0], [xy, yy + 1.0, 0.0], [0.0; 3]], 2);
        // 7 and -3 before
        let (low, high) = (values[0].min(values[1]), values[0].max(values[1]));
        assert!(
            (low - 3.0).abs() < 1e-12 && (high - 7.0).abs() < 1e-12,
            "{values:?}"
        );
    }

    #[test]
    fn eigenvalues_of_a_known_matrix() {
        let a = [[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]];
        let (mut values, vectors) = eigen(a, 3);
        for e in 0..3 {
            for i in 0..3 {
                let product: f64 = (0..3).map(|j| a[i][j] * vectors[j][e]).sum();
                assert!((product - values[e] * vectors[i][e]).abs() < 1e-12);
            }
        }
        values.sort_by(f64::total_cmp);
        let root = 2f64.sqrt();
        for (value, exact) in values.iter().zip([2.0 - root, 2.0, 2.0 + root]) {
            assert!((value - exact).abs() < 1e-12);
        }
    }
}
