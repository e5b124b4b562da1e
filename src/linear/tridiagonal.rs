//! The smallest eigenvalue of a symmetric tridiagonal matrix.

/// Smallest eigenvalue of the matrix with this diagonal and off-diagonal, by bisection on Sturm sequences.
pub(super) fn smallest_eigenvalue(diagonal: &[f64], off: &[f64]) -> f64 {
    let n = diagonal.len();
    let radius = |i: usize| {
        let left = if i > 0 { off[i - 1].abs() } else { 0.0 };
        let right = if i + 1 < n { off[i].abs() } else { 0.0 };
        left + right
    };
    let mut low = (0..n)
        .map(|i| diagonal[i] - radius(i))
        .fold(f64::INFINITY, f64::min);
    let mut high = (0..n)
        .map(|i| diagonal[i] + radius(i))
        .fold(f64::NEG_INFINITY, f64::max);
    // one eigenvalue lies below `x` exactly when the elimination of T - x meets a negative pivot
    let below = |x: f64| {
        let mut pivot = diagonal[0] - x;
        for i in 1..n {
            if pivot < 0.0 {
                return true;
            }
            pivot = diagonal[i] - x - off[i - 1].powi(2) / pivot.max(f64::MIN_POSITIVE);
        }
        pivot < 0.0
    };
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if below(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    0.5 * (low + high)
}

/// The last entry of the unit eigenvector to the smallest eigenvalue, its absolute value, by inverse iteration.
pub(super) fn last_entry(diagonal: &[f64], off: &[f64], smallest: f64) -> f64 {
    let n = diagonal.len();
    let size = diagonal.iter().fold(0.0f64, |m, d| m.max(d.abs()));
    // just below the eigenvalue the matrix is positive definite, and elimination needs no pivoting
    let shift = smallest - 1e-12 * size.max(f64::MIN_POSITIVE);
    let mut pivot = vec![0.0; n];
    for i in 0..n {
        let below = if i > 0 {
            off[i - 1] * off[i - 1] / pivot[i - 1]
        } else {
            0.0
        };
        pivot[i] = (diagonal[i] - shift - below).max(f64::EPSILON * size);
    }
    let mut x = vec![1.0; n];
    for _ in 0..4 {
        for i in 1..n {
            x[i] -= off[i - 1] / pivot[i - 1] * x[i - 1];
        }
        for i in (0..n).rev() {
            let above = if i + 1 < n { off[i] * x[i + 1] } else { 0.0 };
            x[i] = (x[i] - above) / pivot[i];
        }
        let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt();
        x.iter_mut().for_each(|v| *v /= norm);
    }
    x[n - 1].abs()
}

#[cfg(test)]
mod tests {
    use super::{last_entry, smallest_eigenvalue};

    #[test]
    fn matches_the_closed_form_of_the_second_difference() {
        // eigenvalues 2 - 2 cos(k pi / (n + 1))
        let n = 12;
        let value = smallest_eigenvalue(&vec![2.0; n], &vec![-1.0; n - 1]);
        let exact = 2.0 - 2.0 * (std::f64::consts::PI / (n as f64 + 1.0)).cos();
        assert!((value - exact).abs() < 1e-12, "{value} against {exact}");
        assert!((smallest_eigenvalue(&[1.0, -3.0], &[0.0]) + 3.0).abs() < 1e-12);
    }

    #[test]
    fn eigenvectors_end_as_the_closed_form_says() {
        // sqrt(2 / (n + 1)) sin(n pi / (n + 1))
        let n = 12;
        let (diagonal, off) = (vec![2.0; n], vec![-1.0; n - 1]);
        let found = last_entry(&diagonal, &off, smallest_eigenvalue(&diagonal, &off));
        let wide = n as f64 + 1.0;
        let exact = (2.0 / wide).sqrt() * (std::f64::consts::PI * n as f64 / wide).sin();
        assert!((found - exact).abs() < 1e-9, "{found} against {exact}");
        assert!((last_entry(&[5.0], &[], 5.0) - 1.0).abs() < 1e-12);
    }
}
