//! Small dense symmetric positive definite systems.

/// Solves `A x = b` for the `n x n` symmetric matrix `A` (row by row, the lower triangle is read); none when `A` is not
/// positive definite to working precision.
pub(crate) fn cholesky_solve(matrix: &[f64], right: &[f64]) -> Option<Vec<f64>> {
    let n = right.len();
    let mut l = matrix.to_vec();
    for j in 0..n {
        let mut pivot = l[j * n + j];
        let whole = pivot;
        for k in 0..j {
            pivot -= l[j * n + k] * l[j * n + k];
        }
        if !(pivot > 1e-14 * whole && pivot.is_finite()) {
            return None;
        }
        let root = pivot.sqrt();
        l[j * n + j] = root;
        for i in j + 1..n {
            let mut sum = l[i * n + j];
            for k in 0..j {
                sum -= l[i * n + k] * l[j * n + k];
            }
            l[i * n + j] = sum / root;
        }
    }
    let mut x = right.to_vec();
    for i in 0..n {
        for k in 0..i {
            x[i] -= l[i * n + k] * x[k];
        }
        x[i] /= l[i * n + i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            x[i] -= l[k * n + i] * x[k];
        }
        x[i] /= l[i * n + i];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::cholesky_solve;
    use crate::Rng;

    #[test]
    fn solves_what_is_definite_and_refuses_what_is_not() {
        let n = 12;
        let mut rng = Rng::new(1);
        let b: Vec<f64> = (0..n * n).map(|_| rng.normal()).collect();
        let mut a = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..n {
                a[i * n + j] = (0..n).map(|k| b[i * n + k] * b[j * n + k]).sum();
            }
        }
        let x: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let right: Vec<f64> = (0..n)
            .map(|i| (0..n).map(|j| a[i * n + j] * x[j]).sum())
            .collect();
        let found = cholesky_solve(&a, &right).expect("definite");
        for (x, y) in x.iter().zip(&found) {
            assert!((x - y).abs() < 1e-8, "{x} {y}");
        }
        assert!(cholesky_solve(&[1.0, 2.0, 2.0, 1.0], &[1.0, 1.0]).is_none());
        assert!(cholesky_solve(&[1.0, 1.0, 1.0, 1.0], &[1.0, 1.0]).is_none());
        assert!(cholesky_solve(&[f64::NAN], &[1.0]).is_none());
    }
}
