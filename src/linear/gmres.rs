//! The generalised minimal residual method for systems without symmetry.

use candle_core::Tensor;

use super::{LinearSolve, LinearStop};
use crate::ops::{combine, dot};
use crate::Result;

/// Solves `A x = b` from zero for any operator, given as a function; restarted every `memory` products, whose vectors are
/// kept. Stops when `||b - A x|| <= tolerance ||b||` or after `steps` products.
///
/// Modified Gram-Schmidt and Givens rotations. Saad and Schultz 1986, doi:10.1137/0907058.
///
/// # Errors
/// Those of the operator.
pub fn gmres(
    operator: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    b: &Tensor,
    tolerance: f64,
    steps: usize,
    memory: usize,
) -> Result<(Tensor, LinearSolve)> {
    let x = b.zeros_like()?;
    let size = dot(b, b)?.sqrt();
    let mut info = LinearSolve {
        steps: 0,
        residual: if size == 0.0 { 0.0 } else { 1.0 },
        stop: if size == 0.0 {
            LinearStop::Converged
        } else {
            LinearStop::MaxSteps
        },
    };
    let mut r = b.copy()?;
    while info.stop == LinearStop::MaxSteps && info.steps < steps {
        let length = dot(&r, &r)?.sqrt();
        let budget = memory.max(1).min(steps - info.steps);
        let mut basis = vec![(&r * (1.0 / length))?];
        // columns of the triangular factor, and the rotated right-hand side
        let mut columns: Vec<Vec<f64>> = Vec::new();
        let mut rotations: Vec<(f64, f64)> = Vec::new();
        let mut right = vec![length];
        for k in 0..budget {
            let w = operator(&basis[k])?.contiguous()?.copy()?;
            info.steps += 1;
            let mut column = Vec::with_capacity(k + 2);
            for v in &basis {
                let h = dot(v, &w)?;
                combine(-h, v, 1.0, &w)?;
                column.push(h);
            }
            let last = dot(&w, &w)?.sqrt();
            if !last.is_finite() {
                info.stop = LinearStop::NonFinite;
                break;
            }
            for (i, &(c, s)) in rotations.iter().enumerate() {
                let (above, below) = (column[i], column[i + 1]);
                column[i] = c * above + s * below;
                column[i + 1] = c * below - s * above;
            }
            let pivot = column[k].hypot(last).max(f64::MIN_POSITIVE);
            let (c, s) = (column[k] / pivot, last / pivot);
            rotations.push((c, s));
            column[k] = pivot;
            columns.push(column);
            right.push(-s * right[k]);
            right[k] *= c;
            if right[k + 1].abs() <= tolerance * size || last == 0.0 {
                break;
            }
            basis.push((w * (1.0 / last))?);
        }
        let n = columns.len();
        let mut y = right[..n].to_vec();
        for i in (0..n).rev() {
            for j in i + 1..n {
                y[i] -= columns[j][i] * y[j];
            }
            y[i] /= columns[i][i];
        }
        for (y, v) in y.iter().zip(&basis) {
            combine(*y, v, 1.0, &x)?;
        }
        if info.stop == LinearStop::NonFinite || n == 0 {
            break;
        }
        // the true residual, also where the next cycle starts
        r = (b - operator(&x)?)?.contiguous()?;
        info.steps += 1;
        info.residual = dot(&r, &r)?.sqrt() / size;
        if info.residual <= tolerance {
            info.stop = LinearStop::Converged;
        } else if !info.residual.is_finite() {
            info.stop = LinearStop::NonFinite;
        }
    }
    Ok((x, info))
}
