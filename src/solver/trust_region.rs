//! Newton's method in a trust region: the certified mode.

use candle_core::Tensor;

use super::{Certificate, GaussNewton, Iteration, Solution, Solver, Status};
use crate::linear::{conjugate_gradients, Krylov, LinearInfo, LinearOptions, LinearStop};
use crate::ops::{convert, copy, dot, Curvature};
use crate::problem::{Linearisation, Problem};
use crate::{Result, Rng};

/// Trust-region Newton-CG (Steihaug) to a tight tolerance, after some Gauss-Newton steps; the Hessian at the end is
/// searched for negative curvature.
///
/// A solution whose gradient fell to the tolerance and whose Hessian showed none is a strict local minimum as far as
/// a Krylov space can tell, and its [`Certificate`] says so. Wants double precision and a twice differentiable energy
/// (cubic interpolation). Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.2.
#[derive(Debug, Clone, Copy)]
pub struct TrustRegion {
    /// Stop when `||g|| <= gradient ||g_0||`.
    pub gradient: f64,
    /// At most this many outer iterations.
    pub steps: usize,
    /// Products of one inner solve at most.
    pub products: usize,
    /// The Gauss-Newton steps before the first Newton step.
    pub warm: GaussNewton,
    /// Products of the final search for negative curvature.
    pub probe: usize,
}

impl Default for TrustRegion {
    fn default() -> Self {
        Self {
            gradient: 1e-6,
            steps: 200,
            products: 200,
            warm: GaussNewton {
                steps: 12,
                ..GaussNewton::default()
            },
            probe: 100,
        }
    }
}

impl Solver for TrustRegion {
    fn name(&self) -> &'static str {
        "trust-region"
    }

    fn solve(
        &self,
        problem: &dyn Problem,
        theta: Tensor,
        watch: &mut dyn FnMut(&Iteration) -> Result<()>,
    ) -> Result<Solution> {
        let gradient = theta.zeros_like()?;
        problem.linearise(&theta, Curvature::Newton, &gradient)?;
        let first = norm(&gradient)?;
        let warm = self.warm.solve(problem, theta, watch)?;
        let mut run = Run {
            problem,
            krylov: Krylov::new(
                warm.theta.shape(),
                problem.model_type(warm.theta.dtype()),
                warm.theta.device(),
            )?,
            direction: warm.theta.zeros_like()?,
            trial: warm.theta.zeros_like()?,
            gradient,
        };
        let mut theta = warm.theta;
        let mut iterations = warm.iterations;
        let offset = iterations.last().map_or(0, |i| i.step);
        let mut status = Status::MaxSteps;
        let mut radius = f64::INFINITY;
        let mut smallest_ritz = None;
        let (mut products, mut length) = (0, 1.0);
        let mut ratio = f64::NAN;
        let mut outside = false;
        for step in 0..=self.steps {
            let curvature = if ratio.is_nan() || ratio > env("SWITCH", 1e-2) {
                Curvature::Projected
            } else {
                Curvature::Newton
            };
            let mut model = problem.linearise(&theta, curvature, &run.gradient)?;
            let energy = model.energy;
            ratio = if first > 0.0 {
                norm(&run.gradient)? / first
            } else {
                0.0
            };
            let now = Iteration {
                step: offset + step,
                energy,
                gradient: ratio,
                products,
                length,
            };
            if step > 0 {
                watch(&now)?;
                iterations.push(now);
            }
            if !energy.is_finite() || !ratio.is_finite() {
                status = Status::NonFinite;
                break;
            }
            if ratio <= self.gradient {
                if curvature != Curvature::Newton {
                    model = problem.linearise(&theta, Curvature::Newton, &run.gradient)?;
                }
                status = Status::Converged;
                smallest_ritz = Some(run.smallest_ritz(&model, self.probe)?);
                break;
            }
            if step == self.steps {
                break;
            }
            match run.step(
                &theta,
                &model,
                ratio,
                self.products,
                &mut radius,
                &mut outside,
            )? {
                Some((info, taken)) => {
                    products = info.steps;
                    length = taken;
                    std::mem::swap(&mut theta, &mut run.trial);
                }
                None => {
                    status = if outside {
                        Status::AtBoundary
                    } else {
                        Status::Stalled
                    };
                    break;
                }
            }
        }
        Ok(Solution {
            theta,
            status,
            certificate: Certificate {
                gradient_ratio: ratio,
                smallest_ritz,
                strict_minimum: status == Status::Converged
                    && smallest_ritz.is_some_and(|r| r > 0.0),
            },
            iterations,
        })
    }
}

