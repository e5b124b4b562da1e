//! Limited-memory BFGS.

use std::collections::VecDeque;

use candle_core::Tensor;

use super::descent::{descend, unit_length, Limits, Rule};
use super::{Iteration, Solution, Solver};
use crate::ops::{combine, copy, dot};
use crate::problem::Problem;
use crate::Result;

/// L-BFGS (Liu and Nocedal, doi:10.1007/BF01589116) with steps halved until the energy falls far enough (Armijo).
///
/// Pairs of step and change of gradient enter its memory where their product is positive, so that every direction goes
/// down. For transforms that are not updated by addition, pairs are carried from point to point as they are.
#[derive(Debug, Clone, Copy)]
pub struct Lbfgs {
    /// At most this many steps.
    pub steps: usize,
    /// Converged when `||g|| <= gradient ||g_0||`.
    pub gradient: f64,
    /// Done when a step lowers the energy by less than this share.
    pub decrease: f64,
    /// Pairs that are remembered; each takes two tensors of the size of the parameters.
    pub memory: usize,
}

impl Default for Lbfgs {
    fn default() -> Self {
        Self {
            steps: 200,
            gradient: 1e-4,
            decrease: 0.0,
            memory: 8,
        }
    }
}

impl Solver for Lbfgs {
    fn name(&self) -> &'static str {
        "lbfgs"
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
        let mut rule = Memory {
            last: theta.zeros_like()?,
            pairs: VecDeque::new(),
            limit: self.memory,
        };
        descend(problem, theta, &limits, &mut rule, watch)
    }
}

/// A step, the change of the gradient over it, and their product.
struct Pair {
    step: Tensor,
    change: Tensor,
    product: f64,
}

/// The last pairs, oldest first.
struct Memory {
    last: Tensor,
    pairs: VecDeque<Pair>,
    limit: usize,
}

impl Memory {
    fn remember(&mut self, gradient: &Tensor, step: &Tensor) -> Result<()> {
        let oldest = if self.pairs.len() < self.limit {
            None
        } else {
            self.pairs.pop_front()
        };
        let mut pair = match oldest {
            Some(pair) => pair,
            None => Pair {
                step: step.zeros_like()?,
                change: step.zeros_like()?,
                product: 0.0,
            },
        };
        copy(step, &pair.step)?;
        copy(gradient, &pair.change)?;
        combine(-1.0, &self.last, 1.0, &pair.change)?;
        pair.product = dot(&pair.step, &pair.change)?;
        let (s, y) = (dot(step, step)?, dot(&pair.change, &pair.change)?);
        if pair.product > 1e-10 * (s * y).sqrt() {
            self.pairs.push_back(pair);
        }
        Ok(())
    }
}

impl Rule for Memory {
    fn propose(&mut self, gradient: &Tensor, step: &Tensor, first: bool) -> Result<()> {
        if !first && self.limit > 0 {
            self.remember(gradient, step)?;
        }
        copy(gradient, &self.last)?;
        copy(gradient, step)?;
        let mut shares = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let share = dot(&pair.step, step)? / pair.product;
            combine(-share, &pair.change, 1.0, step)?;
            shares.push(share);
        }
        let scale = match self.pairs.back() {
            Some(pair) => pair.product / dot(&pair.change, &pair.change)?,
            None => unit_length(gradient)?,
        };
        combine(0.0, gradient, -scale, step)?;
        for (pair, share) in self.pairs.iter().zip(shares.iter().rev()) {
            let back = dot(&pair.change, step)? / pair.product;
            combine(-share - back, &pair.step, 1.0, step)?;
        }
        Ok(())
    }
}
