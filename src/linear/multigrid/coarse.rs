//! The coarser grids of a system, and a V-cycle over them.

use candle_core::Tensor;

use crate::ops::{combine, dot, size, zeros, BlockSystem, Transfer};
use crate::Result;

/// Added to the diagonal of the couplings where a coarse grid is smoothed, as a share of it: with any, the smoother converges
/// for every semidefinite system.
const DAMPING: f64 = 0.1;

/// No axis of the coarsest grid is longer,
const COARSEST: usize = 4;

/// and that many smoothings stand for its solution.
const SMOOTHINGS: usize = 8;

/// From the grid of half the resolution down.
#[derive(Debug, Clone, Default)]
pub(super) struct CoarseGrids(Vec<Level>);

#[derive(Debug, Clone)]
struct Level {
    /// From the next finer grid.
    transfer: Transfer,
    system: BlockSystem,
    right: Tensor,
    solution: Tensor,
    residual: Tensor,
    correction: Tensor,
    product: Tensor,
}

impl CoarseGrids {
    /// Those of a system; where its blocks may be indefinite they are made semidefinite. The memory of `earlier` ones is used
    /// again where it fits.
    pub(super) fn new(system: &BlockSystem, indefinite: bool, earlier: Self) -> Result<Self> {
        let mut earlier = earlier.0;
        earlier.reverse();
        let mut levels: Vec<Level> = Vec::new();
        loop {
            let finer = levels.last().map_or(system, |level| &level.system);
            let length = size(&finer.blocks);
            if length.iter().all(|&s| s <= COARSEST) {
                break;
            }
            let Some(transfer) = Transfer::below(&length, &finer.differences) else {
                break;
            };
            // what does not fit is given back before anything is allocated
            let fits = |kept: &Level| {
                kept.transfer == transfer && kept.right.dtype() == system.blocks.dtype()
            };
            let level = match earlier.pop().filter(fits) {
                Some(kept) => Level {
                    system: transfer.system(finer, &kept.system.blocks)?,
                    ..kept
                },
                None => {
                    earlier.clear();
                    Level::new(transfer, finer)?
                }
            };
            if indefinite {
                level.system.make_semidefinite()?;
            }
            levels.push(level);
        }
        // the finer system is read without its damping
        for level in &mut levels {
            level.damp();
        }
        Ok(Self(levels))
    }

    /// `z += P B P' r`; returns `r' P B P' r`.
    pub(super) fn correct(&self, r: &Tensor, z: &Tensor) -> Result<f64> {
        let Some(level) = self.0.first() else {
            return Ok(0.0);
        };
        level.transfer.restrict(r, &level.right)?;
        cycle(&self.0)?;
        level.transfer.add_prolonged(&level.solution, z)?;
        dot(&level.right, &level.solution)
    }
}

/// The solution of the first of some levels from its right-hand side, by a V-cycle.
fn cycle(levels: &[Level]) -> Result<()> {
    let Some((level, coarser)) = levels.split_first() else {
        return Ok(());
    };
    let Level {
        system,
        right,
        solution,
        residual,
        correction,
        product,
        ..
    } = level;
    system.precondition(right, solution)?;
    let Some(below) = coarser.first() else {
        for _ in 1..SMOOTHINGS {
            system.apply(solution, residual)?;
            combine(1.0, right, -1.0, residual)?;
            system.precondition(residual, correction)?;
            combine(1.0, correction, 1.0, solution)?;
        }
        return Ok(());
    };
    system.apply(solution, residual)?;
    combine(1.0, right, -1.0, residual)?;
    below.transfer.restrict(residual, &below.right)?;
    cycle(coarser)?;
    below.transfer.prolong(&below.solution, correction)?;
    system.apply(correction, product)?;
    system.advance(1.0, correction, solution, residual, product)?;
    combine(1.0, product, 1.0, solution)
}

impl Level {
    fn new(transfer: Transfer, finer: &BlockSystem) -> Result<Self> {
        let rank = transfer.size().len();
        let like = &finer.blocks;
        let field = |planes: usize| {
            let mut shape = vec![planes];
            shape.extend(transfer.size().iter().rev());
            zeros(shape, like.dtype(), like.device())
        };
        let blocks = field(rank * (rank + 1) / 2)?;
        Ok(Self {
            system: transfer.system(finer, &blocks)?,
            right: field(rank)?,
            solution: field(rank)?,
            residual: field(rank)?,
            correction: field(rank)?,
            product: field(rank)?,
            transfer,
        })
    }

    fn damp(&mut self) {
        let length = size(&self.system.blocks);
        let weight = self.system.differences.weight;
        self.system.extra_diagonal = weight.map(|row| {
            let axes = (0..length.len()).filter(|&b| length[b] > 1);
            axes.map(|b| 2.0 * DAMPING * row[b]).sum()
        });
    }
}
