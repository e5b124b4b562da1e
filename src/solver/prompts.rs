//! Prompts as terms of a level's energy.

use candle_core::{DType, Device, Tensor};

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
    /// Where the terms are evaluated.
    pub device: &'a Device,
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

/// Those of a level, the finest or a coarser one.
pub(super) fn of_level(prompts: &[Prompt], finest: bool) -> impl Iterator<Item = &Prompt> {
    prompts
        .iter()
        .filter(move |prompt| !(finest && prompt.off_at_finest))
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
        let there = |map: Tensor| -> Result<Tensor> {
            Ok(map.to_dtype(self.dtype)?.to_device(self.device)?)
        };
        let mask = match (maps.mask, self.covered) {
            (Some(own), Some(covered)) => Some((there(own)? * covered)?),
            (Some(own), None) => Some(there(own)?),
            (None, covered) => covered.cloned(),
        };
        let channels = maps.fixed.dims()[0];
        let mut moving = there(maps.moving)?;
        if self.interpolation == Interpolation::Cubic {
            moving = spline_coefficients(&moving)?;
        }
        Ok(SsdData {
            fixed: there(maps.fixed)?,
            moving,
            mask,
            channel_weight: vec![weight / maps.edge; channels],
            map: *self.map,
            interpolation: self.interpolation,
        })
    }
}
