//! What the first-order methods share: the loop around a rule that turns gradients into steps.

use candle_core::{DType, Tensor};

use super::{Certificate, Iteration, Solution, Status};
use crate::ops::{combine, copy, dot, Curvature};
use crate::problem::Problem;
use crate::Result;

/// Steps are halved at most this often.
const HALVINGS: usize = 40;

/// The share of the decrease promised by the slope that a step must reach (Armijo).
const ARMIJO: f64 = 1e-4;

/// Energies are rounded: a rise by less than this share is none.
const ROUNDING: f64 = 1e-13;

/// When a descent ends, and how careful it is.
pub(super) struct Limits {
    /// At most this many steps.
    pub steps: usize,
    /// Converged when `||g|| <= gradient ||g_0||`.
    pub gradient: f64,
    /// Done when a step lowers the energy by less than this share.
    pub decrease: f64,
    /// Whether steps are shortened until the energy falls.
    pub search: bool,
}

/// How a method finds its steps.
pub(super) trait Rule {
    /// Writes the next step to `step`, which holds the one that led here unless this is the first.
    fn propose(&mut self, gradient: &Tensor, step: &Tensor, first: bool) -> Result<()>;
}

/// Minimises by the steps of a rule; the best iterate comes back.
pub(super) fn descend(
    problem: &dyn Problem,
    mut theta: Tensor,
    limits: &Limits,
    rule: &mut dyn Rule,
    watch: &mut dyn FnMut(&Iteration) -> Result<()>,
) -> Result<Solution> {
    if limits.steps == 0 {
        return Solution::skipped(problem, theta);
    }
    let (gradient, step) = (theta.zeros_like()?, theta.zeros_like()?);
    let mut trial = theta.zeros_like()?;
    let best_theta = theta.zeros_like()?;
    let mut best: Option<Iteration> = None;
    let mut iterations: Vec<Iteration> = Vec::new();
    let mut status = Status::MaxSteps;
    let (mut start, mut length) = (0.0, 0.0);
    for number in 0..=limits.steps {
        let energy = problem
            .linearise(&theta, Curvature::GaussNewton, &gradient)?
            .energy;
        let norm = dot(&gradient, &gradient)?.sqrt();
        if number == 0 {
            start = norm;
        }
        let now = Iteration {
            step: number,
            energy,
            gradient: if start == 0.0 { 0.0 } else { norm / start },
            products: 0,
            length,
            regional: 0,
        };
        watch(&now)?;
        let before = iterations.last().map(|i| i.energy);
        iterations.push(now);
        if !energy.is_finite() || !norm.is_finite() {
            status = Status::NonFinite;
            break;
        }
        if best.is_none_or(|best| energy <= best.energy) {
            copy(&theta, &best_theta)?;
            best = Some(now);
        }
        if now.gradient <= limits.gradient {
            status = Status::Converged;
            break;
        }
        if before.is_some_and(|before| before - energy < limits.decrease * before.abs()) {
            status = Status::SmallDecrease;
            break;
        }
        if number == limits.steps {
            break;
        }
        rule.propose(&gradient, &step, number == 0)?;
        match advance(
            problem,
            (&theta, energy),
            &gradient,
            &step,
            &trial,
            limits.search,
        )? {
            Ok(share) => length = share,
            Err(reason) => {
                status = reason;
                break;
            }
        }
        std::mem::swap(&mut theta, &mut trial);
    }
    if let Some(best) = best {
        if iterations.last().is_some_and(|last| last.step != best.step) {
            iterations.push(best);
        }
        theta = best_theta;
    }
    Ok(Solution {
        theta,
        status,
        certificate: Certificate {
            gradient_ratio: best.map_or(f64::NAN, |best| best.gradient),
            smallest_ritz: None,
            ritz_residual: None,
            lanczos_steps: 0,
            strict_minimum: false,
        },
        iterations,
    })
}

/// Goes along `step`, halving it until `trial` is admissible; leaves in `step` what was taken and returns its share of
/// the proposal, or why none was.
fn advance(
    problem: &dyn Problem,
    (theta, energy): (&Tensor, f64),
    gradient: &Tensor,
    step: &Tensor,
    trial: &Tensor,
    search: bool,
) -> Result<std::result::Result<f64, Status>> {
    let mut share = 1.0;
    let mut inside = true;
    for _ in 0..HALVINGS {
        inside = problem.retract(theta, step, share, trial)?;
        // the retraction may have shortened the step, so the slope is taken afterwards
        if inside
            && (!search
                || problem.value(trial)?
                    <= energy
                        + ARMIJO * share * dot(gradient, step)?.min(0.0)
                        + ROUNDING * energy.abs())
        {
            combine(0.0, gradient, share, step)?;
            return Ok(Ok(share));
        }
        share *= 0.5;
    }
    Ok(Err(if inside {
        Status::Stalled
    } else {
        Status::AtBoundary
    }))
}

/// One over the largest absolute entry: the length of a first step that moves nothing by more than one unit.
pub(super) fn unit_length(gradient: &Tensor) -> Result<f64> {
    let largest: f64 = gradient
        .abs()?
        .max_all()?
        .to_dtype(DType::F64)?
        .to_scalar()?;
    Ok(1.0 / largest.max(f64::MIN_POSITIVE))
}
