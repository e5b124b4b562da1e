//! What a solve returns.

use candle_core::Tensor;

use crate::problem::Problem;
use crate::Result;

/// How a solve ended. None of these is an error: the solution says what it is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The gradient fell below its tolerance.
    Converged,
    /// The energy hardly decreases any more (the early stop of the fast mode).
    SmallDecrease,
    /// The budget of iterations is spent.
    MaxSteps,
    /// No steps were asked for: the start came back.
    Skipped,
    /// No step decreases the energy any more.
    Stalled,
    /// The way down leads out of the domain: a transform that must not fold would.
    AtBoundary,
    /// The energy or the gradient is not finite; the last finite iterate came back.
    NonFinite,
}

/// One outer iteration, for reports and progress.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Iteration {
    /// Counted from 0; the state before any step.
    pub step: usize,
    /// The energy.
    pub energy: f64,
    /// `||g|| / ||g_0||`.
    pub gradient: f64,
    /// Products with the curvature that led here.
    pub products: usize,
    /// Length of the step that led here, as a share of the proposed one.
    pub length: f64,
    /// Steps that regions took by themselves to come here. Their products are not counted.
    pub regional: usize,
}

/// What is known about a solution as a minimum.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Certificate {
    /// `||g|| / ||g_0||`, with `g_0` the gradient at the start of the solve.
    pub gradient_ratio: f64,
    /// Smallest Ritz value of the preconditioned Hessian, in the precision of the parameters, after
    /// [`lanczos_steps`](Self::lanczos_steps) Lanczos steps from a random vector; `None` when the Hessian was never looked
    /// at. It bounds the smallest eigenvalue from above only: a negative value proves a direction of negative curvature, a
    /// positive one says that this many steps found none, not that there is none.
    pub smallest_ritz: Option<f64>,
    /// Residual of that Ritz value, `|beta_k s_k|`: some eigenvalue lies within this distance of it, though not
    /// necessarily the smallest. `None` where the Hessian was not looked at or the Lanczos process ended early.
    pub ritz_residual: Option<f64>,
    /// Lanczos steps from a random vector that found it.
    pub lanczos_steps: usize,
    /// Stationary to the tolerance asked for, and the Lanczos steps saw positive curvature only: a strict local minimum as
    /// far as they can tell.
    pub strict_minimum: bool,
}

/// The result of a solve.
#[derive(Debug, Clone)]
pub struct Solution {
    /// The best iterate.
    pub theta: Tensor,
    /// How the solve ended.
    pub status: Status,
    /// What is known about it.
    pub certificate: Certificate,
    /// All iterations, the start included.
    pub iterations: Vec<Iteration>,
}

impl Solution {
    /// The start of a solve of no steps.
    pub(super) fn skipped(problem: &dyn Problem, theta: Tensor) -> Result<Self> {
        Ok(Self {
            iterations: vec![Iteration {
                step: 0,
                energy: problem.value(&theta)?,
                gradient: 1.0,
                products: 0,
                length: 0.0,
                regional: 0,
            }],
            theta,
            status: Status::Skipped,
            certificate: Certificate {
                gradient_ratio: 1.0,
                smallest_ritz: None,
                ritz_residual: None,
                lanczos_steps: 0,
                strict_minimum: false,
            },
        })
    }

    /// The energy of the best iterate.
    pub fn energy(&self) -> f64 {
        self.iterations.last().map_or(f64::NAN, |i| i.energy)
    }

    /// Products with the curvature, over all iterations.
    pub fn products(&self) -> usize {
        self.iterations.iter().map(|i| i.products).sum()
    }
}
