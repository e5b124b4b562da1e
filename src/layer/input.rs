//! What the layer is given.

use candle_core::{DType, Tensor};

use crate::features::FeatureLevel;
use crate::{Affine, Error, Prompt, Result};

/// A batch of pairs to be registered.
#[derive(Debug, Clone)]
pub struct LayerInput<'a> {
    /// Pyramids of the fixed images, coarse first; part of a graph or not.
    pub fixed: &'a [FeatureLevel],
    /// Pyramids of the moving images, of as many levels, on grids of their own.
    pub moving: &'a [FeatureLevel],
    /// Where the moving images lie before they are deformed: fixed world to moving world, RAS mm; one a pair, none where
    /// they lie as their grids say.
    pub affine: Option<&'a [Affine]>,
    /// Weights of the voxels of the finest fixed grid, `[batch, (nz,) ny, nx]`; no gradient flows to them.
    pub fixed_mask: Option<&'a Tensor>,
    /// Weights of the voxels of the finest moving grid.
    pub moving_mask: Option<&'a Tensor>,
    /// What is known to correspond, one list a pair, perhaps empty. Labels cover the fields of view of the finest grids, at
    /// any resolution. No gradient flows to prompts; those of all else are of the optimum that they help to find.
    pub prompts: Option<&'a [Vec<Prompt>]>,
    /// The weight of the regulariser, relative to the features' gradient energy, of shape `[1]`; in place of the layer's
    /// own. Gradients flow to it.
    pub lambda: Option<&'a Tensor>,
    /// Weights of the channels on each level, `[channels]`; none is one everywhere. Gradients flow to them.
    pub channel_weights: Option<&'a [Tensor]>,
}

impl<'a> LayerInput<'a> {
    /// Pyramids alone.
    pub fn new(fixed: &'a [FeatureLevel], moving: &'a [FeatureLevel]) -> Self {
        Self {
            fixed,
            moving,
            affine: None,
            fixed_mask: None,
            moving_mask: None,
            prompts: None,
            lambda: None,
            channel_weights: None,
        }
    }

    /// Whether gradients may flow to any part.
    pub(super) fn is_tracked(&self) -> bool {
        let weights = self.channel_weights.unwrap_or(&[]);
        let features = self.fixed.iter().chain(self.moving);
        features
            .map(|level| &level.features)
            .chain(weights)
            .chain(self.lambda)
            .any(Tensor::track_op)
    }

    /// The number of pairs; an error where the parts do not fit each other.
    pub(super) fn batch(&self) -> Result<usize> {
        let first = self
            .fixed
            .first()
            .ok_or_else(|| Error::argument("fixed", "give at least one level of features"))?;
        if self.moving.len() != self.fixed.len() {
            return Err(Error::argument(
                "moving",
                format!(
                    "expected {} levels as the fixed features, got {}",
                    self.fixed.len(),
                    self.moving.len()
                ),
            ));
        }
        let batch = first.features.dims()[0];
        for (what, levels) in [
            ("fixed features", self.fixed),
            ("moving features", self.moving),
        ] {
            for (level, fixed) in levels.iter().zip(self.fixed) {
                let mut expected = vec![batch, fixed.features.dims()[1]];
                expected.extend(level.grid.shape());
                if level.features.dims() != expected {
                    return Err(Error::Shape {
                        what,
                        expected,
                        got: level.features.dims().to_vec(),
                    });
                }
            }
        }
        if let Some(affine) = self.affine.filter(|affine| affine.len() != batch) {
            return Err(Error::argument(
                "affine",
                format!("expected one map a pair, {batch}, got {}", affine.len()),
            ));
        }
        if let Some(prompts) = self.prompts.filter(|prompts| prompts.len() != batch) {
            return Err(Error::argument(
                "prompts",
                format!("expected one list a pair, {batch}, got {}", prompts.len()),
            ));
        }
        if let Some(weights) = self.channel_weights {
            if weights.len() != self.fixed.len() {
                return Err(Error::argument(
                    "channel weights",
                    format!(
                        "expected one tensor a level, {}, got {}",
                        self.fixed.len(),
                        weights.len()
                    ),
                ));
            }
        }
        for (what, mask, levels) in [
            ("fixed mask", self.fixed_mask, self.fixed),
            ("moving mask", self.moving_mask, self.moving),
        ] {
            let finest = &levels[levels.len() - 1];
            let mut expected = vec![batch];
            expected.extend(finest.grid.shape());
            if let Some(mask) = mask.filter(|mask| mask.dims() != expected) {
                return Err(Error::Shape {
                    what,
                    expected,
                    got: mask.dims().to_vec(),
                });
            }
        }
        Ok(batch)
    }

    /// The channel weights as numbers.
    pub(super) fn weights(&self) -> Result<Option<Vec<Vec<f64>>>> {
        let Some(weights) = self.channel_weights else {
            return Ok(None);
        };
        let numbers = |t: &Tensor| Ok(t.detach().to_dtype(DType::F64)?.to_vec1()?);
        weights
            .iter()
            .map(numbers)
            .collect::<Result<Vec<Vec<f64>>>>()
            .map(Some)
    }
}
