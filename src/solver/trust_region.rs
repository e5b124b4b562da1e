//! Newton's method in a trust region: the certified mode.

use candle_core::Tensor;

use super::regions::solve_apart;
use super::{Certificate, Iteration, Solution, Solver, Status};
use crate::linear::{conjugate_gradients, Krylov, LinearInfo, LinearOptions, LinearStop};
use crate::ops::{convert, copy, dot, Curvature};
use crate::problem::{Linearisation, Problem};
use crate::{Result, Rng};

/// Trust-region Newton-CG (Steihaug) to a tight tolerance; the Hessian at the end is searched for negative curvature.
///
/// Far from the minimum, and after steps that negative curvature cut short, a step takes the Hessian projected to be
/// positive semidefinite ([`Curvature::Projected`]): it moves everywhere at once where a step along one direction of
/// negative curvature would not. Steps that the energy rejects are halved before the region shrinks (Nocedal and Yuan
/// 1998, in Advances in Nonlinear Programming, Kluwer).
///
/// A few places where a fold is about to form would hold the steps of the whole volume short for a long time. Where nearly
/// all of the gradient lies in a small part of it ([`Problem::regions`]), such places are solved apart, each with a region of
/// trust of its own and everything around it held, as in a nonlinear Schwarz method (Cai and Keyes 2002,
/// doi:10.1137/S106482750037620X); steps of the whole follow.
///
/// A solution whose gradient fell to the tolerance and whose Hessian, in full precision, showed no negative curvature in
/// [`probe`](Self::probe) Lanczos steps is a strict local minimum as far as these can tell, and its [`Certificate`] says
/// so: their smallest Ritz value bounds the smallest eigenvalue from above only. Wants double precision and a twice
/// differentiable energy (cubic interpolation). Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.2.
#[derive(Debug, Clone, Copy)]
pub struct TrustRegion {
    /// Stop when `||g|| <= gradient ||g_0||`.
    pub gradient: f64,
    /// At most this many outer iterations.
    pub steps: usize,
    /// Products of one inner solve at most.
    pub products: usize,
    /// Relative residual of an inner solve at most; smaller towards the end.
    pub tolerance: f64,
    /// The projected Hessian is used while `||g|| > projected ||g_0||`.
    pub projected: f64,
    /// Relative residual of an inner solve with it.
    pub projected_tolerance: f64,
    /// Products of the final search for negative curvature at most; without any, no minimum is claimed.
    pub probe: usize,
}

impl Default for TrustRegion {
    fn default() -> Self {
        Self {
            gradient: 1e-6,
            steps: 200,
            products: 200,
            tolerance: 0.03,
            projected: 0.1,
            projected_tolerance: 0.1,
            probe: 200,
        }
    }
}

/// A step is halved at most this often before a smaller region is tried.
const HALVINGS: usize = 8;

/// Regions that are tried for one step.
const RADII: usize = 4;

/// A step cut by negative curvature within this many products is followed by steps with the projected Hessian.
const SHORT: usize = 20;

/// How many of them.
const WAIT: usize = 1;

/// The search for negative curvature ends when the random vector is solved to this share: a direction of which the vector has
/// the usual share is then part of what was seen.
const PROBED: f64 = 1e-8;

/// A region is solved apart until its gradient is this share of what it was,
const REGION_GRADIENT: f64 = 0.01;

/// in at most this many steps.
const REGION_STEPS: usize = 60;

