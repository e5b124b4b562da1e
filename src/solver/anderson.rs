//! Fixed points of maps.

use candle_core::Tensor;

use crate::linear::cholesky_solve;
use crate::ops::dot;
use crate::{Error, Result};

/// Anderson acceleration of a fixed-point iteration `theta <- T(theta)`, for maps that need not be gradients, such as learned
/// updates. Anderson 1965, doi:10.1145/321296.321305; in the form of Walker and Ni 2011, doi:10.1137/10078356X.
///
/// Safeguarded: where an accelerated point's residual is more than twice that of the best point so far, the history is
/// forgotten and a plain step is taken from the best point.
#[derive(Debug, Clone, Copy)]
pub struct Anderson {
    /// At most this many evaluations of the map.
    pub steps: usize,
    /// Converged when `||T(theta) - theta|| <= tolerance (1 + ||theta||)`.
    pub tolerance: f64,
    /// Earlier points that are combined; none is the plain iteration.
    pub memory: usize,
}

impl Default for Anderson {
    fn default() -> Self {
        Self {
            steps: 200,
            tolerance: 1e-6,
            memory: 5,
        }
    }
}

/// A fixed point, or the best point that was found.
#[derive(Debug, Clone)]
pub struct FixedPoint {
    /// The point.
    pub theta: Tensor,
    /// Whether its residual fell to the tolerance.
    pub converged: bool,
    /// `||T(theta) - theta||` after each evaluation.
    pub residuals: Vec<f64>,
}

/// A point and its residual `T(theta) - theta`.
struct Point {
    theta: Tensor,
    rest: Tensor,
    size: f64,
}

impl Anderson {
    /// Iterates a map from `theta`.
    ///
    /// # Errors
    /// [`Error::Shape`] when the map changes the shape, and those of the map.
    pub fn solve(
        &self,
        map: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
        theta: &Tensor,
    ) -> Result<FixedPoint> {
        let mut history: Vec<Point> = Vec::new();
        let mut best: Option<Point> = None;
        let mut residuals = Vec::new();
        let mut here = theta.detach().contiguous()?;
        let (mut converged, mut accelerated) = (false, false);
        for _ in 0..self.steps {
            let image = map(&here)?.detach();
            if image.dims() != here.dims() {
                return Err(Error::Shape {
                    what: "image of a fixed-point map",
                    expected: here.dims().to_vec(),
                    got: image.dims().to_vec(),
                });
            }
            let rest = (&image - &here)?.contiguous()?;
            let size = dot(&rest, &rest)?.sqrt();
            residuals.push(size);
            let point = || Point {
                theta: here.clone(),
                rest: rest.clone(),
                size,
            };
            let lost = |best: &Point| !size.is_finite() || size > 2.0 * best.size;
            match best.as_ref().filter(|best| lost(best)) {
                Some(best) if accelerated => {
                    history.clear();
                    here = (&best.theta + &best.rest)?;
                    accelerated = false;
                    continue;
                }
                // the map itself leads astray: the best point is all there is
                Some(_) if !size.is_finite() => break,
                _ => {}
            }
            if best.as_ref().is_none_or(|best| size <= best.size) {
                best = Some(point());
            }
            if size <= self.tolerance * (1.0 + dot(&here, &here)?.sqrt()) {
                converged = true;
                break;
            }
            history.push(point());
            if history.len() > self.memory + 1 {
                history.remove(0);
            }
            here = combined(&history)?;
            accelerated = history.len() > 1;
        }
        let theta = best.map_or(theta.detach(), |best| best.theta);
        Ok(FixedPoint {
            theta,
            converged,
            residuals,
        })
    }
}

/// The image of the combination of earlier points, its weights adding up to one, whose residual is smallest.
fn combined(history: &[Point]) -> Result<Tensor> {
    let last = &history[history.len() - 1];
    let n = history.len() - 1;
    let plain = (&last.theta + &last.rest)?;
    if n == 0 {
        return Ok(plain);
    }
    // differences to the last point
    let differences: Vec<Tensor> = history[..n]
        .iter()
        .map(|point| (&last.rest - &point.rest)?.contiguous())
        .collect::<candle_core::Result<_>>()?;
    let mut matrix = vec![0.0; n * n];
    let mut right = vec![0.0; n];
    for i in 0..n {
        for j in 0..n {
            matrix[i * n + j] = dot(&differences[i], &differences[j])?;
        }
        // keeps nearly parallel differences solvable
        matrix[i * n + i] *= 1.0 + 1e-10;
        right[i] = dot(&differences[i], &last.rest)?;
    }
    let Some(weights) = cholesky_solve(&matrix, &right) else {
        return Ok(plain);
    };
    let mut out = plain;
    for ((weight, point), difference) in weights.iter().zip(history).zip(&differences) {
        let step = ((&last.theta - &point.theta)? + difference)?;
        out = (out - (step * *weight)?)?;
    }
    Ok(out.contiguous()?)
}
