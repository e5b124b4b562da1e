//! The adjoint of the minimum of an energy.

use candle_core::Tensor;

use super::policy::{Adjoint, AdjointInfo, Policy, Unconverged};
use super::unrolled;
use crate::linear::{
    conjugate_gradients, minres, Krylov, LinearOperator, LinearOptions, LinearSolve, LinearStop,
    Preconditioner,
};
use crate::ops::{combine, copy, dot, Curvature};
use crate::problem::{ImplicitProblem, Linearisation};
use crate::{Error, Result, Rng};

/// To such residuals the block diagonal alone solves Gauss-Newton systems of many channels in as little time.
const LOOSE: f64 = 1e-2;

impl Adjoint {
    /// The cotangents of the problem's data, in its own order, for the cotangent of its optimum `theta`.
    ///
    /// # Errors
    /// [`Error::Data`] when the solve did not converge and the adjoint refuses such; those of the problem.
    pub fn pullback(
        &self,
        problem: &dyn ImplicitProblem,
        theta: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Vec<Tensor>, AdjointInfo)> {
        if let Policy::Unrolled { steps } = self.policy {
            let (data, residual) = unrolled::pullback(problem, theta, cotangent, steps)?;
            let done = LinearSolve {
                steps,
                residual,
                stop: LinearStop::MaxSteps,
            };
            let info = AdjointInfo::of(self.policy, "unrolled", done);
            return Ok((data, info));
        }
        let (q, info) = self.solve(problem, theta, cotangent)?;
        Ok((problem.data_pullback(theta, &q)?, info))
    }

    /// The solution `q` of the policy's system at `theta` for the right-hand side `cotangent`.
    ///
    /// # Errors
    /// As [`Adjoint::pullback`]; [`Error::InvalidArgument`] for [`Policy::Unrolled`], which has no such system.
    pub fn solve(
        &self,
        problem: &dyn ImplicitProblem,
        theta: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Tensor, AdjointInfo)> {
        let (q, method, solved) = self.attempt(problem, theta, cotangent)?;
        let info = AdjointInfo::of(self.policy, method, solved);
        if !self.is_missed(&solved) {
            return Ok((q, info));
        }
        match self.unconverged {
            Unconverged::Warn => Ok((q, info)),
            Unconverged::Refuse => Err(self.refusal(method, &solved)),
            Unconverged::FallBack => {
                let gauss_newton = Self {
                    policy: Policy::GaussNewton,
                    ..*self
                };
                let (q, method, again) = gauss_newton.attempt(problem, theta, cotangent)?;
                let info = AdjointInfo {
                    products: solved.steps + again.steps,
                    fell_back: true,
                    ..AdjointInfo::of(self.policy, method, again)
                };
                Ok((q, info))
            }
        }
    }

    fn attempt(
        &self,
        problem: &dyn ImplicitProblem,
        theta: &Tensor,
        cotangent: &Tensor,
    ) -> Result<(Tensor, &'static str, LinearSolve)> {
        let gradient = theta.zeros_like()?;
        let cotangent = cotangent.to_dtype(theta.dtype())?.contiguous()?;
        let model = |curvature| problem.curvature(theta, curvature, &gradient);
        match self.policy {
            Policy::GaussNewton => {
                let model = model(Curvature::GaussNewton)?;
                let whole = &*model.preconditioner;
                let chosen = match whole.local() {
                    Some(blocks) if self.tolerance >= LOOSE => blocks,
                    _ => whole,
                };
                let (q, solved) =
                    definite(&model, chosen, &cotangent, self.tolerance, self.products)?;
                Ok((q, "cg", solved))
            }
            Policy::Exact => {
                let model = model(Curvature::Newton)?;
                let (q, solved) = definite(
                    &model,
                    &*model.preconditioner,
                    &cotangent,
                    self.tolerance,
                    self.products,
                )?;
                if solved.stop != LinearStop::NegativeCurvature {
                    return Ok((q, "cg", solved));
                }
                let (q, mut again) = minres(
                    &*model.operator,
                    &*model.preconditioner,
                    &scaled(&cotangent, model.scale)?,
                    self.tolerance,
                    self.products,
                )?;
                again.steps += solved.steps;
                Ok((q, "minres", again))
            }
            Policy::Truncated { products } => {
                let model = model(Curvature::Newton)?;
                let (q, solved) =
                    definite(&model, &*model.preconditioner, &cotangent, 0.0, products)?;
                Ok((q, "cg", solved))
            }
            Policy::Phantom { steps } => neumann(&model(Curvature::Newton)?, &cotangent, steps),
            Policy::JacobianFree => neumann(&model(Curvature::Newton)?, &cotangent, 1),
            Policy::Block { damping } => {
                let q = problem.solve_blocks(theta, damping, &cotangent)?;
                let done = LinearSolve {
                    steps: 0,
                    residual: 0.0,
                    stop: LinearStop::Converged,
                };
                Ok((q, "direct", done))
            }
            Policy::Unrolled { .. } => Err(Error::argument(
                "adjoint",
                "unrolled steps have no linear system; use Adjoint::pullback",
            )),
        }
    }
}