/// A step is halved at most this often before a smaller region is tried.
const HALVINGS: usize = 8;

/// Regions that are tried for one step.
const RADII: usize = 4;

/// What stays from step to step.
struct Run<'a> {
    problem: &'a dyn Problem,
    krylov: Krylov,
    gradient: Tensor,
    direction: Tensor,
    trial: Tensor,
}

impl Run<'_> {
    /// One accepted step into `trial`, with smaller and smaller radii; `None` when no radius helps.
    fn step(
        &mut self,
        theta: &Tensor,
        model: &Linearisation,
        ratio: f64,
        products: usize,
        radius: &mut f64,
        outside: &mut bool,
    ) -> Result<Option<(LinearInfo, f64)>> {
        *outside = false;
        for _ in 0..RADII {
            convert(-model.scale, &self.gradient, &self.krylov.r)?;
            let info = conjugate_gradients(
                &*model.operator,
                &*model.preconditioner,
                &self.krylov,
                &LinearOptions {
                    // superlinear: ever more exact towards the end
                    tolerance: ratio.sqrt().clamp(1e-4, 0.1),
                    steps: products,
                    radius: *radius,
                },
            )?;
            if info.stop == LinearStop::NonFinite {
                return Ok(None);
            }
            if radius.is_infinite() && info.stop == LinearStop::NegativeCurvature {
                // there is no scale yet: that of the preconditioned gradient
                *radius = info.scale;
                continue;
            }
            let at_border = matches!(
                info.stop,
                LinearStop::Radius | LinearStop::NegativeCurvature
            );
            // below the rounding of the energy the model is right and the energy is noise
            let noise = 1e-13 * model.energy.abs();
            let mut t = 1.0;
            for _ in 0..HALVINGS {
                convert(1.0, &self.krylov.x, &self.direction)?;
                let inside = self.problem.retract(theta, &self.direction, t, &self.trial)?
                    && self.problem.contains(&self.trial)?;
                *outside |= !inside;
                // the retraction may have shortened the step: the model's decrease along what is left
                let slope = -dot(&self.gradient, &self.direction)?;
                convert(1.0, &self.direction, &self.krylov.p)?;
                let bend = model.operator.apply(&self.krylov.p, &self.krylov.q)? / model.scale;
                let predicted = t * slope - 0.5 * t * t * bend;
                let actual = if inside {
                    model.energy - self.problem.value(&self.trial)?
                } else {
                    f64::NEG_INFINITY
                };
                let quality = if inside && ratio < 1e-3 && predicted.abs() <= noise {
                    1.0
                } else if predicted > 0.0 {
                    actual / predicted
                } else {
                    f64::NEG_INFINITY
                };
                let size = t * info.length;
                if std::env::var("DBG").is_ok() { println!("      t {t} quality {quality:.3e} predicted {predicted:.3e} inside {inside} stop {:?} n {} radius {:.3e} size {:.3e} res {:.2e}", info.stop, info.steps, *radius, size, info.residual); }
                if quality > 1e-4 {
                    if quality < 0.25 {
                        *radius = 0.25 * size;
                    } else if t < 1.0 {
                        *radius = size;
                    } else if quality > 0.75 && at_border {
                        *radius = (2.0 * size).max(*radius);
                    }
                    return Ok(Some((info, t)));
                }
                if predicted.abs() <= noise {
                    return Ok(None);
                }
                t *= 0.5;
            }
            *radius = t * info.length;
        }
        Ok(None)
    }

    /// The smallest Ritz value of the preconditioned Hessian on the Krylov space of a random vector.
    fn smallest_ritz(&self, model: &Linearisation, products: usize) -> Result<f64> {
        let mut rng = Rng::new(1);
        let noise: Vec<f32> = (0..self.trial.elem_count())
            .map(|_| rng.normal() as f32)
            .collect();
        let noise = Tensor::from_vec(noise, self.trial.shape(), self.trial.device())?;
        copy(&noise, &self.krylov.r)?;
        let info = conjugate_gradients(
            &*model.operator,
            &*model.preconditioner,
            &self.krylov,
            &LinearOptions {
                tolerance: 0.0,
                steps: products,
                radius: f64::INFINITY,
            },
        )?;
        Ok(info.smallest_ritz)
    }
}

fn env(k: &str, d: f64) -> f64 {
    std::env::var(k).ok().map_or(d, |v| v.parse().unwrap())
}

fn norm(x: &Tensor) -> Result<f64> {
    Ok(dot(x, x)?.sqrt())
}
