//! Levenberg-Marquardt over the parameters of a linear map.

use super::level::{AlignmentLevel, Fit};
use crate::linear::cholesky_solve;
use crate::solver::{Iteration, Status};
use crate::transform::{Linear, LinearKind};
use crate::{Affine, Result};

/// When a descent ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Iterations at most.
    pub steps: usize,
    /// Share of the energy that an iteration must gain.
    pub decrease: f64,
}

/// Where a descent came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descent {
    pub affine: Affine,
    pub fit: Fit,
    pub iterations: usize,
    pub status: Status,
}

/// Steps that move no corner by more than this share of a voxel end the descent.
const SMALL: f64 = 0.01;
/// A step must keep this share of the overlap at the start.
const KEPT: f64 = 0.5;
/// The damping at the start, its factors after a good and a bad step, and where it gives up.
const DAMPING: f64 = 1e-3;
const LOWER: f64 = 0.2;
const RAISE: f64 = 6.0;
const LARGEST: f64 = 1e6;

/// Lowers the energy from `affine` by maps of a kind about the middle of the fixed grid, each composed before what was
/// found so far. Never returns a worse map than it was given.
pub(super) fn descend(
    level: &AlignmentLevel,
    kind: LinearKind,
    start: &Affine,
    limits: Limits,
    watch: &mut dyn FnMut(&Iteration) -> Result<()>,
) -> Result<Descent> {
    let linear = Linear::new(kind, level.fixed.rank(), level.fixed.centre())?;
    let corners = level.fixed.corners();
    let small = SMALL * level.moving.finest_spacing();
    let mut now = Descent {
        affine: *start,
        fit: level.fit(start)?,
        iterations: 0,
        status: Status::MaxSteps,
    };
    let least_overlap = KEPT * now.fit.overlap;
    let mut damping = DAMPING;
    let (mut first, mut length) = (0.0, 0.0);
    for step in 0..=limits.steps {
        let model = level.linearise(&now.affine, &linear)?;
        let slope = model.gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        if step == 0 {
            first = slope;
        }
        watch(&Iteration {
            step,
            energy: model.energy,
            gradient: if first > 0.0 { slope / first } else { 0.0 },
            products: 0,
            length,
            regional: 0,
        })?;
        if slope == 0.0 {
            now.status = Status::Converged;
            break;
        }
        if step == limits.steps {
            break;
        }
        let n = model.gradient.len();
        let down: Vec<f64> = model.gradient.iter().map(|g| -g).collect();
        let next = loop {
            if damping > LARGEST {
                break None;
            }
            let mut matrix = model.matrix.clone();
            for k in 0..n {
                let entry = &mut matrix[k * n + k];
                // a direction that changes nothing, as across a single slice, stays as it is
                *entry = if *entry > 0.0 {
                    *entry * (1.0 + damping)
                } else {
                    1.0
                };
            }
            if let Some(parameters) = cholesky_solve(&matrix, &down) {
                let affine = now.affine.compose(&linear.affine(&parameters)?);
                if affine.determinant() > 0.0 {
                    let fit = level.fit(&affine)?;
                    if fit.energy < now.fit.energy && fit.overlap >= least_overlap {
                        break Some((affine, fit));
                    }
                    if affine.distance_over(&now.affine, &corners) < small {
                        break None;
                    }
                }
            }
            damping = (damping * RAISE).max(DAMPING);
        };
        let Some((affine, fit)) = next else {
            now.status = Status::Stalled;
            break;
        };
        length = 1.0 / (1.0 + damping);
        damping *= LOWER;
        let gained = now.fit.energy - fit.energy;
        let moved = affine.distance_over(&now.affine, &corners);
        let done = gained < limits.decrease * now.fit.energy || moved < small;
        now = Descent {
            affine,
            fit,
            iterations: step + 1,
            status: now.status,
        };
        if done {
            now.status = Status::SmallDecrease;
            break;
        }
    }
    Ok(now)
}
