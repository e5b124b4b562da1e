//! Eigenvectors of small symmetric matrices.

/// Eigenvalues of a symmetric matrix, largest first, and their unit eigenvectors as the columns of a rotation; by
/// cyclic Jacobi rotations.
pub(crate) fn symmetric_eigen(matrix: &[[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut a = *matrix;
    let mut v = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..30 {
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            if a[p][q] == 0.0 {
                continue;
            }
            let theta = 0.5 * (a[q][q] - a[p][p]) / a[p][q];
            let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
            let c = 1.0 / t.hypot(1.0);
            let s = t * c;
            for k in 0..3 {
                let (x, y) = (a[k][p], a[k][q]);
                a[k][p] = c * x - s * y;
                a[k][q] = s * x + c * y;
            }
            for k in 0..3 {
                let (x, y) = (a[p][k], a[q][k]);
                a[p][k] = c * x - s * y;
                a[q][k] = s * x + c * y;
                let (x, y) = (v[k][p], v[k][q]);
                v[k][p] = c * x - s * y;
                v[k][q] = s * x + c * y;
            }
        }
    }
    let mut order = [0, 1, 2];
    order.sort_by(|&i, &j| a[j][j].total_cmp(&a[i][i]));
    let mut vectors: [[f64; 3]; 3] =
        std::array::from_fn(|r| std::array::from_fn(|c| v[r][order[c]]));
    // an odd permutation turns the rotation into a reflection
    let odd = (order[0] > order[1]) ^ (order[0] > order[2]) ^ (order[1] > order[2]);
    if odd {
        vectors.iter_mut().for_each(|row| row[2] = -row[2]);
    }
    (order.map(|i| a[i][i]), vectors)
}

#[cfg(test)]
mod tests {
    use super::symmetric_eigen;
    use crate::Affine;

    #[test]
    fn eigenvectors_are_a_rotation_and_sorted() {
        for a in [
            [[2.0, -1.0, 0.3], [-1.0, 5.0, 0.7], [0.3, 0.7, 1.0]],
            [[1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 2.0]],
            [[4.0, 1.0, 0.0], [1.0, 4.0, 0.0], [0.0, 0.0, 9.0]],
            [[0.0; 3]; 3],
        ] {
            let (values, v) = symmetric_eigen(&a);
            assert!(values[0] >= values[1] && values[1] >= values[2]);
            assert!((Affine::new(v, [0.0; 3]).determinant() - 1.0).abs() < 1e-12);
            for c in 0..3 {
                for r in 0..3 {
                    let product: f64 = (0..3).map(|k| a[r][k] * v[k][c]).sum();
                    assert!((product - values[c] * v[r][c]).abs() < 1e-12, "{a:?}");
                }
            }
        }
    }
}
