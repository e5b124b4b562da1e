//! Adam.

use candle_core::Tensor;

use super::descent::{descend, unit_length, Limits, Rule};
use super::{Iteration, Solution, Solver};
use crate::ops::{combine, copy};
use crate::problem::Problem;
use crate::Result;

/// Adam (Kingma and Ba, arXiv:1412.6980) with a rate that falls linearly to zero over the steps.
///
/// Steps may raise the energy; they are halved only where they leave its domain, and the best iterate comes back. The
/// small number in the denominator is `1e-8` times the largest entry of the first gradient, so that the path does not
/// depend on the units of the energy.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    /// The number of steps.
    pub steps: usize,
    /// Converged when `||g|| <= gradient ||g_0||`.
    pub gradient: f64,
    /// The first rate: how far one step moves an entry (in voxels, for displacements).
    pub rate: f64,
    /// Decay of the mean of the gradients.
    pub first: f64,
    /// Decay of the mean of their squares.
    pub second: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Self {
            steps: 300,
            gradient: 1e-4,
            rate: 0.25,
            first: 0.9,
            second: 0.99,
        }
    }
}

impl Solver for Adam {
    fn name(&self) -> &'static str {
        "adam"
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
            decrease: f64::NEG_INFINITY,
            search: false,
        };
        let mut rule = Moments {
            options: *self,
            mean: theta.zeros_like()?,
            square: theta.zeros_like()?,
            least: 0.0,
            count: 0,
        };
        descend(problem, theta, &limits, &mut rule, watch)
    }
}

/// Decaying means of the gradients and of their squares.
struct Moments {
    options: Adam,
    mean: Tensor,
    square: Tensor,
    least: f64,
    count: i32,
}

impl Rule for Moments {
    fn propose(&mut self, gradient: &Tensor, step: &Tensor, first: bool) -> Result<()> {
        let Adam {
            steps,
            rate,
            first: keep,
            second: keep_square,
            ..
        } = self.options;
        if first {
            self.least = 1e-8 / unit_length(gradient)?;
        }
        let rate = rate * (1.0 - f64::from(self.count) / steps as f64);
        self.count += 1;
        combine(1.0 - keep, gradient, keep, &self.mean)?;
        combine(
            1.0 - keep_square,
            &gradient.sqr()?,
            keep_square,
            &self.square,
        )?;
        let square = (&self.square / (1.0 - keep_square.powi(self.count)))?;
        let scale = (square.sqrt()? + self.least)?;
        let mean = (&self.mean * (-rate / (1.0 - keep.powi(self.count))))?;
        copy(&(mean / scale)?, step)
    }
}
