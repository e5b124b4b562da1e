//! Parts of a problem solved apart.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Solution, Solver};
use crate::ops::Region;
use crate::problem::Problem;
use crate::Result;

/// Solves regions of a problem one after another, each with all around it held, those that do not touch side by side, and
/// writes what comes out into `theta`. Returns the steps that they took together.
///
/// Which regions run side by side depends on the regions alone, so that the result does not depend on the number of threads.
pub(super) fn solve_apart(
    solver: &dyn Solver,
    problem: &dyn Problem,
    regions: &[Region],
    theta: &Tensor,
) -> Result<usize> {
    let mut waiting: Vec<&Region> = regions.iter().collect();
    let mut steps = 0;
    while !waiting.is_empty() {
        let (mut batch, mut later): (Vec<&Region>, Vec<&Region>) = (Vec::new(), Vec::new());
        for region in waiting {
            // none overtakes a neighbour that comes before it
            let waits = batch.iter().chain(&later).any(|r| r.touches(region));
            if waits { &mut later } else { &mut batch }.push(region);
        }
        let solved: Vec<Option<Solution>> = batch
            .par_iter()
            .map(|region| {
                let Some(part) = problem.within(region)? else {
                    return Ok(None);
                };
                solver
                    .solve(&*part, region.crop(theta)?, &mut |_| Ok(()))
                    .map(Some)
            })
            .collect::<Result<_>>()?;
        for (region, solution) in batch.iter().zip(solved) {
            if let Some(solution) = solution {
                steps += solution.iterations.len() - 1;
                region.paste(&solution.theta, theta)?;
            }
        }
        waiting = later;
    }
    Ok(steps)
}
