//! Gauss-Newton with conjugate gradients: the fast mode.

use candle_core::Tensor;

use super::{Certificate, Iteration, Solution, Solver, Status};
use crate::linear::{conjugate_gradients, Krylov, LinearOptions, LinearStop};
use crate::ops::{convert, Curvature};
use crate::problem::Problem;
use crate::Result;

/// Gauss-Newton steps by conjugate gradients, with backtracking on the energy and an early stop.
///
/// Steps are halved until the energy falls. For the method on registration see Haber and Modersitzki, "A multilevel
/// method for image registration", SIAM Journal on Scientific Computing 2006. It makes no claim of a minimum: its
/// [`Certificate`] never says so.
#[derive(Debug, Clone, Copy)]
pub struct GaussNewton {
    /// At most this many outer iterations.
    pub steps: usize,
    /// Stop when an iteration lowers the energy by less than this share.
    pub decrease: f64,
    /// Stop when `||g|| <= gradient ||g_0||`.
    pub gradient: f64,
    /// Products of one inner solve at most.
    pub products: usize,
    /// Relative residual of the inner solve.
    pub tolerance: f64,
}

impl Default for GaussNewton {
    fn default() -> Self {
        Self {
            steps: 20,
            decrease: 1e-2,
            gradient: 1e-6,
            products: 30,
            tolerance: 0.1,
        }
    }
}

/// Steps are halved at most this often.
const HALVINGS: usize = 10;

impl Solver for GaussNewton {
    fn name(&self) -> &'static str {
        "gauss-newton"
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
        let model_type = problem.model_type(theta.dtype());
        let krylov = Krylov::new(theta.shape(), model_type, theta.device())?;
        // steps of the model's type need no tensors of their own
        let direct = problem.step_type(theta.dtype()) != theta.dtype();
        let (gradient, descent) = if direct {
            (krylov.r.clone(), krylov.x.clone())
        } else {
            let own = theta.zeros_like()?;
            (own.clone(), own)
        };
        let mut trial = theta.zeros_like()?;
        let mut iterations: Vec<Iteration> = Vec::new();
        let mut first = 0.0;
        let mut ratio = f64::NAN;
        let (mut length, mut products) = (0.0, 0);
        let mut status = Status::MaxSteps;
        let options = LinearOptions {
            tolerance: self.tolerance,
            steps: self.products,
            radius: f64::INFINITY,
        };
        for step in 0..self.steps {
            let model = problem.linearise(&theta, Curvature::GaussNewton, &gradient)?;
            let energy = model.energy;
            if !direct {
                convert(model.scale, &gradient, &krylov.r)?;
            }
            let info =
                conjugate_gradients(&*model.operator, &*model.preconditioner, &krylov, &options)?;
            if step == 0 {
                first = info.right_hand_side / model.scale;
            }
            ratio = if first > 0.0 {
                info.right_hand_side / model.scale / first
            } else {
                0.0
            };
            let now = Iteration {
                step,
                energy,
                gradient: ratio,
                products,
                length,
                regional: 0,
            };
            watch(&now)?;
            iterations.push(now);
            if !energy.is_finite() || info.stop == LinearStop::NonFinite {
                status = Status::NonFinite;
                break;
            }
            if ratio <= self.gradient || first == 0.0 {
                status = Status::Converged;
                break;
            }
            products = info.steps;
            if !direct {
                convert(1.0, &krylov.x, &descent)?;
            }
            length = 1.0;
            let mut next = None;
            for _ in 0..HALVINGS {
                // the solution leads along the gradient, the step against it
                if problem.retract(&theta, &descent, -length, &trial)? {
                    let candidate = problem.value(&trial)?;
                    if candidate < energy {
                        next = Some(candidate);
                        break;
                    }
                }
                length *= 0.5;
            }
            let Some(candidate) = next else {
                status = Status::Stalled;
                break;
            };
            std::mem::swap(&mut theta, &mut trial);
            let done = energy - candidate < self.decrease * energy.abs();
            if done || step + 1 == self.steps {
                let last = Iteration {
                    step: step + 1,
                    energy: candidate,
                    gradient: f64::NAN,
                    products,
                    length,
                    regional: 0,
                };
                watch(&last)?;
                iterations.push(last);
                if done {
                    status = Status::SmallDecrease;
                }
                break;
            }
        }
        Ok(Solution {
            theta,
            status,
            certificate: Certificate {
                gradient_ratio: ratio,
                smallest_ritz: None,
                ritz_residual: None,
                lanczos_steps: 0,
                strict_minimum: false,
            },
            iterations,
        })
    }
}
