//! Features made by hand: for comparison, and as what a network starts from.

use std::sync::Arc;

use candle_core::Tensor;

use super::{check_images, FeatureNetwork, Parameters};
use crate::ops::resize;
use crate::{Error, Grid, Result};

/// A function from images to feature channels, without anything to train.
pub trait BaseFeatures: Send + Sync + std::fmt::Debug {
    /// The name by which weights that were trained on top of these features ask for them.
    fn name(&self) -> String;

    /// Feature channels for images of so many channels.
    fn channels(&self, inputs: usize) -> usize;

    /// Features `[batch, channels, (nz,) ny, nx]` of images `[batch, inputs, (nz,) ny, nx]` that lie on `grid`.
    ///
    /// # Errors
    /// Whatever keeps the features from being computed.
    fn features(&self, images: &Tensor, grid: &Grid) -> Result<Tensor>;
}

/// The images themselves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Intensities;

impl BaseFeatures for Intensities {
    fn name(&self) -> String {
        "intensities".into()
    }

    fn channels(&self, inputs: usize) -> usize {
        inputs
    }

    fn features(&self, images: &Tensor, _: &Grid) -> Result<Tensor> {
        Ok(images.clone())
    }
}

/// Features made by hand on every level, resized from the finest one: a network without parameters.
#[derive(Debug, Clone)]
pub struct HandMade {
    base: Arc<dyn BaseFeatures>,
    rank: usize,
    inputs: usize,
    shrinks: Vec<usize>,
}

impl HandMade {
    /// For images of so many axes and channels; `shrinks` coarse first.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the shrink factors do not fall.
    pub fn new(
        base: Arc<dyn BaseFeatures>,
        rank: usize,
        inputs: usize,
        shrinks: &[usize],
    ) -> Result<Self> {
        if shrinks.is_empty() || shrinks.contains(&0) || shrinks.windows(2).any(|w| w[0] <= w[1]) {
            return Err(Error::argument(
                "shrinks",
                format!("must be falling and at least 1, got {shrinks:?}"),
            ));
        }
        Ok(Self {
            base,
            rank,
            inputs,
            shrinks: shrinks.to_vec(),
        })
    }
}

impl FeatureNetwork for HandMade {
    fn rank(&self) -> usize {
        self.rank
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn channels(&self) -> usize {
        self.base.channels(self.inputs)
    }

    fn shrinks(&self) -> &[usize] {
        &self.shrinks
    }

    fn parameters(&self) -> Parameters {
        Parameters::default()
    }

    fn maps(&self, images: &Tensor, grid: &Grid, targets: &[Grid]) -> Result<Vec<Tensor>> {
        check_images(self, images, grid, targets)?;
        let features = base_features(&*self.base, images, grid)?;
        targets
            .iter()
            .map(|t| resize(&features, t.size()))
            .collect()
    }
}

/// The features of a base, with the shape that it promises.
pub(super) fn base_features(
    base: &dyn BaseFeatures,
    images: &Tensor,
    grid: &Grid,
) -> Result<Tensor> {
    let features = base.features(images, grid)?;
    let mut expected = images.dims().to_vec();
    expected[1] = base.channels(expected[1]);
    if features.dims() != expected {
        return Err(Error::Shape {
            what: "base features",
            expected,
            got: features.dims().to_vec(),
        });
    }
    Ok(features)
}
