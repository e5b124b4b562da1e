//! The minimal residual method for symmetric systems that need not be definite.

use candle_core::Tensor;

use super::{LinearOperator, LinearSolve, LinearStop, Preconditioner};
use crate::ops::{combine, dot};
use crate::Result;

/// Solves `A x = b` for a symmetric `A`, definite or not, from zero; stops when `||b - A x|| <= tolerance ||b||`, a residual
/// that is computed and not only estimated, or after `steps` products.
///
/// The preconditioner must be positive definite. Paige and Saunders 1975, doi:10.1137/0712047.
///
/// # Errors
/// Those of the operator and the preconditioner.
pub fn minres(
    operator: &dyn LinearOperator,
    preconditioner: &dyn Preconditioner,
    b: &Tensor,
    tolerance: f64,
    steps: usize,
) -> Result<(Tensor, LinearSolve)> {
    let x = b.zeros_like()?;
    let size = dot(b, b)?.sqrt();
    let mut info = LinearSolve {
        steps: 0,
        residual: 1.0,
        stop: LinearStop::MaxSteps,
    };
    if size == 0.0 {
        info.residual = 0.0;
        info.stop = LinearStop::Converged;
        return Ok((x, info));
    }
    // Lanczos vectors before division by the root of their products with the preconditioned ones
    let (mut before, mut here) = (b.zeros_like()?, b.copy()?);
    let (y, product) = (b.zeros_like()?, b.zeros_like()?);
    let (mut w, mut w_before, mut v) = (b.zeros_like()?, b.zeros_like()?, b.zeros_like()?);
    let mut beta = preconditioner.apply(&here, &y)?[0].sqrt();
    let first = beta;
    let (mut beta_before, mut bar, mut epsilon) = (1.0, 0.0, 0.0);
    let (mut cosine, mut sine) = (-1.0, 0.0);
    let mut rest = beta;
    // the residual is computed when its estimate, in the preconditioner's norm, falls below this share
    let mut look = tolerance;
    while info.steps < steps {
        if !beta.is_finite() {
            info.stop = LinearStop::NonFinite;
            break;
        }
        if beta == 0.0 {
            break; // the Krylov space is exhausted
        }
        combine(1.0 / beta, &y, 0.0, &v)?;
        operator.apply(&v, &product)?;
        info.steps += 1;
        let alpha = dot(&v, &product)?;
        let next = product.copy()?;
        combine(-alpha / beta, &here, 1.0, &next)?;
        if info.steps > 1 {
            combine(-beta / beta_before, &before, 1.0, &next)?;
        }
        before = std::mem::replace(&mut here, next);
        beta_before = beta;
        beta = preconditioner.apply(&here, &y)?[0].max(0.0).sqrt();

        let epsilon_before = epsilon;
        let delta = cosine * bar + sine * alpha;
        let gamma_bar = sine * bar - cosine * alpha;
        epsilon = sine * beta;
        bar = -cosine * beta;
        let gamma = gamma_bar.hypot(beta).max(f64::MIN_POSITIVE);
        cosine = gamma_bar / gamma;
        sine = beta / gamma;
        let phi = cosine * rest;
        rest *= sine;

        // w = (v - epsilon_before w_before - delta w) / gamma
        combine(-epsilon_before, &w_before, 1.0, &v)?;
        combine(-delta, &w, 1.0, &v)?;
        combine(0.0, &y, 1.0 / gamma, &v)?;
        std::mem::swap(&mut w_before, &mut w);
        std::mem::swap(&mut w, &mut v);
        combine(phi, &w, 1.0, &x)?;

        if rest <= look * first || info.steps == steps || beta == 0.0 {
            operator.apply(&x, &product)?;
            combine(1.0, b, -1.0, &product)?;
            info.residual = dot(&product, &product)?.sqrt() / size;
            if !info.residual.is_finite() {
                info.stop = LinearStop::NonFinite;
                break;
            }
            if info.residual <= tolerance {
                info.stop = LinearStop::Converged;
                break;
            }
            look *= (0.5 * tolerance / info.residual).min(0.5);
        }
    }
    Ok((x, info))
}
