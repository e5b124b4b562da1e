//! Preconditioned conjugate gradients within a trust region.

use candle_core::{DType, Device, Shape, Tensor};

use super::tridiagonal::{last_entry, smallest_eigenvalue};
use super::{LinearOperator, Preconditioner};
use crate::ops::{clear, combine, dot, zeros};
use crate::Result;

/// When conjugate gradients stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearOptions {
    /// Converged when `||r|| <= tolerance ||b||`.
    pub tolerance: f64,
    /// At most this many products.
    pub steps: usize,
    /// Radius of the trust region in the norm of the preconditioner; infinite for none.
    pub radius: f64,
}

/// Why conjugate gradients stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinearStop {
    /// The residual is small enough.
    Converged,
    /// The budget of products is spent.
    MaxSteps,
    /// A direction with `p' A p <= 0` was met: the operator is not positive definite.
    NegativeCurvature,
    /// The solution left the trust region and was cut at its border.
    Radius,
    /// A NaN or an infinite value appeared, or the preconditioner is not positive definite.
    NonFinite,
}

/// What a linear solve reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearInfo {
    /// Products with the operator.
    pub steps: usize,
    /// `||b||`.
    pub right_hand_side: f64,
    /// `||r|| / ||b||` at the end.
    pub residual: f64,
    /// Why it stopped.
    pub stop: LinearStop,
    /// Smallest Ritz value of `M^-1 A` on the Krylov space that was seen; infinite when no step was taken.
    pub smallest_ritz: f64,
    /// Residual of the Ritz pair, `|beta_k s_k|` of the Lanczos process: an eigenvalue of `M^-1 A` lies within this
    /// distance of the Ritz value. Infinite when no step was taken or the last one was not completed.
    pub ritz_residual: f64,
    /// `||M^-1 b||` in the norm of the preconditioner: the length of the first direction.
    pub scale: f64,
    /// `||x||` in the norm of the preconditioner.
    pub length: f64,
    /// `b' x - 1/2 x' A x`: by how much the quadratic model decreases along the solution.
    pub reduction: f64,
}

/// The four vectors of conjugate gradients, to be reused from solve to solve.
#[derive(Debug)]
pub struct Krylov {
    /// The solution.
    pub x: Tensor,
    /// Right-hand side on entry, residual afterwards.
    pub r: Tensor,
    /// Search direction.
    pub p: Tensor,
    /// Product, then preconditioned residual.
    pub q: Tensor,
}

impl Krylov {
    /// Vectors of this shape and type.
    pub fn new(shape: &Shape, dtype: DType, device: &Device) -> Result<Self> {
        let vector = || zeros(shape, dtype, device);
        Ok(Self {
            x: vector()?,
            r: vector()?,
            p: vector()?,
            q: vector()?,
        })
    }
}

/// Solves `A x = b` by preconditioned conjugate gradients from zero; `b` is `krylov.r` on entry, `x` is `krylov.x`.
///
/// With a finite radius this is Steihaug's truncated method (doi:10.1137/0720042): it stops at negative curvature or
/// where `||x||_M` reaches the radius, on the border in both cases. Without a radius, negative curvature returns the
/// solution so far, or the preconditioned right-hand side when it is met at once.
pub fn conjugate_gradients(
    operator: &dyn LinearOperator,
    preconditioner: &dyn Preconditioner,
    krylov: &Krylov,
    options: &LinearOptions,
) -> Result<LinearInfo> {
    let Krylov { x, r, p, q } = krylov;
    clear(x)?;
    let [mut rz, rr] = preconditioner.apply(r, p)?;
    let mut info = LinearInfo {
        steps: 0,
        right_hand_side: rr.sqrt(),
        residual: 1.0,
        stop: LinearStop::MaxSteps,
        smallest_ritz: f64::INFINITY,
        ritz_residual: f64::INFINITY,
        scale: rz.max(0.0).sqrt(),
        length: 0.0,
        reduction: 0.0,
    };
    if rr == 0.0 {
        info.residual = 0.0;
        info.stop = LinearStop::Converged;
        return Ok(info);
    }
    if !rz.is_finite() || rz <= 0.0 {
        info.stop = LinearStop::NonFinite;
        return Ok(info);
    }
    // ||x||_M^2, x' M p and ||p||_M^2 by recurrence (Conn, Gould and Toint)
    let (mut xx, mut xp, mut pp) = (0.0, 0.0, rz);
    let (mut diagonal, mut off) = (Vec::new(), Vec::new());
    let mut last = (1.0, 0.0);
    while info.steps < options.steps {
        let curvature = operator.apply(p, q)?;
        info.steps += 1;
        if !curvature.is_finite() {
            info.stop = LinearStop::NonFinite;
            break;
        }
        let alpha = rz / curvature;
        diagonal.push(1.0 / alpha + last.1 / last.0);
        let outside = || xx + 2.0 * alpha * xp + alpha * alpha * pp >= options.radius.powi(2);
        if curvature <= 0.0 || outside() {
            info.stop = if curvature <= 0.0 {
                LinearStop::NegativeCurvature
            } else {
                LinearStop::Radius
            };
            let tau = if options.radius.is_finite() {
                let gap = (options.radius.powi(2) - xx).max(0.0);
                gap / (xp + (xp * xp + pp * gap).sqrt())
            } else if info.steps == 1 {
                1.0
            } else {
                0.0
            };
            if tau != 0.0 {
                combine(tau, p, 1.0, x)?;
                combine(-tau, q, 1.0, r)?;
                info.residual = dot(r, r)?.sqrt() / info.right_hand_side;
            }
            info.reduction += tau * rz - 0.5 * tau * tau * curvature;
            xx += 2.0 * tau * xp + tau * tau * pp;
            break;
        }
        let [next, rr] = preconditioner.advance(alpha, p, x, r, q)?;
        info.reduction += 0.5 * alpha * rz;
        info.residual = rr.sqrt() / info.right_hand_side;
        xx += 2.0 * alpha * xp + alpha * alpha * pp;
        let beta = next / rz;
        if beta.is_finite() && beta > 0.0 {
            off.push(beta.sqrt() / alpha);
        }
        if info.residual <= options.tolerance {
            info.stop = LinearStop::Converged;
            break;
        }
        if !next.is_finite() || next <= 0.0 {
            info.stop = LinearStop::NonFinite;
            break;
        }
        last = (alpha, beta);
        rz = next;
        combine(1.0, q, beta, p)?;
        xp = beta * (xp + alpha * pp);
        pp = rz + beta * beta * pp;
    }
    info.length = xx.max(0.0).sqrt();
    if !diagonal.is_empty() {
        let (inner, next) = off.split_at(diagonal.len() - 1);
        info.smallest_ritz = smallest_eigenvalue(&diagonal, inner);
        if let Some(beta) = next.first() {
            info.ritz_residual = beta * last_entry(&diagonal, inner, info.smallest_ritz);
        }
    }
    Ok(info)
}