/// Both sides of a model are scaled alike.
fn scaled(cotangent: &Tensor, scale: f64) -> Result<Tensor> {
    if scale == 1.0 {
        return Ok(cotangent.clone());
    }
    Ok((cotangent * scale)?)
}

/// Conjugate gradients on a model.
fn definite(
    model: &Linearisation,
    preconditioner: &dyn Preconditioner,
    cotangent: &Tensor,
    tolerance: f64,
    products: usize,
) -> Result<(Tensor, LinearSolve)> {
    let krylov = Krylov::new(cotangent.shape(), cotangent.dtype(), cotangent.device())?;
    copy(&scaled(cotangent, model.scale)?, &krylov.r)?;
    let options = LinearOptions {
        tolerance,
        steps: products,
        radius: f64::INFINITY,
    };
    let info = conjugate_gradients(&*model.operator, preconditioner, &krylov, &options)?;
    Ok((krylov.x, info.into()))
}

/// `sum_j (I - t P^-1 H)^j t P^-1 v`, a sum of so many terms; `t` is one over the largest eigenvalue of `P^-1 H`.
fn neumann(
    hessian: &Linearisation,
    cotangent: &Tensor,
    terms: usize,
) -> Result<(Tensor, &'static str, LinearSolve)> {
    let size = dot(cotangent, cotangent)?.sqrt();
    let whole = &*hessian.preconditioner;
    let blocks = whole.local().unwrap_or(whole);
    let t = 1.0 / largest_eigenvalue(&*hessian.operator, blocks, cotangent)?;
    let q = cotangent.zeros_like()?;
    let (rest, step, product) = (cotangent.copy()?, q.zeros_like()?, q.zeros_like()?);
    for _ in 0..terms {
        blocks.apply(&rest, &step)?;
        combine(t * hessian.scale, &step, 1.0, &q)?;
        hessian.operator.apply(&q, &product)?;
        copy(cotangent, &rest)?;
        combine(-1.0 / hessian.scale, &product, 1.0, &rest)?;
    }
    let solved = LinearSolve {
        steps: terms,
        residual: if size > 0.0 {
            dot(&rest, &rest)?.sqrt() / size
        } else {
            0.0
        },
        stop: LinearStop::MaxSteps,
    };
    Ok((q, "neumann", solved))
}

/// The largest eigenvalue of `P^-1 A`, by power iterations from noise; a few per cent too small.
pub(super) fn largest_eigenvalue(
    operator: &dyn LinearOperator,
    preconditioner: &dyn Preconditioner,
    like: &Tensor,
) -> Result<f64> {
    const ITERATIONS: usize = 20;
    let mut rng = Rng::new(1);
    let noise: Vec<f64> = (0..like.elem_count()).map(|_| rng.normal()).collect();
    let noise = Tensor::from_vec(noise, like.shape(), like.device())?;
    let mut v = noise.to_dtype(like.dtype())?;
    let (product, mut next) = (v.zeros_like()?, v.zeros_like()?);
    let mut largest = 0.0;
    for _ in 0..ITERATIONS {
        combine(0.0, &product, 1.0 / dot(&v, &v)?.sqrt(), &v)?;
        operator.apply(&v, &product)?;
        preconditioner.apply(&product, &next)?;
        largest = dot(&next, &next)?.sqrt();
        if !(largest.is_finite() && largest > 0.0) {
            return Err(Error::data(
                "adjoint",
                format!("the curvature is not usable: its largest eigenvalue is {largest}"),
            ));
        }
        std::mem::swap(&mut v, &mut next);
    }
    Ok(largest)
}