impl Solver for TrustRegion {
    fn name(&self) -> &'static str {
        "trust-region"
    }

    fn solve(
        &self,
        problem: &dyn Problem,
        mut theta: Tensor,
        watch: &mut dyn FnMut(&Iteration) -> Result<()>,
    ) -> Result<Solution> {
        if self.steps == 0 {
            return Solution::skipped(problem, theta);
        }
        let mut run = Run {
            options: self,
            problem,
            krylov: Krylov::new(
                theta.shape(),
                problem.model_type(theta.dtype()),
                theta.device(),
            )?,
            gradient: theta.zeros_like()?,
            direction: theta.zeros_like()?,
            trial: theta.zeros_like()?,
            radius: f64::INFINITY,
            outside: false,
        };
        let mut iterations: Vec<Iteration> = Vec::new();
        let mut status = Status::MaxSteps;
        let mut certificate = Certificate {
            gradient_ratio: 1.0,
            smallest_ritz: None,
            ritz_residual: None,
            lanczos_steps: 0,
            strict_minimum: false,
        };
        let (mut first, mut last): (f64, Option<(LinearInfo, f64)>) = (0.0, None);
        let mut curvature = Curvature::Projected;
        let mut wait = 0usize;
        // steps that regions took by themselves to come here, where the last step was theirs
        let mut regional: Option<usize> = None;
        for step in 0..=self.steps {
            let model = problem.linearise(&theta, curvature, &run.gradient)?;
            let size = dot(&run.gradient, &run.gradient)?.sqrt();
            if step == 0 {
                first = size;
            }
            let ratio = if first > 0.0 { size / first } else { 0.0 };
            certificate.gradient_ratio = ratio;
            let now = Iteration {
                step,
                energy: model.energy,
                gradient: ratio,
                products: last.map_or(0, |(info, _)| info.steps),
                length: last.map_or(0.0, |(_, taken)| taken),
                regional: regional.unwrap_or(0),
            };
            watch(&now)?;
            iterations.push(now);
            if !model.energy.is_finite() || !ratio.is_finite() {
                status = Status::NonFinite;
                break;
            }
            if ratio <= self.gradient {
                status = Status::Converged;
                if self.probe == 0 {
                    break;
                }
                // the model of the steps is given back before the Hessian in full precision allocates
                drop(model);
                let info = run.probe(&theta, self.probe)?;
                certificate.smallest_ritz = Some(info.smallest_ritz);
                certificate.ritz_residual =
                    info.ritz_residual.is_finite().then_some(info.ritz_residual);
                certificate.lanczos_steps = info.steps;
                certificate.strict_minimum = info.smallest_ritz > 0.0;
                break;
            }
            if step == self.steps {
                break;
            }
            if step > 0 && regional.is_none() {
                let regions = problem.regions(&run.gradient)?;
                if !regions.is_empty() {
                    drop(model);
                    regional = Some(solve_apart(&self.of_region(), problem, &regions, &theta)?);
                    last = None;
                    continue;
                }
            }
            regional = None;
            last = run.step(&theta, &model, curvature, ratio)?;
            if last.is_none() {
                status = if run.outside {
                    Status::AtBoundary
                } else {
                    Status::Stalled
                };
                break;
            }
            std::mem::swap(&mut theta, &mut run.trial);
            if curvature == Curvature::Projected {
                wait = wait.saturating_sub(1);
            } else if last.is_some_and(|(info, _)| {
                info.stop == LinearStop::NegativeCurvature && info.steps < SHORT
            }) {
                wait = WAIT;
            }
            curvature = if ratio > self.projected || wait > 0 {
                Curvature::Projected
            } else {
                Curvature::Newton
            };
        }
        Ok(Solution {
            theta,
            status,
            certificate,
            iterations,
        })
    }
}

impl TrustRegion {
    /// The solver of a region.
    fn of_region(&self) -> Self {
        Self {
            gradient: REGION_GRADIENT,
            steps: REGION_STEPS,
            probe: 0,
            projected: f64::INFINITY,
            ..*self
        }
    }
}

/// What stays from step to step.
struct Run<'a> {
    options: &'a TrustRegion,
    problem: &'a dyn Problem,
    krylov: Krylov,
    gradient: Tensor,
    direction: Tensor,
    trial: Tensor,
    radius: f64,
    /// Whether the last step tried left the domain.
    outside: bool,
}

