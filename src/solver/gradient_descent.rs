//! Steepest descent.

use candle_core::Tensor;

use super::descent::{descend, unit_length, Limits, Rule};
use super::{Iteration, Solution, Solver};
use crate::ops::{convert, copy, dot};
use crate::problem::Problem;
use crate::Result;

/// Gradient descent with the step lengths of Barzilai and Borwein (doi:10.1093/imanum/8.1.141), halved until the energy
/// falls far enough (Armijo).
///
/// The first step moves no entry by more than one unit (a voxel, for displacements).
#[derive(Debug, Clone, Copy)]
pub struct GradientDescent {
    /// At most this many steps.
    pub steps: usize,
    /// Converged when `||g|| <= gradient ||g_0||`.
    pub gradient: f64,
    /// Done when a step lowers the energy by less than this share.
    pub decrease: f64,
}

impl Default for GradientDescent {
    fn default() -> Self {
        Self {
            steps: 500,
            gradient: 1e-4,
            decrease: 0.0,
        }
    }
}

impl Solver for GradientDescent {
    fn name(&self) -> &'static str {
        "gradient-descent"
    }

    fn solve(
        &self,
        problem: &dyn Problem,
        theta: Tensor,
        watch: &mut dyn FnMut(&Iteration) -> Result<()>,
    ) -> Result<Solution> {
        let limits = Limits {
            steps: self.steps,
            gradient: self.gradient,
            decrease: self.decrease,
            search: true,
        };
        let mut rule = Secant {
            last: theta.zeros_like()?,
            length: 0.0,
        };
        descend(problem, theta, &limits, &mut rule, watch)
    }
}

/// The length of a step from the change of the gradient over the last one.
struct Secant {
    last: Tensor,
    length: f64,
}

impl Rule for Secant {
    fn propose(&mut self, gradient: &Tensor, step: &Tensor, first: bool) -> Result<()> {
        self.length = if first {
            unit_length(gradient)?
        } else {
            let change = dot(step, gradient)? - dot(step, &self.last)?;
            if change > 0.0 {
                dot(step, step)? / change
            } else {
                2.0 * self.length
            }
        };
        copy(gradient, &self.last)?;
        convert(-self.length, gradient, step)
    }
}
