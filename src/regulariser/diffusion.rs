//! Squared first derivatives.

use super::{metric, Regulariser};
use crate::ops::Differences;
use crate::Grid;

/// Diffusion: `R(u) = 1/2 sum |grad u|^2`, derivatives of millimetres by millimetres, by forward differences.
#[derive(Debug, Clone, Copy, Default)]
pub struct Diffusion;

impl Regulariser for Diffusion {
    fn name(&self) -> &'static str {
        "diffusion"
    }

    fn differences(&self, grid: &Grid) -> Differences {
        Differences {
            weight: metric(grid, |_, _| 1.0),
        }
    }
}