impl Run<'_> {
    /// One accepted step into `trial`, with smaller and smaller regions; `None` when none helps.
    fn step(
        &mut self,
        theta: &Tensor,
        model: &Linearisation,
        curvature: Curvature,
        ratio: f64,
    ) -> Result<Option<(LinearInfo, f64)>> {
        self.outside = false;
        let newton = curvature == Curvature::Newton;
        let tolerance = if newton {
            // superlinear: ever more exact towards the end, and no more so than the end asks for
            let enough = (0.3 * self.options.gradient / ratio).min(0.1);
            let ahead = ratio.sqrt().clamp(1e-4, self.options.tolerance);
            ahead.max(enough)
        } else {
            self.options.projected_tolerance
        };
        for _ in 0..RADII {
            convert(-model.scale, &self.gradient, &self.krylov.r)?;
            let info = conjugate_gradients(
                &*model.operator,
                &*model.preconditioner,
                &self.krylov,
                &LinearOptions {
                    tolerance,
                    steps: self.options.products,
                    radius: if newton { self.radius } else { f64::INFINITY },
                },
            )?;
            if info.stop == LinearStop::NonFinite {
                return Ok(None);
            }
            if newton && self.radius.is_infinite() && info.stop == LinearStop::NegativeCurvature {
                // there is no scale yet: that of the preconditioned gradient
                self.radius = info.scale;
                continue;
            }
            if let Some(taken) = self.search(theta, model, &info, newton, ratio)? {
                return Ok(Some((info, taken)));
            }
            if !newton {
                break;
            }
        }
        Ok(None)
    }

    /// Halves the proposed step until the energy accepts it, and adapts the region; returns the share taken.
    fn search(
        &mut self,
        theta: &Tensor,
        model: &Linearisation,
        info: &LinearInfo,
        newton: bool,
        ratio: f64,
    ) -> Result<Option<f64>> {
        let at_border = matches!(
            info.stop,
            LinearStop::Radius | LinearStop::NegativeCurvature
        );
        // below the rounding of the energy the model is right and the energy is noise
        let noise = 1e-13 * model.energy.abs();
        let mut t = 1.0;
        for _ in 0..HALVINGS {
            convert(1.0, &self.krylov.x, &self.direction)?;
            let inside = self
                .problem
                .retract(theta, &self.direction, t, &self.trial)?
                && self.problem.contains(&self.trial)?;
            self.outside |= !inside;
            // the retraction may have shortened the step: the model's decrease along what is left
            let slope = -dot(&self.gradient, &self.direction)?;
            convert(1.0, &self.direction, &self.krylov.p)?;
            let bend = model.operator.apply(&self.krylov.p, &self.krylov.q)? / model.scale;
            let predicted = t * slope - 0.5 * t * t * bend;
            let quality = if !inside {
                f64::NEG_INFINITY
            } else if ratio < 1e-3 && predicted.abs() <= noise {
                1.0
            } else if predicted > 0.0 {
                (model.energy - self.problem.value(&self.trial)?) / predicted
            } else {
                f64::NEG_INFINITY
            };
            let size = t * info.length;
            if quality > 1e-4 {
                if !newton {
                    // a region that negative curvature made small recovers
                    if self.radius.is_finite() {
                        self.radius = self.radius.max(size);
                    }
                } else if quality < 0.25 {
                    self.radius = 0.25 * size;
                } else if t < 1.0 {
                    self.radius = size;
                } else if quality > 0.75 && at_border {
                    self.radius = self.radius.max(2.0 * size);
                }
                return Ok(Some(t));
            }
            t *= 0.5;
        }
        self.radius = t * info.length;
        Ok(None)
    }

    /// Lanczos steps with the preconditioned Hessian, in full precision, from a random vector, as conjugate gradients take
    /// them.
    fn probe(&mut self, theta: &Tensor, products: usize) -> Result<LinearInfo> {
        let hessian = self
            .problem
            .curvature(theta, Curvature::Newton, &self.gradient)?;
        self.krylov = Krylov::new(theta.shape(), theta.dtype(), theta.device())?;
        let mut rng = Rng::new(1);
        let noise: Vec<f64> = (0..theta.elem_count()).map(|_| rng.normal()).collect();
        let noise = Tensor::from_vec(noise, theta.shape(), theta.device())?;
        copy(&noise.to_dtype(theta.dtype())?, &self.krylov.r)?;
        conjugate_gradients(
            &*hessian.operator,
            &*hessian.preconditioner,
            &self.krylov,
            &LinearOptions {
                tolerance: PROBED,
                // more steps than there are parameters find what rounding makes up
                steps: products.min(theta.elem_count()),
                radius: f64::INFINITY,
            },
        )
    }
}
