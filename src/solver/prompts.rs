//! Prompts as terms of a level's energy.

use candle_core::{DType, Tensor};

use crate::ops::{spline_coefficients, Interpolation, SsdData};
use crate::problem::PromptTerms;
use crate::prompt::{Prompt, PromptMaps};
use crate::{Affine, Error, Grid, Result};

/// What the terms of a level have in common.
pub(super) struct PromptLevel<'a> {
    /// Whether no level is finer.
    pub finest: bool,
    pub grid: &'a Grid,
    pub moving_grid: &'a Grid,
    /// Fixed world to moving world.
    pub affine: &'a Affine,
    /// Fixed index to moving index.
    pub map: &'a Affine,
    pub interpolation: Interpolation,
    pub dtype: DType,
    /// The features' gradient energy.
    pub unit: f64,
    /// Weight of each fixed voxel by whether it is carried into the moving grid.
    pub covered: Option<&'a Tensor>,
}

/// Fails unless the prompts fit a pair whose finest grids are these, on so many levels.
pub(super) fn check(prompts: &[Prompt], fixed: &Grid, moving: &Grid, levels: usize) -> Result<()> {
    for prompt in prompts {
        prompt.check(fixed, moving, false)?;
        if prompt.off_at_finest && levels == 1 {
            return Err(Error::argument(
                "prompt",
                "it is off at the finest level, and there is no other: use more levels or leave it on",
            ));
        }
    }
    Ok(())
}

impl PromptLevel<'_> {
    /// The terms of these prompts.
    pub fn terms<'a>(&self, prompts: impl Iterator<Item = &'a Prompt>) -> Result<PromptTerms> {
        let mut terms = PromptTerms::default();
        for prompt in prompts {
            let weight = prompt.weight * self.unit;
            if let Some(mut landmarks) = prompt.landmarks(self.grid, self.affine, self.finest)? {
                landmarks.weight = weight;
                terms.landmarks.push(landmarks);
            } else if let Some(maps) = prompt.maps(self.grid, self.moving_grid, self.finest)? {
                terms.labels.push(self.labels(maps, weight)?);
            }
        }
        Ok(terms)
    }

    /// Soft labels as data, whose borders have the gradient energy `weight`.
    fn labels(&self, maps: PromptMaps, weight: f64) -> Result<SsdData> {
        let mask = match (maps.mask, self.covered) {
            (Some(own), Some(covered)) => Some((own.to_dtype(self.dtype)? * covered)?),
            (Some(own), None) => Some(own.to_dtype(self.dtype)?),
            (None, covered) => covered.cloned(),
        };
        let channels = maps.fixed.dims()[0];
        let mut moving = maps.moving.to_dtype(self.dtype)?;
        if self.interpolation == Interpolation::Cubic {
            moving = spline_coefficients(&moving)?;
        }
        Ok(SsdData {
            fixed: maps.fixed.to_dtype(self.dtype)?,
            moving,
            mask,
            channel_weight: vec![weight / maps.edge; channels],
            map: *self.map,
            interpolation: self.interpolation,
        })
    }
}
