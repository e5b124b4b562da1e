//! Differentiating an iteration step by step: the reference that implicit gradients make unnecessary.

use candle_core::Tensor;

use super::energy::largest_eigenvalue;
use crate::ops::{combine, copy, dot, Curvature};
use crate::problem::ImplicitProblem;
use crate::Result;

/// Momentum of the steps.
const MOMENTUM: f64 = 0.9;

/// Cotangents of the data through `steps` gradient steps with Nesterov's momentum from zero parameters, all of which are kept,
/// and how far their end is from `theta`, relative to its length.
///
/// `theta_{k+1} = y_k - t g(y_k)`, `y_k = theta_k + m (theta_k - theta_{k-1})`, `t` one over the largest eigenvalue of the
/// Hessian at `theta`.
pub(super) fn pullback(
    problem: &dyn ImplicitProblem,
    theta: &Tensor,
    cotangent: &Tensor,
    steps: usize,
) -> Result<(Vec<Tensor>, f64)> {
    let gradient = theta.zeros_like()?;
    let hessian = problem.curvature(theta, Curvature::Newton, &gradient)?;
    let length = hessian.scale / largest_eigenvalue(&*hessian.operator, &(), theta)?;
    drop(hessian);
    let (mut before, mut here) = (theta.zeros_like()?, theta.zeros_like()?);
    let mut points = Vec::with_capacity(steps);
    for _ in 0..steps {
        let y = here.copy()?;
        combine(-MOMENTUM, &before, 1.0 + MOMENTUM, &y)?;
        // the gradient in the parameters, whatever the coordinates of the solver's steps
        problem.curvature(&y, Curvature::GaussNewton, &gradient)?;
        let next = y.copy()?;
        combine(-length, &gradient, 1.0, &next)?;
        before = std::mem::replace(&mut here, next);
        points.push(y);
    }
    let gap = here.copy()?;
    combine(-1.0, theta, 1.0, &gap)?;
    let distance = (dot(&gap, &gap)? / dot(theta, theta)?.max(f64::MIN_POSITIVE)).sqrt();

    // cotangents of theta_{k+1} and theta_k
    let mut after = cotangent.to_dtype(theta.dtype())?.contiguous()?.copy()?;
    let mut at = theta.zeros_like()?;
    let product = theta.zeros_like()?;
    let mut data: Option<Vec<Tensor>> = None;
    for y in points.iter().rev() {
        let step = (&after * length)?;
        let more = problem.data_pullback(y, &step)?;
        data = Some(match data {
            None => more,
            Some(sum) => sum
                .iter()
                .zip(&more)
                .map(|(sum, more)| sum + more)
                .collect::<candle_core::Result<_>>()?,
        });
        let hessian = problem.curvature(y, Curvature::Newton, &gradient)?;
        hessian.operator.apply(&after, &product)?;
        let through = after.copy()?;
        combine(-length / hessian.scale, &product, 1.0, &through)?;
        // y_k is made of theta_k and theta_{k-1}
        combine(1.0 + MOMENTUM, &through, 1.0, &at)?;
        copy(&through, &after)?;
        combine(0.0, &through, -MOMENTUM, &after)?;
        std::mem::swap(&mut after, &mut at);
    }
    let data = match data {
        Some(data) => data,
        None => problem.data_pullback(theta, &theta.zeros_like()?)?,
    };
    Ok((data, distance))
}
